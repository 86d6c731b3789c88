"""What an edit costs: bytes and passes exactly, a ratio of speeds, times that may be unknown."""

import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import beside
import numpy as np
import pico
import pytest
import torch
from transformers import GPT2LMHeadModel

from detoxmerge.edit import verbs
from detoxmerge.edit.verbs import delta
from detoxmerge.errors import UserError
from detoxmerge.measure import cost
from detoxmerge.measure.cost import measure_cost, training_seconds
from detoxmerge.models import sampling
from detoxmerge.models.sampling_request import Sampling
from detoxmerge.plan.catalogue import Generation
from detoxmerge.plan.entries import protocol
from detoxmerge.plan.registry import VERBS
from detoxmerge.storage.artefacts import read_json, sha256

PROMPTS = ["The gardener", "Yesterday we talked about the", "I"]
HEAD = "s\th:m:s\tmax_rss\n"


@pytest.fixture
def job(gpt2_base: Path, tmp_path: Path) -> dict[str, Any]:
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("".join(json.dumps({"text": p}) + "\n" for p in PROMPTS))
    settings = {"scale": "1", "num_prompts": 2, "rounds": 2, "seconds": 0.0, "dtype": "float32"}
    return {
        "edit": pico.delta_edit(gpt2_base, pico.noise(pico.gpt2()), tmp_path / "edit"),
        "base": gpt2_base,
        "prompts": beside.manifest(tmp_path / "prompts.json", lines.name),
        "prompt_lines": lines,
        "protocol": settings | protocol(Generation(samples=2, new_tokens=4)),
        "batch_size": 4,
        "device": "cpu",
        "benchmarks": [],
        "out": tmp_path / "evals" / "cost.json",
    }


def measured(job: dict[str, Any]) -> dict[str, Any]:
    measure_cost(**job)
    return read_json(job["out"])


def test_a_vector_costs_no_pass_and_no_memory(job: dict[str, Any]) -> None:
    numbers = measured(job)
    assert (numbers["forward_passes_per_token"], numbers["extra_forward_passes_per_token"]) == (
        1,
        0,
    )
    assert numbers["extra_memory_mb"] == 0
    assert numbers["training_seconds"] is None
    assert (numbers["scale"], numbers["batch_size"]) == ("1", 4)
    assert numbers["tokens_per_second"] > 0
    assert numbers["tokens_per_second_over_base"] > 0
    assert numbers["protocol"] == job["protocol"]
    inputs = [job["edit"], job["base"], job["prompts"]]
    assert numbers["inputs"] == {str(path): sha256(path) for path in inputs}


def test_a_model_that_ends_its_texts_at_once_is_not_taken_for_a_fast_one(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number is 0: the first token is drawn, which ends the text."""
    passes = []
    forward = GPT2LMHeadModel.forward

    @functools.wraps(forward)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPT2LMHeadModel, "forward", counted)
    monkeypatch.setattr(sampling, "uniforms", lambda *_: np.zeros(4))
    job["protocol"] |= {"top_p": 1.0}
    measured(job)
    assert len(passes) == 2 * (1 + job["protocol"]["rounds"]) * job["protocol"]["new_tokens"]


def test_passes_and_bytes_are_those_of_the_verb(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = torch.zeros(3, 7)
    monkeypatch.setattr(delta.Verb, "forwards", lambda self, scale: 1 + 2 * scale)
    monkeypatch.setattr(delta.Verb, "extra_bytes", lambda self: verbs.tensor_bytes([held]))
    numbers = measured(job)
    assert (numbers["forward_passes_per_token"], numbers["extra_forward_passes_per_token"]) == (
        3,
        2,
    )
    assert numbers["extra_memory_mb"] == 84 / 1e6


def test_auto_is_recorded_as_the_number_that_ran(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the longest row; and where memory runs out, what it came down to."""
    assert measured(job | {"batch_size": "auto"})["batch_size"] == 128

    def narrow(rows: list[int]) -> list[int]:
        if len(rows) > 2:
            raise MemoryError
        return rows

    def drawn(model: Any, tokenizer: Any, texts: list[str], protocol: Any, *rest: Any) -> None:
        for batch in rest[0].batches([1, 2, 3, 4], [9] * 4):
            rest[0].run(narrow, batch)
        time.sleep(0.001)

    monkeypatch.setattr(cost, "continuations", drawn)
    assert measured(job)["batch_size"] == 2  # of 4


def test_base_and_edit_take_turns_and_the_first_round_is_not_timed(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second per token of the base and four of the edit, but for a first round of a year."""
    now, turns = [0.0], []
    real = cost.EditedModel.at

    def at(self: Any, scale: float) -> Any:
        turns.append(scale)
        return real(self, scale)

    def drawn(model: Any, tokenizer: Any, texts: list[str], *rest: Any) -> None:
        assert tokenizer.eos_token is None
        assert texts == PROMPTS[:2]
        edited = turns[-1] == 1.0
        assert (rest[-1].candidates == 3) == edited
        now[0] += 3e7 if len(turns) <= 2 else (4.0 if edited else 1.0) * 2 * 2 * 4

    monkeypatch.setattr(cost.EditedModel, "at", at)
    monkeypatch.setattr(cost, "continuations", drawn)
    monkeypatch.setattr(cost, "_clock", lambda device: now[0])
    monkeypatch.setattr(delta.Verb, "sampling", lambda self, scale: Sampling(candidates=3))
    job["protocol"] |= {"seconds": 33.0}
    numbers = measured(job)
    assert turns == [0.0, 1.0] * 4  # two rounds of the base take 32 s
    assert numbers["base_tokens_per_second"] == 1.0
    assert numbers["tokens_per_second"] == 0.25
    assert numbers["tokens_per_second_over_base"] == 0.25


def test_every_continuation_has_all_its_tokens(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the faster one might only be the one that stops sooner."""
    rows, real = [], cost.continuations
    monkeypatch.setattr(cost, "continuations", lambda *a: rows.extend(real(*a)))
    measured(job)
    assert len(rows) == 2 * 3 * 2
    assert all(c.truncated for row in rows for c in row)


def test_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(time.perf_counter()))
    assert cost._clock("cuda") >= waited[0]
    assert len(waited) == 1
    cost._clock("cpu")
    assert len(waited) == 1


@pytest.fixture
def benchmarks(tmp_path: Path) -> Iterator[list[Path]]:
    """Of an edit and its fine-tune, as Snakemake writes them."""
    files = [tmp_path / "edit.tsv", tmp_path / "finetune.tsv"]
    files[0].write_text(HEAD + "1.5\t0:00:01\t9.0\n")
    files[1].write_text(HEAD + "60.25\t0:01:00\tNA\n")
    return files


def test_training_takes_what_its_jobs_took(job: dict[str, Any], benchmarks: list[Path]) -> None:
    assert measured(job | {"benchmarks": benchmarks})["training_seconds"] == 61.75


def test_a_time_that_is_lost_makes_the_sum_unknown_and_not_smaller(benchmarks: list[Path]) -> None:
    benchmarks[0].unlink()
    assert training_seconds(benchmarks) is None
    assert training_seconds([]) is None


@pytest.mark.parametrize("text", ["", HEAD, "h:m:s\n0:00:01\n", HEAD + "-\t0\t0\n"])
def test_a_file_without_seconds_is_one_sentence(benchmarks: list[Path], text: str) -> None:
    benchmarks[1].write_text(text)
    with pytest.raises(UserError, match=r"finetune\.tsv has no seconds in a column `s`; delete it"):
        training_seconds(benchmarks)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_tells_what_it_costs(name: str) -> None:
    verb = VERBS[name].Verb
    assert callable(verb.forwards)
    assert callable(verb.extra_bytes), f"{name} needs extra_bytes(), see edit/verbs/__init__.py"

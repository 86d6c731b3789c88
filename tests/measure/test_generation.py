"""Sampling: right distribution, numbers of its own per continuation, batch size without effect."""

import json
from pathlib import Path
from typing import Any

import beside
import numpy as np
import pandas as pd
import pico
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from detoxmerge.errors import UserError
from detoxmerge.measure import generation
from detoxmerge.measure.generation import generate
from detoxmerge.models import sampling as module
from detoxmerge.models.sampling import Continuation, continuations, uniforms
from detoxmerge.plan.catalogue import Generation
from detoxmerge.plan.entries import protocol
from detoxmerge.storage.artefacts import read_json, write_manifest

PROMPTS = ["The gardener", "Yesterday we talked about the", "I", "My neighbour planted roses and"]


def sampling(**changed: Any) -> dict[str, Any]:
    return protocol(Generation(samples=3, new_tokens=6, **changed)) | {"dtype": "float32"}


def run(batch_size: int = 4, model: Any = None, **changed: Any) -> list[list[Continuation]]:
    model = model or pico.gpt2()
    return continuations(model, pico.tokenizer(), PROMPTS, sampling(**changed), batch_size)


def test_the_batch_size_decides_nothing_but_speed() -> None:
    one_by_one = run(1)
    assert run(5) == one_by_one
    assert run(100) == one_by_one
    assert run(7, model=pico.llama()) == run(1, model=pico.llama())


def test_the_seed_decides_the_samples() -> None:
    assert run() == run() != run(seed=43)


def test_a_prompt_keeps_its_samples_when_others_join() -> None:
    model, tokenizer = pico.gpt2(), pico.tokenizer()
    alone = continuations(model, tokenizer, PROMPTS[:2], sampling(), 4)
    assert continuations(model, tokenizer, PROMPTS, sampling(), 4)[:2] == alone


def test_samples_of_one_prompt_differ() -> None:
    assert all(len(set(row)) > 1 for row in run())


def test_numbers_belong_to_seed_prompt_and_sample() -> None:
    first = uniforms(1, 2, 3, 8)
    assert np.array_equal(first, uniforms(1, 2, 3, 8))
    assert np.array_equal(first[:4], uniforms(1, 2, 3, 4))
    for other in (uniforms(2, 2, 3, 8), uniforms(1, 3, 3, 8), uniforms(1, 2, 4, 8)):
        assert not np.array_equal(first, other)


def test_tiny_nucleus_is_greedy_decoding() -> None:
    model, tokenizer = pico.gpt2(), pico.tokenizer()
    samples = continuations(model, tokenizer, PROMPTS[:1], sampling(top_p=1e-6), 4)[0]
    ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    greedy = ids
    for _ in range(6):
        greedy = torch.cat([greedy, model(greedy).logits[:, -1:].argmax(-1)], dim=1)
        if greedy[0, -1] == tokenizer.eos_token_id:
            break
    new = greedy[0, ids.shape[1] :].tolist()
    text = tokenizer.decode([t for t in new if t != tokenizer.eos_token_id])
    truncated = tokenizer.eos_token_id not in new
    assert samples == [Continuation(text, truncated)] * 3
    assert continuations(model, tokenizer, PROMPTS[:1], sampling(top_k=1), 4)[0] == samples


def test_sampling_that_no_end_of_text_token_stopped_is_truncated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of equally probable tokens, the end-of-text token is the first: drawn by the number 0."""
    numbers = np.full((3, 6), 0.5)
    numbers[1, 2] = numbers[2, 5] = 0.0  # in the middle, and as the very last token
    monkeypatch.setattr(module, "uniforms", lambda seed, prompt, sample, *_: numbers[sample])
    model, tokenizer = pico.gpt2(), pico.tokenizer()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (samples,) = continuations(model, tokenizer, PROMPTS[:1], sampling(top_p=1.0), 4)
    token = tokenizer.decode([150])
    assert samples == [
        Continuation(6 * token, truncated=True),
        Continuation(2 * token, truncated=False),
        Continuation(5 * token, truncated=False),
    ]
    tokenizer.eos_token = None  # nothing can stop it
    assert all(c.truncated for c in continuations(model, tokenizer, ["I"], sampling(), 4)[0])


def test_top_k_is_off_at_0_and_explicit() -> None:
    """A model's own generation config must not seep in."""
    model = pico.gpt2()
    model.generation_config.update(top_k=1, do_sample=True, temperature=0.01, max_length=5)
    model.generation_config.update(repetition_penalty=3.0, no_repeat_ngram_size=1, num_beams=3)
    model.generation_config.update(suppress_tokens=list(range(1, 200)), min_new_tokens=6)
    assert run(model=model) == run()


def test_a_model_that_gives_nan_is_refused() -> None:
    model = pico.gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="logits are NaN"):
        run(model=model)


def test_the_space_before_a_continuation_is_kept() -> None:
    """Of tokenizers whose decoder takes the first space off, as Llama 2's."""
    words = ["<unk>", "</s>", "▁you", "▁dog", "▁is"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    parts = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    raw.decoder = decoders.Sequence(parts)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>")
    model = pico.gpt2()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.lm_head.weight[4] = 1.0
        model.transformer.ln_f.bias.fill_(99.0)
    (samples,) = continuations(model, tokenizer, ["you dog"], sampling(), 4)
    assert {c.text for c in samples} == {6 * " is"}


def test_the_prefix_is_put_before_every_prompt() -> None:
    prefixed = continuations(
        pico.gpt2(), pico.tokenizer(), ["The gardener"], sampling(prefix="I think. "), 4
    )
    whole = continuations(pico.gpt2(), pico.tokenizer(), ["I think. The gardener"], sampling(), 4)
    assert prefixed == whole


def test_a_prompt_beyond_the_context_is_one_sentence() -> None:
    with pytest.raises(UserError, match="exceed the model's context of 64"):
        continuations(pico.gpt2(), pico.tokenizer(), ["word " * 60], sampling(), 4)


def test_an_empty_prompt_is_one_sentence() -> None:
    with pytest.raises(UserError, match="has no tokens"):
        continuations(pico.gpt2(), pico.tokenizer(), [""], sampling(), 4)


@pytest.fixture
def job(gpt2_base: Path, tmp_path: Path) -> dict[str, Any]:
    lines = tmp_path / "prompts.jsonl"
    lines.write_text("".join(json.dumps({"text": p}) + "\n" for p in PROMPTS))
    edit = pico.delta_edit(gpt2_base, pico.noise(pico.gpt2()), tmp_path / "edit")
    return {
        "edit": edit,
        "base": gpt2_base,
        "prompts": beside.manifest(tmp_path / "prompts.json", lines.name),
        "prompt_lines": lines,
        "scales": ["0.5", "1", "2"],
        "protocol": sampling(),
        "batch_size": 4,
        "device": "cpu",
        "out": tmp_path / "evals" / "generations.json",
    }


def measured(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]


def test_the_lines_are_in_the_dexperts_form(job: dict[str, Any]) -> None:
    generate(**job)
    lines = (job["out"].parent / "generations-scale0.5.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["prompt"]["text"] for row in rows] == PROMPTS
    assert all(len(row["generations"]) == 3 for row in rows)
    generations = [g for row in rows for g in row["generations"]]
    assert all(g.keys() == {"text", "truncated"} for g in generations)
    assert {g["truncated"] for g in generations} <= {True, False}


def test_a_second_run_measures_nothing_and_a_new_scale_only_itself(
    job: dict[str, Any], capsys: pytest.CaptureFixture
) -> None:
    generate(**job)
    assert measured(capsys) == "measured 3 of 3"
    manifest = job["out"].read_bytes()
    generate(**job)
    assert measured(capsys) == "measured 0 of 3"
    assert job["out"].read_bytes() == manifest
    generate(**(job | {"scales": ["0.5", "0.7", "1", "2"]}))
    assert measured(capsys) == "measured 1 of 4"


def test_a_job_stopped_after_one_scale_goes_on_with_the_next(
    job: dict[str, Any], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], generation.continuations

    def stop_at_second(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(generation, "continuations", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        generate(**job)
    assert not job["out"].exists()
    kept = (job["out"].parent / "generations-scale0.5.jsonl").read_bytes()
    monkeypatch.setattr(generation, "continuations", real)
    generate(**job)
    assert measured(capsys) == "measured 2 of 3"
    assert (job["out"].parent / "generations-scale0.5.jsonl").read_bytes() == kept


def limited(job: dict[str, Any], folder: Path, ppl_ratio: float) -> dict[str, Any]:
    """The job with a limit; the edit's perplexity is 20 (1 + scale), the base's 20."""

    def perplexity(name: str, numbers: dict[str, float]) -> Path:
        tables = {
            scale: pd.DataFrame({"nll": [float(np.log(number))], "tokens": [1]})
            for scale, number in numbers.items()
        }
        return beside.measured(folder / name / "polite/perplexity.json", tables)

    edit = perplexity("edit", {scale: 20 * (1 + float(scale)) for scale in job["scales"]})
    within = {"ppl_ratio": ppl_ratio, "corpora": ["polite"]}
    return job | {
        "protocol": job["protocol"] | {"within": within},
        "perplexities": [edit],
        "base_perplexities": [perplexity("base", {"0": 20.0})],
    }


def test_a_scale_beyond_the_limit_has_no_texts_and_the_manifest_says_why(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    generate(**limited(job, tmp_path, 1.6))
    said = capsys.readouterr().out
    why = {"1": "ppl_ratio 2 > 1.6 on polite", "2": "ppl_ratio 3 > 1.6 on polite"}
    line = "left out 2 of 3 scales: " + ", ".join(f"{k} ({v})" for k, v in why.items())
    assert said.splitlines().count(line) == 1
    manifest = read_json(job["out"])
    assert (manifest["scales"], manifest["left_out"]) == (["0.5"], why)
    assert [f.name for f in job["out"].parent.glob("*.jsonl")] == ["generations-scale0.5.jsonl"]


def test_another_limit_samples_what_it_adds_and_keeps_the_rest(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    generate(**limited(job, tmp_path, 1.6))
    limits = {2.1: "measured 1 of 2", 1.6: "measured 0 of 1", 9.0: "measured 1 of 3"}
    for limit, done in limits.items():
        generate(**limited(job, tmp_path, limit))
        assert measured(capsys) == done
    assert read_json(job["out"])["left_out"] == {}
    generate(**job)  # the same texts as without a limit
    assert measured(capsys) == "measured 0 of 3"
    assert "left_out" not in read_json(job["out"])


@pytest.mark.parametrize("what", ["protocol", "edit", "prompts", "payload"])
def test_whatever_decides_the_text_is_in_the_key(
    job: dict[str, Any], capsys: pytest.CaptureFixture, what: str
) -> None:
    generate(**(job | {"scales": ["1"]}))
    measured(capsys)
    if what == "protocol":
        job["protocol"] = job["protocol"] | {"seed": 1}
    elif what == "payload":
        (job["out"].parent / "generations-scale1.jsonl").write_text("{}\n")
    else:
        manifest = read_json(job[what])
        write_manifest(job[what], **(manifest | {"inputs": [], "note": "changed"}))
    generate(**(job | {"scales": ["1"]}))
    assert measured(capsys) == "measured 1 of 1"

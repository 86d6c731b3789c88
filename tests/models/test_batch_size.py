"""Rows at a time: by memory, never beyond the cap, a number as it is; halves when memory ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pico
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from detoxmerge.models import batch_size, free_memory
from detoxmerge.models.batch_size import (
    RowBytes,
    RowLimit,
    likelihood_limit,
    sampling_limit,
    scoring_limit,
)
from detoxmerge.plan.batch_size import CPU_BUDGET, MOST_ROWS

LIMITS = [sampling_limit, likelihood_limit, scoring_limit]
CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate")
GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with memory enough."""
    monkeypatch.setattr(batch_size, "free_bytes", lambda: 1e12)
    batch_size._cpu_budget.cache_clear()
    yield
    batch_size._cpu_budget.cache_clear()


def gpt2(**changes: int) -> GPT2LMHeadModel:
    with torch.device("meta"):
        return GPT2LMHeadModel(GPT2Config(**changes))


def limit_of(make: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> RowLimit:
    monkeypatch.setattr(batch_size, "_device", lambda _: "cpu")
    return make(model, "auto")


def bytes_of(make: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> RowBytes:
    found = limit_of(make, model, monkeypatch)._bytes
    assert found
    return found


@pytest.mark.parametrize("make", LIMITS)
def test_longer_rows_and_larger_models_make_smaller_batches(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = limit_of(make, gpt2(), monkeypatch)
    large = limit_of(make, gpt2(n_embd=1600, n_layer=48, n_head=25), monkeypatch)
    lengths = [1, 10, 43, 100, 500, 1000, 10**4, 10**6]
    for limit in (small, large):
        rows = [limit.rows(n) for n in lengths]
        assert rows == sorted(rows, reverse=True)
        assert max(rows) <= MOST_ROWS["cpu"]
        assert rows[-1] == 1
    assert all(large.rows(n) <= small.rows(n) for n in lengths)
    assert large.rows(500) < small.rows(500)


def test_the_bytes_of_gpt2_are_those_of_its_caches_and_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys and values of 12 layers of 768 in fp32, of 1000 tokens: 73.7 MB."""
    once, twice = (
        bytes_of(make, gpt2(), monkeypatch) for make in (likelihood_limit, sampling_limit)
    )
    assert 1000 * (twice.token - once.token) == 2 * 12 * 768 * 4 * 1000
    assert once.logits == 50257 * 4


def test_heads_that_share_keys_take_less(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pico.llama()
    whole = bytes_of(sampling_limit, model, monkeypatch)
    model.config.num_key_value_heads = 1  # of 2
    half = bytes_of(sampling_limit, model, monkeypatch)
    assert whole.token - half.token == 2 * 2 * 2 * 8 * 4


@pytest.mark.parametrize("make", LIMITS)
def test_an_unusual_config_is_taken_for_a_usual_one(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bare:
        """Names nothing, as configs of future architectures may."""

        intermediate_size = (64, 128)  # one for each layer

        def get_text_config(self) -> "Bare":
            return self

    model = pico.gpt2()
    told = bytes_of(make, model, monkeypatch)
    model.config = Bare()
    guessed = bytes_of(make, model, monkeypatch)
    assert told.token <= guessed.token < 20 * told.token


def test_a_number_is_what_it_says() -> None:
    for number in (1, 7, 1000):
        assert RowLimit(number).rows(10**9, 10**6) == number
    batches = [len(b) for b in RowLimit(3).batches(range(8), range(8))]
    assert batches == [3, 3, 2]


def test_batches_are_filled_by_tokens_in_the_order_of_rows() -> None:
    lengths = [1, 1, 2, 2, 400, 300, 2, 1000, 1]
    limit = RowLimit("auto", RowBytes(CPU_BUDGET / 1000))
    batches = list(limit.batches(list("abcdefghi"), lengths))
    assert batches == [list("abcd"), list("ef"), list("g"), list("h"), list("i")]
    short = RowLimit("auto", RowBytes(1.0))
    assert [len(b) for b in short.batches(range(300), [5] * 300)] == [128, 128, 44]


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR, MemoryError()])
def test_what_does_not_fit_goes_on_in_halves(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []

    def double(rows: list[int]) -> list[int]:
        tried.append(len(rows))
        if len(rows) > 5:
            raise error
        return [2 * row for row in rows]

    limit = RowLimit(16)
    done: list[int] = []
    for batch in limit.batches(range(40), [1] * 40):
        done += limit.run(double, batch)
    assert done == [2 * row for row in range(40)]
    assert tried == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]  # the later batches begin as small
    said = capsys.readouterr().out
    assert said.count("memory ran out") == 2
    assert "with 16 rows at a time; going on with 8" in said


def test_a_single_row_that_does_not_fit_and_other_errors_pass_on() -> None:
    def never(rows: list[int]) -> list[int]:
        raise CPU_ERROR

    def wrong(rows: list[int]) -> list[int]:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        RowLimit(8).run(never, [1, 2, 3])
    limit = RowLimit(8)
    with pytest.raises(RuntimeError, match="size mismatch"):
        limit.run(wrong, [1, 2, 3])
    assert limit.rows(1) == 8


def test_the_log_says_the_size_once(capsys: pytest.CaptureFixture[str]) -> None:
    limit = RowLimit("auto", RowBytes(1e6))
    list(limit.batches(range(3), [10, 20, 43]))
    list(limit.batches(range(3), [10, 20, 43]))
    assert capsys.readouterr().out == "batch_size auto: up to 23 rows of 43 tokens (1.0 GB)\n"
    list(RowLimit(3).batches(range(3), [10, 20, 43]))
    assert capsys.readouterr().out == ""


def test_a_machine_with_little_memory_has_a_smaller_budget_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch_size, "free_bytes", lambda: 4e8)
    assert batch_size.budget_bytes("cpu") == 2e8
    assert "only 0.40 GB of memory are free" in capsys.readouterr().out
    monkeypatch.setattr(batch_size, "free_bytes", lambda: 1e6)  # what this process now holds
    assert batch_size.budget_bytes("cpu") == 2e8


@pytest.mark.parametrize("free", [None, 1e9, 1e13])
def test_the_budget_is_the_same_on_all_others(
    monkeypatch: pytest.MonkeyPatch, free: float | None
) -> None:
    monkeypatch.setattr(batch_size, "free_bytes", lambda: free)
    assert batch_size.budget_bytes("cpu") == CPU_BUDGET


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"}
VERSION_2 = {
    "proc/self/cgroup": "0::/job/step\n",
    "sys/fs/cgroup/job/step/memory.max": "max\n",
    "sys/fs/cgroup/job/step/memory.stat": "anon 100\nfile 5\n",
    "sys/fs/cgroup/job/memory.max": "5000\n",
    "sys/fs/cgroup/job/memory.stat": "anon 2000\nfile 900\n",
}
VERSION_1 = {
    "proc/self/cgroup": "3:cpu,cpuacct:/x\n2:memory:/on/the/host\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 50\ntotal_rss 3000\n",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        (MACHINE, 8000 * 1024),
        (MACHINE | VERSION_2, 3000),
        (MACHINE | VERSION_1, 4000),
        (VERSION_2 | {"sys/fs/cgroup/job/memory.max": "1000\n"}, 0),
    ],
)
def test_free_memory_is_what_the_tightest_limit_leaves(
    files: dict[str, str], free: float | None, tmp_path: Path
) -> None:
    assert free_memory.free_bytes(write(tmp_path, files)) == free

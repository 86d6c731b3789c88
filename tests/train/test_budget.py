"""One copy of a job at a time, and leaving before the time limit."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from train.test_finetune import call, changed, made

from detoxmerge.train import finetune
from detoxmerge.train.budget import Budget, BudgetUsed, alone
from detoxmerge.train.finetune import finetune_shard
from detoxmerge.train.job import Job, once

HOLD = """
import sys, time
from pathlib import Path
from detoxmerge.train.budget import Budget, alone
with alone(Path(sys.argv[1]), Budget()):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(folder: Path, seconds: float) -> subprocess.Popen:
    """Another process that holds the folder."""
    library = Path(finetune.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        env={"PYTHONPATH": str(library)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_copy_waits_until_the_first_has_ended(tmp_path: Path, capsys) -> None:
    other = holder(tmp_path / "out", 2)
    with alone(tmp_path / "out", Budget()) as waited:
        assert waited
        assert other.wait(5) == 0
    assert "another copy of this job is working in" in capsys.readouterr().out


def test_a_killed_copy_holds_nothing(tmp_path: Path) -> None:
    other = holder(tmp_path / "out", 60)
    other.kill()
    other.wait()
    begin = time.monotonic()
    with alone(tmp_path / "out", Budget()):
        assert time.monotonic() - begin < 1


def test_nobody_waits_beyond_the_time_limit(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("detoxmerge.train.budget.POLL", 0.1)
    other = holder(tmp_path / "out", 60)
    with (
        pytest.raises(BudgetUsed, match="another copy of this job held"),
        alone(tmp_path / "out", Budget(0.5)),
    ):
        pass
    other.kill()
    other.wait()


def test_the_result_of_the_other_copy_is_kept(tmp_path: Path) -> None:
    result = tmp_path / "out" / "meta.json"
    result.parent.mkdir()
    result.write_text("{}")
    other = holder(result.parent, 1)
    once(Job(result), None, lambda job: result.write_text("made twice"))
    assert other.wait(5) == 0
    assert result.read_text() == "{}"


def test_a_result_that_is_there_without_another_copy_is_made_again(tmp_path: Path) -> None:
    result = tmp_path / "meta.json"
    result.write_text("{}")
    once(Job(result), 60.0, lambda job: job.manifest.write_text(str(job.budget.seconds)))
    assert result.read_text() == "60.0"


def test_margin() -> None:
    assert not Budget(None).is_used()
    assert not Budget(600).is_used()
    now = time.monotonic()
    assert not Budget(600, start=now - 530).is_used()
    assert Budget(600, start=now - 545).is_used()  # 60 s before the end
    assert Budget(600, start=now - 445, slowest=50).is_used()
    assert not Budget(40, start=now - 25).is_used()  # a quarter of a short one
    assert Budget(40, start=now - 31).is_used()


def test_training_that_left_in_time_ends_with_the_same_bytes(
    gpt2_base: Path, tmp_path: Path, monkeypatch
) -> None:
    whole = call(gpt2_base, tmp_path / "whole")
    finetune_shard(**changed(whole, checkpoint_minutes=99.0))
    cut = call(gpt2_base, tmp_path / "cut")
    for name in ("dataset", "toxic", "partition"):
        cut[name] = whole[name]
    looks = iter([False, True])
    monkeypatch.setattr(Budget, "is_used", lambda self: next(looks))
    with pytest.raises(BudgetUsed, match="stopped at step 20 of 52, before the time limit"):
        finetune_shard(**changed(cut, checkpoint_minutes=99.0, budget=Budget(60.0)))
    assert not made(cut, "meta").exists()
    monkeypatch.undo()
    finetune_shard(**changed(cut, checkpoint_minutes=99.0))
    for name in ("delta", "loss", "meta"):
        assert made(cut, name).read_bytes() == made(whole, name).read_bytes(), name

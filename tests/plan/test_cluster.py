"""What is asked of SLURM before a run; its commands are stood in for by scripts."""

import time
from pathlib import Path

import pytest

from detoxmerge.plan.cluster import memory_advice, options, require_ready, seconds_left

JOB = {"rule": "finetune_shard", "threads": 4, "gpu": 1, "mem_mb": 24000, "runtime": 90, "nodes": 1}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a command that prints a text and ends with a status; the PATH has nothing else."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(name: str, text: str, status: int = 0) -> None:
        script = tmp_path / "bin" / name
        script.write_text(
            f"#!/bin/sh\n/bin/cat <<'E' >&{2 if status else 1}\n{text}\nE\nexit {status}\n"
        )
        script.chmod(0o755)

    return make


def test_without_slurm_nothing_is_asked(command, tmp_path: Path) -> None:
    require_ready(tmp_path, [JOB])


def test_orphans_of_this_folder_are_named(command, tmp_path: Path) -> None:
    command(
        "squeue",
        f"11|ada|rule_finetune_shard_wildcards_x|{tmp_path}\n"
        f"12|bob|rule_measure_wildcards_y|{tmp_path}/../{tmp_path.name}\n"
        "13|ada|rule_finetune_shard_wildcards_x|/elsewhere\n"
        f"14|ada|(null)|{tmp_path}",
    )
    with pytest.raises(SystemExit) as refused:
        require_ready(tmp_path, [])
    assert "2 SLURM job(s)" in str(refused.value)
    assert "(user ada, bob)" in str(refused.value)
    assert str(refused.value).strip().endswith("scancel 11 12")


def test_an_empty_queue_is_no_obstacle(command, tmp_path: Path) -> None:
    command("squeue", "")
    command("sbatch", "sbatch: Job 5 to start at ...")
    require_ready(tmp_path, [JOB])


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        (
            "allocation failure: Invalid account or account/partition combination specified",
            "ACCOUNT",
        ),
        ("invalid partition specified: nowhere", "GPU_PARTITION"),
        ("allocation failure: Invalid feature specification", "GPU_CONSTRAINT"),
        ("allocation failure: Invalid generic resource (gres) specification", "GPU_REQUEST"),
        ("allocation failure: Requested node configuration is not available", "GPU_MODEL"),
    ],
)
def test_a_refusal_names_the_line_of_the_profile(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, setting: str
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    command("sbatch", f"sbatch: error: {said}", 1)
    with pytest.raises(SystemExit) as refused:
        require_ready(tmp_path, [JOB])
    lines = (root / "profiles/slurm/config.yaml").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.strip().startswith(f"- {setting} ="))
    assert f"finetune_shard ({' '.join(options(JOB))}): {said};" in str(refused.value)
    assert f"mend {setting} in profiles/slurm/config.yaml, line {line}" in str(refused.value)


def test_a_refused_partition_of_a_job_without_a_gpu(command, tmp_path: Path) -> None:
    command("sbatch", "sbatch: error: invalid partition specified: nowhere", 1)
    with pytest.raises(SystemExit, match="; mend PARTITION in "):
        require_ready(tmp_path, [JOB | {"gpu": 0}])


def test_a_controller_that_is_away_is_no_wrong_setting(command, tmp_path: Path) -> None:
    command("sbatch", "sbatch: error: Unable to contact slurm controller (connect failure)", 1)
    with pytest.raises(SystemExit, match="controller does not answer"):
        require_ready(tmp_path, [JOB])


def test_each_kind_of_request_is_asked_once(command, tmp_path: Path) -> None:
    command("sbatch", "ok")
    script = tmp_path / "bin" / "sbatch"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    require_ready(tmp_path, [JOB, dict(JOB), JOB | {"mem_mb": 48000}])
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_options() -> None:
    asked = JOB | {"slurm_account": "lab", "slurm_partition": "gpu", "gpu_model": "a100"}
    assert options(asked) == [
        "--account=lab",
        "--partition=gpu",
        "--nodes=1",
        "--mem=24000",
        "--time=90",
        "--gpus=a100:1",
        "--cpus-per-task=4",
    ]
    assert "--gres=gpu:1" in options({"gpu": 0, "gres": "gpu:1"})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0:58", 58), ("12:03", 723), ("1:00:00", 3600), ("2-03:04:05", 183845), ("UNLIMITED", None)],
)
def test_time_left(
    command, monkeypatch: pytest.MonkeyPatch, said: str, seconds: int | None
) -> None:
    command("squeue", said)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert seconds_left() == seconds


def test_outside_of_a_job_no_time_is_left_or_lacking(command, monkeypatch) -> None:
    command("squeue", "0:58")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert seconds_left() is None


def test_jobs_that_were_ended_for_their_memory_are_named(tmp_path: Path) -> None:
    assert memory_advice(tmp_path, 0.0) == ""
    logs = tmp_path / ".snakemake" / "slurm_logs"
    for rule, job, said in (
        (
            "rule_finetune_shard",
            7,
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0.",
        ),
        ("rule_finetune_shard", 9, "srun: error: n1: task 0: Out Of Memory"),
        ("group_measure", 11, "slurmstepd: error: Detected 1 oom_kill event in StepId=11.0."),
        ("rule_merge_edit", 8, "a bug"),
    ):
        log = logs / rule / "a_b" / f"{job}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(said)
    advice = memory_advice(tmp_path, 0.0)
    assert "finetune_shard: SLURM ended 2 job(s) for their memory (7 9);" in advice
    assert "generate: SLURM ended 1 job(s) for their memory (11);" in advice
    assert "merge_edit" not in advice
    assert memory_advice(tmp_path, time.time() + 60) == ""

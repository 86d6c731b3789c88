"""Before a run on SLURM: no job of an earlier run is left, and the site takes what is sent."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError

CLUSTER_JOB = "DETOXMERGE_CLUSTER_JOB"  # set in the environment of jobs that a cluster limits
PROFILE = Path("profiles/slurm/config.yaml")
RESOURCES = {  # resource of Snakemake's SLURM plugin -> option of sbatch
    "slurm_account": "--account",
    "slurm_partition": "--partition",
    "constraint": "--constraint",
    "qos": "--qos",
    "gres": "--gres",
    "nodes": "--nodes",
    "tasks": "--ntasks",
    "mem_mb": "--mem",
    "runtime": "--time",
}
# a word of SLURM's refusal -> what to mend in the profile
MENDS = {
    "account": "ACCOUNT",
    "invalid partition": "PARTITION",
    "feature": "GPU_CONSTRAINT",
    "generic resource": "GPU_REQUEST",
    "gres": "GPU_REQUEST",
}
SLURM_LOGS = ".snakemake/slurm_logs"
OUT_OF_MEMORY = re.compile(r"oom[-_ ]kill|out of memory", re.IGNORECASE)
TOO_MUCH = "node configuration is not available"


def require_ready(folder: Path | str, requests: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a run that SLURM would not take; called once, before the first job is started.

    Args:
        requests: resources of the jobs that would be sent, with `rule` and `threads`; empty if
            they run on this machine.

    Raises:
        SystemExit: with one sentence.
    """
    try:
        require_no_orphans(folder)
        require_accepted(requests)
    except UserError as error:
        raise SystemExit(f"\n{error}\n") from None


def require_no_orphans(folder: Path | str) -> None:
    """Refuse to start while jobs that an earlier run submitted from this folder are queued.

    Jobs outlive the Snakemake that submitted them and nothing attaches to them again: a second
    run would submit each of them once more.

    Raises:
        UserError: with the jobs' ids and the command that ends them.
    """
    if not shutil.which("squeue"):
        return
    answer = _ask(["squeue", "--noheader", "--format=%i|%u|%k|%Z"])
    rows = [line.split("|") for line in answer.stdout.splitlines()]
    here = os.path.realpath(folder)
    # the plugin's comment distinguishes its jobs from a Snakemake that itself runs as a job
    orphans = [
        (row[0].strip(), row[1])
        for row in rows
        if len(row) == 4 and row[2].startswith("rule_") and _same(row[3], here)
    ]
    if orphans:
        ids = " ".join(job for job, _ in orphans)
        users = ", ".join(sorted({user for _, user in orphans}))
        raise UserError(
            f"{len(orphans)} SLURM job(s) of an earlier run from {here} (user {users}) are still "
            f"in the queue; wait until they have ended, or end them: scancel {ids}"
        )


def require_accepted(requests: Iterable[Mapping[str, Any]]) -> None:
    """Ask SLURM whether it would take such jobs, before the first one is sent.

    Args:
        requests: resources of jobs, with `rule` and `threads`.

    Raises:
        UserError: SLURM's refusal, what it was about, and the line of the profile to mend.
    """
    if not shutil.which("sbatch"):
        return
    for request in _distinct(requests):
        command = ["sbatch", "--test-only", *options(request), "--wrap=true"]
        answer = _ask(command)
        message = " ".join((answer.stderr or answer.stdout).replace("sbatch: error:", "").split())
        if answer.returncode and "Unable to contact" in message:
            raise UserError(f"SLURM's controller does not answer ({message}); try again later")
        if answer.returncode:
            asked = " ".join(command[2:-1])
            mend = _mend(message, request)
            raise UserError(f"SLURM refuses {request['rule']} ({asked}): {message}; {mend}")


def seconds_left() -> float | None:
    """The time that SLURM leaves to the job in which this runs.

    Returns:
        Seconds; None outside of a job, without a limit, or where SLURM does not answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or not shutil.which("squeue"):
        return None
    answer = _ask(["squeue", "--noheader", f"--jobs={job}", "--format=%L"])
    left = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", answer.stdout.strip())
    if not left:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in left.groups())
    return 86400.0 * days + 3600 * hours + 60 * minutes + seconds


def memory_advice(folder: Path | str, since: float) -> str:
    """What to change when jobs were ended for their memory: Snakemake only says that they failed.

    Args:
        since: start of the run, seconds since 1970.

    Returns:
        A sentence per rule; empty if no job was ended for its memory.
    """
    killed: dict[str, list[str]] = {}
    for log in sorted(Path(folder).glob(f"{SLURM_LOGS}/*/**/*.log")):
        if log.stat().st_mtime >= since and OUT_OF_MEMORY.search(log.read_text(errors="replace")):
            name = log.relative_to(Path(folder, SLURM_LOGS)).parts[0]
            # the only group asks for the most that generate, score_toxicity or measure_fluency does
            rule = "generate" if name.startswith("group_") else name.removeprefix("rule_")
            killed.setdefault(rule, []).append(log.stem)
    return "\n".join(
        f"{rule}: SLURM ended {len(jobs)} job(s) for their memory ({' '.join(jobs)}); each attempt "
        f"asks for more, and --set-resources {rule}:mem_mb=... asks for more at once"
        for rule, jobs in killed.items()
    )


def options(request: Mapping[str, Any]) -> list[str]:
    """The options of sbatch behind a job's resources, as Snakemake's SLURM plugin sends them."""
    sent = [f"{option}={request[name]}" for name, option in RESOURCES.items() if request.get(name)]
    if request.get("gpu"):
        model = request.get("gpu_model")
        sent.append(f"--gpus={model}:{request['gpu']}" if model else f"--gpus={request['gpu']}")
    return [*sent, f"--cpus-per-task={request.get('threads', 1)}"]


def _distinct(requests: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One request per kind of job: the options are what differs between kinds."""
    return list({(r["rule"], *options(r)): r for r in requests}.values())


def _mend(message: str, request: Mapping[str, Any]) -> str:
    gpu = request.get("gpu") or request.get("gres")
    if TOO_MUCH in message:
        setting = "GPU_MODEL" if gpu else "PARTITION"
        less = f"--set-resources {request['rule']}:mem_mb=..."
        return f"no node has that much: mend {setting} in {_line(setting)}, or ask for less: {less}"
    named = [name for word, name in MENDS.items() if word in message.lower()]
    if not named:
        return f"mend the settings at the head of {PROFILE}"
    setting = named[0]
    if setting == "PARTITION" and gpu:
        of_gpus = f"mend GPU_PARTITION in {_line('GPU_PARTITION')}"
        return f"{of_gpus}, or, if that is empty, PARTITION in {_line(setting)}"
    return f"mend {setting} in {_line(setting)}"


def _line(setting: str) -> str:
    lines = PROFILE.read_text().splitlines() if PROFILE.is_file() else []
    number = next((i for i, line in enumerate(lines, 1) if f"- {setting} =" in line), None)
    return f"{PROFILE}, line {number}" if number else str(PROFILE)


def _same(folder: str, here: str) -> bool:
    return os.path.realpath(folder.strip()) == here


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise UserError(f"`{command[0]}` gave no answer within 60 s; try again later") from None

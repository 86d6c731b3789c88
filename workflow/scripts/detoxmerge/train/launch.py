"""Several processes for one fine-tune, by `accelerate launch`, over nodes by srun."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError, user_sentence
from ..models.device import pick_device
from ..storage.artefacts import read_json, write_json
from .budget import Budget, BudgetUsed, alone
from .finetune import finetune_shard
from .job import Job
from .together import is_first


def finetune_together(
    *, shard: int, job: Job, worker: Path, processes: int, nodes: int, **files: Path
) -> None:
    """`finetune_shard` in several processes that share the model.

    Args:
        shard: 0-based.
        job: as for `finetune_shard`.
        worker: the script that each process runs; it calls `take_part`.
        processes: on all nodes together.
        nodes: machines of the SLURM job that this runs in.
        files: the other arguments of `finetune_shard`.

    Raises:
        UserError: as `finetune_shard`; there are too few GPUs, or no SLURM job for the nodes.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
        RuntimeError: a process failed, and the log has its traceback.
    """
    _require(processes // nodes, nodes, job.device)
    for old in job.work.glob("failure-*.json"):
        old.unlink()
    call = job.work / "call.json"
    write_json(call, _described(files, shard, job))
    status = subprocess.run([*_launch(processes, nodes), str(worker), str(call)]).returncode
    for path in sorted(job.work.glob("failure-*.json")):
        failure = read_json(path)
        raise (BudgetUsed if failure["is_budget_used"] else UserError)(failure["sentence"])
    if status:
        raise RuntimeError(f"accelerate launch ended with status {status}; see the log above")


def take_part(call: Path) -> bool:
    """What each of the processes does, by the file that `finetune_together` wrote.

    Returns:
        Whether it succeeded; if not, a file beside `call` has the user's sentence.
    """
    given = read_json(call)
    budget = Budget(None if given["ends"] is None else given["ends"] - time.time())
    job = Job(Path(given["manifest"]), **given["job"], budget=budget)
    train = partial(
        finetune_shard,
        **{name: Path(path) for name, path in given["files"].items()},
        shard=given["shard"],
        job=job,
    )
    try:
        if is_first():
            # processes can outlive the job that started them: its lock is gone then, this one not
            with alone(call.parent / "processes", Budget(0.0)):
                train()
        else:
            train()
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        failure = {"sentence": sentence, "is_budget_used": isinstance(error, BudgetUsed)}
        write_json(call.with_name(f"failure-{os.environ['RANK']}.json"), failure)
        return False
    return True


def _described(files: Mapping[str, Path], shard: int, job: Job) -> dict[str, Any]:
    """What `take_part` reads; a budget's clock is its process's own, so its end is passed on."""
    budget = job.budget or Budget()
    left = None if budget.seconds is None else budget.seconds - budget.spent()
    same = ("seed", "device", "recipe", "checkpoint_minutes")
    return {
        "ends": None if left is None else time.time() + left,
        "manifest": str(job.manifest),
        "job": {name: getattr(job, name) for name in same},
        "shard": shard,
        "files": {name: str(path) for name, path in files.items()},
    }


def _require(processes: int, nodes: int, device: str) -> None:
    if nodes > 1 and "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"the recipe spreads a fine-tune over {nodes} nodes, which needs a SLURM job; start "
            "with --profile slurm, or set nodes: 1"
        )
    if pick_device(device) == "cuda":
        import torch

        if (gpus := torch.cuda.device_count()) < processes:
            raise UserError(
                f"the recipe asks for {processes} processes per node, a GPU each; this node shows "
                f"{gpus}; lower `processes`, or ask for more GPUs"
            )


def _launch(processes: int, nodes: int) -> list[str]:
    """The command line before the script; what decides numbers is in TrainingArguments."""
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", "--use_fsdp"]
    accelerate += ["--fsdp_version=2", "--mixed_precision=no", "--dynamo_backend=no"]
    accelerate += [f"--num_processes={processes}", f"--num_machines={nodes}"]
    if nodes == 1:
        return [*accelerate, "--main_process_port=0"]  # a free one
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    # this node, the job's first, is where they meet; the others must not offer that too
    meet = ["--rdzv_backend=c10d", f"--main_process_ip={socket.gethostname()}"]
    here = shlex.join([*accelerate, *meet, f"--main_process_port={port}"])
    by_node = '--machine_rank="$SLURM_NODEID" --rdzv_conf="is_host=$first"'  # known there only
    script = f'first=0; [ "$SLURM_NODEID" = 0 ] && first=1; exec {here} {by_node} "$@"'
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    # when one node's launcher fails, the others would wait for it until the time limit
    return [*srun, "--kill-on-bad-exit=1", "--cpu-bind=none", "sh", "-c", script, "sh"]

"""What every script runs inside: output to the rule's log, and a user's error as one sentence."""

import contextlib
import errno
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .plan.cluster import CLUSTER_JOB, seconds_left
from .plan.errors import UserError

TRY_AGAIN = 75  # exit status of sysexits.h for what another attempt may well finish
NO_SPACE = ("No space left on device", "os error 28", "PytorchStreamWriter failed writing")


@contextlib.contextmanager
def session(job: Any, *, online: bool = False) -> Iterator[None]:
    """Run a rule's body.

    Standard output and standard error go to the log. A `UserError`, a full disk or an exhausted
    GPU ends the process with status 2 and one sentence, in the log and on the screen; a used-up
    time likewise with status 75; any other exception keeps its traceback, in the log too.

    Args:
        job: Snakemake's `snakemake` object; `rule` and `log` are read.
        online: whether the rule may use the internet. All others run with the hub offline.
    """
    if not online:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a job has the threads Snakemake gave it
    screen = os.dup(2)
    Path(job.log[0]).parent.mkdir(parents=True, exist_ok=True)
    with open(job.log[0], "w", buffering=1) as log:
        # at the level of file descriptors, so that what C++ prints goes to the log as well
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout.reconfigure(line_buffering=True)  # os._exit below flushes nothing
        try:
            yield
        except Exception as error:
            sentence = user_sentence(error)
            if sentence is None:
                traceback.print_exc()
                os.dup2(screen, 2)
                raise
            print(f"error: {sentence}", file=sys.stderr, flush=True)
            os.write(screen, f"\n{job.rule}: {sentence}\n\n".encode())
            status = TRY_AGAIN if type(error).__name__ == "BudgetUsed" else 2
            os._exit(status)  # past the interpreter's own traceback
        finally:
            sys.stdout.flush()
            gc.freeze()  # else the interpreter's last collection walks all of torch: a second a job


def seconds_of(job: Any) -> float | None:
    """The time that a cluster gives this job; on one's own machine nothing enforces `runtime`.

    Args:
        job: Snakemake's `snakemake` object; `resources.runtime` is read, in minutes, where SLURM
            itself does not tell what is left.

    Returns:
        Seconds from now, or None without a limit.
    """
    if CLUSTER_JOB not in os.environ:
        return None
    left = seconds_left()
    return 60.0 * job.resources.runtime if left is None else left


def user_sentence(error: BaseException) -> str | None:
    """The sentence for an error that the user can mend.

    Args:
        error: what was raised.

    Returns:
        The sentence, or None for a bug of ours.
    """
    if isinstance(error, UserError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return (
            f"the GPU's memory does not suffice ({str(error).splitlines()[0]}); lower batch_size "
            "in the recipe, prompts or corpus that this job uses"
        )
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or any(words in str(seen) for words in NO_SPACE):
            where = getattr(seen, "filename", None)
            return (
                f"no space left on the disk{f' while writing {where}' if where else ''}; nothing "
                "half-written was kept: free some space and start again"
            )
        seen = seen.__cause__ or seen.__context__
    return None

"""What every script runs in: output goes to the rule's log, a user's error is one sentence."""

import contextlib
import gc
import io
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import user_sentence
from .plan.cluster import CLUSTER_JOB, seconds_left

TRY_AGAIN = 75  # exit status of sysexits.h for a failure that another attempt may not have


@contextlib.contextmanager
def session(job: Any, *, online: bool = False) -> Iterator[None]:
    """Run a rule's body.

    Standard output and standard error go to the log. A `UserError`, a full disk or an exhausted
    GPU ends the process with status 2 and one sentence, in the log and on the screen. When the
    time is used up, the status is 75. Any other exception keeps its traceback, in the log too.

    Args:
        job: Snakemake's `snakemake` object; `rule` and `log` are read.
        online: whether the rule may use the internet. All others run with the hub offline.
    """
    if not online:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a job has the threads Snakemake gave it
    # a workflow that imports this one runs in a folder without our matplotlibrc
    os.environ["MATPLOTLIBRC"] = str(Path(__file__).parents[3])
    # imports make many objects that stay; by default they are looked through 1,000 times
    gc.set_threshold(50_000)
    screen = os.dup(2)
    Path(job.log[0]).parent.mkdir(parents=True, exist_ok=True)
    with open(job.log[0], "w", buffering=1) as log:
        # file descriptors and not sys.stdout: what C++ prints goes to the log as well
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        if isinstance(sys.stdout, io.TextIOWrapper):
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
            gc.freeze()  # or the last collection walks through all of torch: a second per job


def seconds_of(job: Any) -> float | None:
    """The time that a cluster gives this job; on other machines nothing enforces `runtime`.

    Args:
        job: Snakemake's `snakemake` object; `resources.runtime` is read, in minutes, where SLURM
            itself does not say what is left.

    Returns:
        Seconds from now, or None without a limit.
    """
    if CLUSTER_JOB not in os.environ:
        return None
    left = seconds_left()
    return 60.0 * job.resources.runtime if left is None else left

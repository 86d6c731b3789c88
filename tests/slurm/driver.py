"""A house whose workflow runs through SLURM, and what can be seen of it from outside."""

import hashlib
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dag.house import House, environment

QUICK = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "15")


class SlurmHouse(House):
    """A copy of the workflow, its driver (Snakemake), and the cluster that its jobs go to."""

    def __init__(self, folder: Path, cluster=None) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.driver: subprocess.Popen | None = None
        self.output = folder / "driver.log"
        self.since = time.strftime("%Y-%m-%dT%H:%M:%S")

    def environment(self) -> dict[str, str]:
        """With SLURM's commands, where there is a cluster."""
        return environment() | (self.cluster.env if self.cluster else {})

    def start(self, *args: str, until: str = "merge_edit") -> None:
        """Start `snakemake --profile slurm` here, up to a rule."""
        with open(self.output, "a") as log:
            self.driver = subprocess.Popen(
                self.command("--profile", "slurm", *QUICK, "--until", until, *args),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # a test run in the background ignores Ctrl-C, and its children would inherit that
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def slow(self, seconds: float) -> None:
        """Let every training step take so much longer; no number depends on it."""
        before = "        if state.global_step == state.max_steps:\n"
        name = "workflow/scripts/detoxmerge/train/resumable.py"
        self.replace(name, before, f"        time.sleep({seconds})\n{before}")

    def wait(self, seconds: float = 420) -> int:
        """The driver's exit status."""
        return self.driver.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send the driver a signal, as a user or a system would."""
        os.killpg(self.driver.pid, number) if number == signal.SIGINT else self.driver.send_signal(
            number
        )

    def said(self) -> str:
        """Everything that the driver has printed."""
        return self.output.read_text()

    def line(self, pattern: str) -> str:
        """The first printed line that has this, without the folder; fails if there is none."""
        said = self.said().replace(str(self.folder), "PROJECT")
        found = [line.strip() for line in said.splitlines() if re.search(pattern, line)]
        assert found, f"{pattern} was not printed:\n{said[-6000:]}"
        return found[0]

    def nothing(self) -> str:
        """That no error was printed."""
        assert "Error in rule" not in self.said(), self.said()[-6000:]
        return "nothing"

    def until(self, ready: Callable[[], object], what: str, seconds: float = 120):
        """Wait for something, and give it."""
        end = time.monotonic() + seconds
        while not (found := ready()):
            assert time.monotonic() < end, f"{what} did not come:\n{self.said()[-4000:]}"
            time.sleep(0.5)
        return found

    def mine(self, *states: str) -> list[dict[str, str]]:
        """Jobs of fine-tunes in the queue."""
        return [job for job in self.cluster.jobs(*states) if "finetune_shard" in job["comment"]]

    def training(self, count: int = 2) -> list[dict[str, str]]:
        """Wait until so many fine-tunes have written a checkpoint; give their jobs."""
        written = "models/**/work/checkpoint-*/complete"
        self.until(
            lambda: len(list(self.results.glob(written))) >= count,
            f"a checkpoint of {count} fine-tunes",
        )
        return self.mine("RUNNING")

    def accounts(self) -> list[dict[str, str]]:
        """Rows of sacct of every job sent from here."""
        rows = self.cluster.accounts(self.since)
        return [row for row in rows if row["workdir"] == str(self.folder)]

    def lives(self) -> dict[str, int]:
        """Shard -> how often a job of it was started, requeues counted."""
        found = Counter()
        for row in self.accounts():
            shard = re.search(r"finetune_shard_wildcards_(.*)", row["comment"])
            if shard and row["start"] not in ("Unknown", "None"):
                found[shard[1]] += 1
        return dict(found)

    def resumed(self) -> int:
        """How many fine-tunes said, in the end, that they went on from a checkpoint."""
        logs = self.results.glob("logs/models/**/finetune.log")
        return sum("continuing from checkpoint" in log.read_text() for log in logs)

    def finals(self) -> dict[str, str]:
        """Path -> checksum of deltas, losses and manifests of shards and edits."""
        files = [p for p in self.results.glob("models/pico/comments/**/*.*") if p.is_file()]
        kept = [p for p in files if p.suffix in (".json", ".safetensors", ".csv")]
        return {
            str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in kept
        }

    def end(self) -> None:
        """End the driver and cancel its jobs."""
        if self.driver and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
        for job in self.cluster.jobs():
            self.cluster.run("scancel", job["id"], check=False)
        self.until(lambda: not self.cluster.jobs(), "an empty queue")

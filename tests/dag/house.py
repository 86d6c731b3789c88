"""A copy of the workflow that a test may spoil, and how to plan, run and count in it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config", "workflow", "profiles", "slurm", "envs", "matplotlibrc")
RESULTS = "results/toy"
LIBRARY = "workflow/scripts/detoxmerge"

# what follows from a new summary; of each plot there is one per model
REPORT = {
    "summarise": 1,
    "plot_toxicity": 1,
    "plot_perplexity": 1,
    "plot_parameter_change": 1,
    "plot_almost_unchanged": 1,
    "plot_training_loss": 1,
    "plot_shard_subsets": 1,
    "plot_shard_snr": 1,
    "plot_shard_cosines": 1,
    "tabulate_main": 1,
    "tabulate_seeds": 1,
    "tabulate_headline": 1,
    "plot_trade_off": 1,
    "plot_degradation_reduction": 1,
}


class House:
    """A folder that `snakemake` runs in, with `toy.yaml` as its config file if there is one."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: has the Snakefile.
        """
        self.folder = folder
        self.results = folder / RESULTS

    @classmethod
    def build(cls, folder: Path) -> "House":
        """The workflow as it stands in the repository, without results.

        Args:
            folder: is made.

        Returns:
            The house.
        """
        folder.mkdir(parents=True)
        for name in PARTS:
            source = ROOT / name
            if source.is_symlink():
                (folder / name).symlink_to(source.readlink())
            elif source.is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, symlinks=True, ignore=skip)
            else:
                shutil.copy2(source, folder / name)
        return cls(folder)

    def copy(self, folder: Path) -> "House":
        """The same, results, records and dates included (`cp -a`).

        Args:
            folder: must not be there.

        Returns:
            The copy.
        """
        shutil.copytree(self.folder, folder, symlinks=True)
        return type(self)(folder)

    def path(self, name: str) -> Path:
        """A file of the house, by its path from the root."""
        return self.folder / name

    @contextlib.contextmanager
    def config(self) -> Iterator[dict[str, Any]]:
        """`toy.yaml`, to be changed inside the `with` block."""
        content = yaml.safe_load(self.path("toy.yaml").read_text())
        yield content
        self.path("toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file of the house; fails unless `old` stands there once."""
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
        self.path(name).write_text(text.replace(old, new))

    def command(self, *args: str) -> list[str]:
        """The command line of a Snakemake run here."""
        config = ["--configfile", "toy.yaml"] if self.path("toy.yaml").is_file() else []
        return [sys.executable, "-m", "snakemake", *config, *args]

    def snakemake(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here.

        Args:
            args: of its command line; a target comes after ``--``.

        Returns:
            Exit status, and stdout and stderr together in `stdout`.
        """
        return subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )

    def environment(self) -> dict[str, str]:
        """Of every Snakemake run here."""
        return environment()

    def run(self, *args: str) -> str:
        """Run Snakemake on two cores to success, and give its output."""
        done = self.snakemake("--cores", "2", *args)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *args: str) -> dict[str, int]:
        """What a dry run would do.

        Args:
            args: of the command line.

        Returns:
            Rule -> number of jobs, without the rule `all`, which does nothing.
        """
        done = self.snakemake("--dry-run", *args)
        assert done.returncode == 0, done.stdout
        return job_stats(done.stdout)

    def logs(self) -> dict[str, int]:
        """Log of a measurement -> when it was written last, in ns."""
        found = self.results.glob("logs/evals/**/*.log")
        return {str(log.relative_to(self.results)): log.stat().st_mtime_ns for log in found}

    def measured(self, since: dict[str, int]) -> dict[tuple[str, str], tuple[int, int]]:
        """What the jobs since an earlier call of `logs` measured.

        Args:
            since: what `logs` gave then.

        Returns:
            (edit, manifest's stem) -> (scales measured now, scales in all), of every generate,
            score_toxicity, measure_fluency and measure_perplexity that ran.
        """
        found = {}
        for log, written in self.logs().items():
            lines = re.findall(r"^measured (\d+) of (\d+)$", (self.results / log).read_text(), re.M)
            if written != since.get(log) and lines:
                edit = re.sub(r"^logs/evals/\w+/(.*)/[^/]+/[^/]+$", r"\1", log)
                found[edit, Path(log).stem] = tuple(map(int, lines[-1]))
        return found


def merged(below: Any, above: Any) -> Any:
    """Two configs as `--configfile` lays them over each other."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


def environment() -> dict[str, str]:
    """Of every Snakemake run here: no network, no settings of the caller, one thread per job."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SNAKEMAKE_")}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def job_stats(output: str) -> dict[str, int]:
    """The table after `Job stats:`.

    Args:
        output: of a dry run.

    Returns:
        Rule -> number of jobs, without `all` and the total; empty if there is nothing to be done.
    """
    _, found, table = output.partition("Job stats:\n")
    if not found:
        assert "Nothing to be done" in output, output
        return {}
    table = table.strip().partition("\n\n")[0]
    rows = [line.split() for line in table.splitlines()[2:]]
    return {rule: int(count) for rule, count in rows if rule not in ("all", "total")}

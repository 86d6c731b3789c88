"""What figures and tables are made from: files by name, read when first used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..plan.grid import Grid
from ..plan.load import load_config
from ..plan.registry import replicates
from ..storage.tables import read_table


@dataclass(frozen=True)
class Inputs:
    """The inputs of one figure or table.

    Attributes:
        files: a name of `NEEDS` -> paths.
        model: alias, for a figure; empty for a table, which covers the whole study.
        config: as Snakemake has it; needed only by what reads `grid`.
    """

    files: Mapping[str, list[Path]]
    model: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """summary.parquet."""
        return read_table(Path(self.files["summary"][0]))

    @cached_property
    def results(self) -> pd.DataFrame:
        """The summary without edits that exist only for the interval of another one."""
        return self.summary[~self.summary["method"].isin(replicates())]

    @cached_property
    def levels(self) -> pd.DataFrame:
        """degradation_reduction.csv of this model."""
        levels = pd.read_csv(self.files["levels"][0])
        return levels[levels["model"] == self.model]

    @cached_property
    def grid(self) -> Grid:
        """The study."""
        return Grid(load_config(self.config))


def paths_by_name(named: Any) -> dict[str, list[Path]]:
    """A rule's inputs by name, whether a name has one file or a list of them.

    Args:
        named: Snakemake's `input`, or a mapping of names to a path or paths.
    """
    return {
        name: [Path(paths)] if isinstance(paths, str) else [Path(path) for path in paths]
        for name, paths in named.items()
    }

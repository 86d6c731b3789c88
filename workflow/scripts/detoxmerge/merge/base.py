"""The base model of a merge: each parameter under one name, whatever others call it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from ..errors import UserError
from ..models.folder import weight_files
from ..models.library_names import LibraryNames
from ..models.tied_weights import stored_as_head, stored_twice
from ..plan.weight_names import read_config
from ..storage.reading import Weights
from .parameter_names import parameters, prefixes, require_floats, require_plain
from .per_layer import excluded_tensors


@dataclass(frozen=True)
class Base:
    """What fine-tunes are compared with; made by `open_base` and `made_elsewhere.loaded_base`.

    Attributes:
        weights: of the base's files, each parameter once, and buffers.
        folder: of the model.
        as_stored: the same with every name that the files have.
        ask: transformers for what it knows of the names.
        twice: of tied weights: other name that the files have -> name in `weights`.
    """

    weights: Weights
    folder: Path
    as_stored: Weights
    ask: Callable[[], LibraryNames | None]
    twice: dict[str, str] = field(default_factory=dict)

    @cached_property
    def library(self) -> LibraryNames | None:
        """What transformers knows of the names; None if it is not installed, or the model new."""
        return self.ask()

    @cached_property
    def _known(self) -> dict[str, str]:
        """Every name that the files have -> name in `weights`."""
        return {name: name for name in parameters(self.weights.layout)} | self.twice

    def plain_names(self, names: Iterable[str], label: str) -> dict[str, str | None]:
        """The parameters that the tensors of a fine-tune are about, by their names alone.

        Args:
            names: as in the files of the base, or all with a prefix more or less.
            label: what messages call the fine-tune.

        Returns:
            Each name -> name in `weights`; None for what is no parameter of this base.

        Raises:
            UserError: the names fit several parts of the base.
        """
        names = list(names)
        found: list[dict[str, str | None]] = []
        for before, without in prefixes(names, list(self._known)):
            plain = {before + n.removeprefix(without): meant for n, meant in self._known.items()}
            found.append({name: plain.get(name) for name in names})
        for other in found[1:]:
            if differing := [name for name in names if other[name] != found[0][name]]:
                name = differing[0]
                raise UserError(
                    f"{label}: '{name}' may be '{found[0][name]}' or '{other[name]}' of the base "
                    f"in {self.folder}; save it from the whole model, whose names are complete"
                )
        return found[0]

    def names_of(self, names: Iterable[str], label: str) -> dict[str, str | None]:
        """As `plain_names`, for the names of any release of transformers, and of modules.

        Where the names alone do not tell, transformers is asked what it renames.
        """
        plain = self.plain_names(names, label)
        if None not in plain.values() or self.library is None:
            return plain
        # through the parameter of the loaded model to the name in this base's files
        ours = {self.library.parameter(stored): meant for stored, meant in self._known.items()}
        ours.pop(None, None)
        asked = {name: ours.get(self.library.parameter(name)) for name in plain}
        return asked if _num_none(asked) < _num_none(plain) else plain

    def excluded(self, patterns: Iterable[str]) -> list[str]:
        """Parameters that `patterns` leave out, under whichever of their names; sorted.

        Raises:
            UserError: as `per_layer.excluded_tensors`.
        """
        patterns = list(patterns)
        if patterns and self.library is None:
            print(
                "exclude: transformers is not installed or does not know this model, so a tied "
                "weight is left out only under the names that the base's files have"
            )
        return excluded_tensors(parameters(self.weights.layout), patterns, self.other_names)

    def is_input_first(self, name: str, label: str) -> bool:
        """Whether a square matrix is stored as (in, out), as GPT-2's Conv1D does.

        Args:
            label: what messages call the adapter that asks.

        Raises:
            UserError: nobody can tell.
        """
        layout = self.weights.layout
        # a bias is as long as the output: that of a Conv1D is as long as the last axis
        conv1d = any(
            len(shape) == 2 and len(set(shape)) == 2 and bias == (shape[1],)
            for other, (_, shape) in layout.items()
            if (bias := layout.get(f"{other.removesuffix('weight')}bias", ("", ()))[1])
        )
        if not conv1d:
            return False
        if self.library is None:
            raise UserError(
                f"{label}: '{name}' is square, so that its orientation cannot be told; install "
                "transformers and torch beside this command, which know it"
            )
        return self.library.parameter(name) in self.library.input_first

    def may_be_tied(self, name: str) -> bool:
        """Whether a parameter is a matrix with as many rows as the base has tokens."""
        rows = max(s[0] for s in parameters(self.weights.layout).values() if len(s) == 2)
        shape = self.weights.layout[name][1]
        return len(shape) == 2 and shape[0] == rows

    def other_names(self) -> dict[str, str]:
        """Every other name of a tied weight -> name in `weights`."""
        if self.library is None:
            return self.twice
        meant = self.names_of(
            [name for pair in self.library.tied.items() for name in pair], str(self.folder)
        )
        others = {name: ours for name, ours in meant.items() if ours not in (None, name)}
        return self.twice | others


def open_base(folder: Path) -> Base:
    """The base of `detoxmerge merge`, with the names of its files.

    Raises:
        UserError: files are missing or broken, or hold what a vector cannot be subtracted from.
    """
    weights = Weights(weight_files(folder, "base"))
    config = read_config(folder, "base")
    require_plain(config, weights, str(folder))
    require_floats(weights)

    @cache
    def ask() -> LibraryNames | None:
        try:
            from ..models.loading import names_of_library

            return names_of_library({"path": str(folder)}, as_saved=True)
        except Exception:  # not installed, or a model that it cannot build: nobody is to be asked
            return None

    twice = stored_twice(weights, config, folder, ask)
    head = stored_as_head(weights, config, ask)  # random numbers belong to the parameter's name
    once = {head.get(name, name): name for name in weights.layout if name not in twice}
    return Base(weights.renamed(once), folder, weights, ask, twice | head)


def _num_none(names: dict[str, str | None]) -> int:
    return sum(meant is None for meant in names.values())

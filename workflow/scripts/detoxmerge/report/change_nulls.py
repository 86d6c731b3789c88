"""A merged vector beside its nulls: what it owes to its norm alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..plan.registry import METHODS, merged_shards, params_of, recipe_of
from ..plan.slug import setting_slug
from ..storage.artefacts import read_json
from .names import named, variant

VECTOR, SHARD, SINGLE = "merged vector", "one of its shards", "N = 1 vector at the same norm"
RANDOM, SELECTED = "Gaussian at the same norm", "N = 1 vector at its selected scale"
# line styles and markers tell the curves apart in grey, too
STYLES: dict[str, dict[str, Any]] = {
    VECTOR: {"color": "black", "linestyle": "-", "marker": "o", "zorder": 3},
    SHARD: {"color": "#56B4E9", "linestyle": "--", "marker": "s"},
    SINGLE: {"color": "#D55E00", "linestyle": "-.", "marker": "^"},
    RANDOM: {"color": "#009E73", "linestyle": ":", "marker": "D"},
    SELECTED: {"color": "0.6", "linestyle": "-", "marker": "x"},
}


def edits_beside_nulls(changes: list[Path], shards: list[Path]) -> list[dict[str, Any]]:
    """Edits with an N, each beside its shards and the N = 1 edit that it is compared with.

    Args:
        changes: `change.json` of the edits of one model, each with its `change.parquet`; edits
            without an N are left out.
        shards: `shards.json` of the model.

    Returns:
        Of each edit: `edits` (data set, method, variant), `n`, `seed`, `change` (its manifest),
        `table` (the parquet beside it), `shards` and `single` (the manifests of its fine-tunes and
        of the N = 1 vector; None where the study lacks them).
    """
    sets = {}
    for content in map(read_json, shards):
        of = content["shards"]
        sets[of["dataset"], of["recipe"], of["n"], of["seed"]] = content
    found = []
    for path in changes:
        change = read_json(path)
        edit = change["edit"]
        which = edit["method"], edit["params"]
        n, recipe = merged_shards(*which), recipe_of(*which)
        if n is None:
            continue
        at: dict[str, Any] = {"edits": named(edit | {"variant": variant(edit["setting"])}), "n": n}
        at |= {"seed": edit["seed"], "change": change, "table": path.with_suffix(".parquet")}
        found.append(at | {"shards": sets.get((edit["dataset"], recipe, n, edit["seed"]))})
    singles = {_key(one["change"]["edit"]): one["change"] for one in found if one["n"] == 1}
    return [one | {"single": _single(one["change"], singles)} for one in found]


def _key(edit: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(edit[name] for name in ("dataset", "method", "setting", "seed"))


def _single(change: Mapping[str, Any], singles: Mapping[tuple[str, ...], Any]) -> Any:
    """The N = 1 vector that the headline, too, compares with; none beside a vector of zeros."""
    edit = change["edit"]
    method, params = METHODS[edit["method"]], params_of(edit["method"], edit["params"])
    if not hasattr(method, "single_of"):
        return None
    wanted = setting_slug(method.single_of(params.model_validate(edit["params"])))
    found = singles.get(_key({**edit, "setting": wanted}))
    return found if found and found["l2_norm"] and change["l2_norm"] else None


def shrinkage(edit: Mapping[str, Any]) -> float:
    """What brings the N = 1 vector to the norm of this one."""
    return edit["change"]["l2_norm"] / edit["single"]["l2_norm"]

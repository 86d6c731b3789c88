"""A merged vector beside its nulls, which show what follows from its norm alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..plan.registry import METHODS, merged_shards, params_of, recipe_of
from ..plan.slug import setting_slug
from ..storage.artefacts import read_json
from .names import named, variant

VECTOR, SHARD, SINGLE = "merged vector", "one of its shards", "N = 1 vector at the same norm"
RANDOM, SELECTED = "Gaussian at the same norm", "N = 1 vector at its selected scale"
# line styles and markers distinguish the curves in grey, too
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
        For each edit: `edits` (data set, method, variant), `n`, `seed`, `change` (its manifest),
        `table` (the parquet beside it), `shards` and `single` (the manifests of its fine-tunes and
        of the N = 1 vector; None where the study lacks them).
    """
    sets = {}
    for content in map(read_json, shards):
        tunes = content["shards"]
        sets[tunes["dataset"], tunes["recipe"], tunes["n"], tunes["seed"]] = content
    rows = []
    for path in changes:
        change = read_json(path)
        edit = change["edit"]
        n = merged_shards(edit["method"], edit["params"])
        recipe = recipe_of(edit["method"], edit["params"])
        if n is None:
            continue
        row: dict[str, Any] = {"edits": named(edit | {"variant": variant(edit["setting"])}), "n": n}
        row |= {"seed": edit["seed"], "change": change, "table": path.with_suffix(".parquet")}
        rows.append(row | {"shards": sets.get((edit["dataset"], recipe, n, edit["seed"]))})
    # only now is every N = 1 edit known
    singles = {_key(row["change"]["edit"]): row["change"] for row in rows if row["n"] == 1}
    return [row | {"single": _single(row["change"], singles)} for row in rows]


def _key(edit: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(edit[name] for name in ("dataset", "method", "setting", "seed"))


def _single(change: Mapping[str, Any], singles: Mapping[tuple[str, ...], Any]) -> Any:
    """The N = 1 vector that the headline compares with; None if either of the two is zero."""
    edit = change["edit"]
    method, params = METHODS[edit["method"]], params_of(edit["method"], edit["params"])
    if not hasattr(method, "single_of"):
        return None
    wanted = setting_slug(method.single_of(params.model_validate(edit["params"])))
    single = singles.get(_key({**edit, "setting": wanted}))
    return single if single and single["l2_norm"] and change["l2_norm"] else None


def shrinkage(edit: Mapping[str, Any]) -> float:
    """The scale at which the N = 1 vector has the norm of this one."""
    return edit["change"]["l2_norm"] / edit["single"]["l2_norm"]

"""A labelled data set is cut into a toxic and a non-toxic part, the toxic part into N shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..storage.artefacts import publish, read_json, sha256, write_manifest
from .sources import origin, read_rows, require_text, unreadable_count


def prepare_dataset(
    alias: str, protocol: Mapping[str, Any], out: Path, toxic: Path, nontoxic: Path
) -> None:
    """Cut a data set by its score: toxic is strictly above, non-toxic strictly below.

    Args:
        protocol: its entry: source, `text`, `score`, `toxic_above`, `nontoxic_below`,
            `nontoxic_share`, `nontoxic_seed`.
        out: manifest, with every count.
        toxic: parquet with `text` and `score`, in the order of the source.
        nontoxic: likewise; a seeded sample of `nontoxic_share`.

    Raises:
        UserError: a field is missing, a score lies outside 0..1, or no text is toxic.
    """
    name = f"datasets.{alias}"
    # every row that is left out is counted: it would be missing from the study without a trace
    text, score = protocol["text"], protocol["score"]
    raw, unreadable = read_rows(protocol, name, [text, score], score)
    rows, no_text = require_text(raw, text, name)
    rows = rows.rename(columns={text: "text", score: "score"})
    scored = rows[rows["score"].notna()]
    _require_range(scored["score"], name, score)
    above = scored[scored["score"] > protocol["toxic_above"]]
    below = scored[scored["score"] < protocol["nontoxic_below"]]
    if above.empty:
        raise UserError(
            f"{name}: none of {len(scored)} scored texts has {score} > {protocol['toxic_above']} "
            f"(the highest is {scored['score'].max():.3g}); lower toxic_above or check `score`"
        )
    kept = _sample_share(below, protocol["nontoxic_share"], protocol["nontoxic_seed"])
    for part, path in ((above, toxic), (kept, nontoxic)):
        with publish(path) as file:
            part.reset_index(drop=True).to_parquet(file, index=False)
    write_manifest(
        out,
        protocol=protocol,
        inputs=[],
        files={path.name: sha256(path) for path in (toxic, nontoxic)},
        origin=origin(protocol),
        counts={
            "num_rows": len(raw) + unreadable,
            "num_without_text": no_text,
            "num_without_score": int(len(rows) - len(scored)),
            "num_toxic": len(above),
            "num_between": int(len(scored) - len(above) - len(below)),
            "num_nontoxic": len(below),
            "num_nontoxic_kept": len(kept),
        }
        | unreadable_count(unreadable),
    )
    print(f"{name}: {len(raw)} rows, {len(above)} toxic, {len(kept)} of {len(below)} non-toxic")


def _require_range(scores: pd.Series, name: str, field: str) -> None:
    if scores.empty:
        raise UserError(f"{name}: no row has a number in '{field}'; check `score`")
    outside = scores[(scores < 0) | (scores > 1)]
    if len(outside):
        raise UserError(
            f"{name}: {len(outside)} scores in '{field}' lie outside 0..1, the first is "
            f"{outside.iloc[0]:.4g}; rescale them or choose another field"
        )


def _sample_share(rows: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """round(share * n) rows, without replacement, in their order."""
    count = round(share * len(rows))
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return rows.iloc[np.sort(chosen)]


def split_dataset(dataset: Path, n: int, protocol: Mapping[str, Any], out: Path) -> None:
    """Partition the toxic texts into n shards.

    Row numbers are shuffled by numpy's PCG64 with the partition seed and cut by `array_split`:
    sizes differ by at most one, shards are disjoint, and together they are the whole.

    Args:
        out: the partition, with `shards`: n lists of row numbers.

    Raises:
        UserError: n is larger than the number of toxic texts.
    """
    rows = read_json(dataset)["counts"]["num_toxic"]
    if n > rows:
        raise UserError(
            f"{dataset.parent.name} has {rows} toxic texts, fewer than n = {n} shards; lower n in "
            "methods.merge, or toxic_above of the data set"
        )
    order = np.random.default_rng(protocol["seed"]).permutation(rows)
    shards = [part.tolist() for part in np.array_split(order, n)]
    write_manifest(out, protocol=protocol, inputs=[dataset], files={}, shards=shards)
    print(f"{rows} texts in {n} shards of {len(shards[-1])} to {len(shards[0])}")


def shard_texts(toxic: Path, partition: Path, shard: int) -> list[str]:
    """The texts of one shard (0-based), in the order of the partition.

    Raises:
        UserError: the partition has no such shard.
    """
    shards = read_json(partition)["shards"]
    if shard >= len(shards):
        raise UserError(
            f"{partition} has {len(shards)} shards, 0 to {len(shards) - 1}, and no shard {shard}"
        )
    texts = pd.read_parquet(toxic, columns=["text"])["text"]
    return texts.iloc[shards[shard]].tolist()

"""How far an edit's vector moves the parameters: one streamed pass over |delta|, at scale 1.

Counts leave structural zeros apart: rows of an embedding that are exactly zero in the vector,
because no training example reached the position or token. They would count as "unchanged".
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..merge.blocks import Place
from ..merge.task_vectors import open_fp32
from ..storage.artefacts import Checksum, changed, publish, read_json, sha256, write_manifest
from ..storage.reading import Weights
from ..storage.workers import by_workers, keep_freed_memory
from .magnitudes import Counter, cuts
from .nulls import random_share_below

THRESHOLDS = (1e-6, 1e-5, 2e-5, 1e-4)  # "almost unchanged": |delta| strictly below
LINEAR_EDGES = np.linspace(0.0, 0.01, 501)  # the bins of Kim et al.'s released code, 2e-5 wide
LOG_EDGES = np.logspace(-12, 2, 1401)  # a hundred bins per decade
FROM_ZERO = np.concatenate([[0.0], LOG_EDGES])  # below the first edge, then these bins
# these among the magnitudes of fp32; as in numpy.histogram the last bin includes its upper edge
THRESHOLD_CUTS = cuts(np.array(THRESHOLDS, np.float32).astype(np.float64))
LINEAR_CUTS, LOG_CUTS = (cuts(edges, last_bin_closed=True) for edges in (LINEAR_EDGES, FROM_ZERO))
BELOW = tuple(f"below_{t:g}" for t in THRESHOLDS)
SUMS = ("elements", "l1", "l2", "max", "exact_zeros", "structural_zeros", *BELOW)
BLOCK_ELEMENTS = 1 << 17  # so few that a block and its intermediate results fit into the cache
# words in parameter names of GPT-2, Llama, Phi, OPT and GPT-NeoX; the first match counts
MODULE_WORDS = {
    "position embedding": ("wpe", "embed_positions", "position_embeddings"),
    "token embedding": ("wte", "embed_tokens", "embed_in", "word_embeddings"),
    "output head": ("lm_head", "embed_out"),
    "norm": ("ln_", "layernorm", "layer_norm", "norm"),
    "attention": ("attn", "attention", "self_attn"),
    "mlp": ("mlp", "fc1", "fc2", "feed_forward"),
}


def module_type(name: str) -> str:
    """The kind of module that a parameter belongs to: a key of `MODULE_WORDS`, or ``other``."""
    for kind, words in MODULE_WORDS.items():
        if any(word in name for word in words):
            return kind
    return "other"


def without_structural_zeros(block: np.ndarray, module: str) -> np.ndarray:
    """A block of rows; if it is of an embedding, without the rows that are exactly zero.

    Args:
        module: of `module_type`.
    """
    if "embedding" not in module:
        return block
    return block[block.any(axis=tuple(range(1, block.ndim)))]


def log_histogram(counts: np.ndarray) -> dict[str, Any]:
    """The histogram of |delta| over `FROM_ZERO`, in the form that manifests have.

    Args:
        counts: per bin, without structural zeros.

    Returns:
        `low` and `high` (log10 of the outer edges), `bins`, `counts`, `num_below` (elements below
        the low edge, exact zeros among them).
    """
    bins = {"low": -12, "high": 2, "bins": len(counts) - 1}
    return bins | {"counts": counts[1:].tolist(), "num_below": int(counts[0])}


def parameter_change(
    edit: Path,
    tensors: Path,
    protocol: Mapping[str, Any],
    out: Path,
    table: Path,
    workers: int = 1,
) -> None:
    """Measure the vector of an edit, and check that it is the one of the manifest.

    Args:
        edit: manifest of the edit, of verb `delta`.
        tensors: its vector, fp32.
        out: manifest with shares, norms, both histograms, and the shares of a random vector with
            the same norm in each tensor (`nulls.random_share_below`).
        table: parquet, one row per tensor: `tensor`, `module`, `elements`, `l1`, `l2`, `max`,
            `exact_zeros`, `structural_zeros` and `below_E` for each threshold.
        workers: processes that measure, while the caller computes the checksum; with 1 the caller
            does both. No number depends on it.

    Raises:
        UserError: the vector is broken, or not the one of the manifest.
    """
    manifest = read_json(edit)
    # one pass over the file gives both
    frame, counts, checksum = _measure(tensors, workers)
    if checksum != manifest["tensors"]["sha256"]:
        raise changed(tensors, edit)
    with publish(table) as part:
        frame.to_parquet(part, index=False)
    # shares are of the elements that training could move
    counted = frame["elements"] - frame["structural_zeros"]
    total = int(counted.sum())
    linear, log = (np.diff(_counter().below(counts, edges)) for edges in (LINEAR_CUTS, LOG_CUTS))
    modules = frame.groupby("module")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[edit],
        files={table.name: sha256(table)},
        scale=1,
        edit={key: manifest[key] for key in ("dataset", "method", "setting", "params", "seed")},
        num_elements=int(frame["elements"].sum()),
        num_structural_zeros=int(frame["structural_zeros"].sum()),
        num_exact_zeros=int(frame["exact_zeros"].sum()),
        almost_unchanged_share={
            f"below_{t:g}": float(frame[f"below_{t:g}"].sum() / max(1, total)) for t in THRESHOLDS
        },
        norm_matched_random_share={
            f"below_{t:g}": random_share_below(t, frame["l2"], counted) for t in THRESHOLDS
        },
        l1_norm=float(frame["l1"].sum()),
        l2_norm=float(np.sqrt((frame["l2"] ** 2).sum())),
        max_abs=float(frame["max"].max()),
        module_l2_norms={k: float(np.sqrt((g["l2"] ** 2).sum())) for k, g in modules},
        histogram_linear={"low": 0.0, "high": 0.01, "bins": 500, "counts": linear.tolist()},
        histogram_log10=log_histogram(log),
    )
    print(f"|delta| {np.sqrt((frame['l2'] ** 2).sum()):.4g}, {total} parameters counted")


@cache
def _counter() -> Counter:
    return Counter(THRESHOLD_CUTS, LINEAR_CUTS, LOG_CUTS)


def _measure(tensors: Path, workers: int) -> tuple[pd.DataFrame, np.ndarray, str]:
    """The table, the counts of `_counter` and the checksum of a vector's file; one pass."""
    keep_freed_memory()
    weights = open_fp32(tensors)
    counts = np.zeros(_counter().num_bins, np.int64)
    rows: dict[str, dict[str, Any]] = {
        name: {"tensor": name, "module": module_type(name)} | dict.fromkeys(SUMS, 0)
        for name in sorted(weights.layout)
    }

    def work(place: Place) -> tuple[Place, dict[str, Any], np.ndarray]:
        size = math.prod(place.shape)
        block = weights.read(place.tensor, place.start, np.empty(size, np.float32))
        return place, *_measure_block(place.tensor, block, math.prod(place.shape[1:]))

    with open(tensors, "rb") as file:
        checksum = Checksum(file)
        for place, sums, block_counts in by_workers(work, _places(weights), workers):
            # close behind the workers, while the file is still in the page cache
            checksum.take_to(weights.offset(place.tensor, place.start))
            counts += block_counts
            row = rows[place.tensor]
            largest = max(row["max"], sums["max"])
            row |= {key: row[key] + sums[key] for key in SUMS} | {"max": largest}
        checksum.take_to(tensors.stat().st_size)
    frame = pd.DataFrame(list(rows.values()))
    return frame.assign(l2=np.sqrt(frame["l2"])), counts, checksum.hexdigest()


def _places(weights: Weights) -> Iterator[Place]:
    """Blocks of rows, in the order of the file, so that the checksum can follow."""
    for name, (_, shape) in weights.layout.items():
        if 0 not in shape:
            whole = Place(name, 0, shape or (1,))
            yield from whole.parts(BLOCK_ELEMENTS)


def _measure_block(name: str, block: np.ndarray, row: int) -> tuple[dict[str, Any], np.ndarray]:
    """`SUMS` over a block of rows, and its counts by bin without structural zeros.

    Args:
        block: the rows, end to end.
        row: elements of a row.
    """
    zero, structural = block == 0, 0
    counts = _counter().count(block)
    if "embedding" in module_type(name):
        structural = row * int(zero.reshape(-1, row).all(axis=1).sum())
        # they were counted as zeros, in the bin that a zero falls into
        counts -= structural * _counter().count(np.zeros(1, np.float32))
    below = _counter().below(counts, THRESHOLD_CUTS).tolist()
    size = np.abs(block, dtype=np.float64)
    sums = {"elements": block.size, "l1": float(size.sum()), "max": float(size.max())}
    # the sum of squares; `_measure` takes the root once all blocks are added
    sums |= {"l2": float(np.square(size, out=size).sum()), "structural_zeros": structural}
    sums |= {"exact_zeros": int(np.count_nonzero(zero)) - structural}
    sums |= {f"below_{t:g}": count for t, count in zip(THRESHOLDS, below, strict=True)}
    return sums, counts

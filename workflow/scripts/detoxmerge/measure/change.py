"""How far an edit's vector moves the parameters: one streamed pass over |delta|, at scale 1.

Counts leave structural zeros apart: rows of an embedding that are exactly zero in the vector,
because no training example reached the position or token. They would pass for "unchanged".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..artefacts import publish, read_json, sha256, write_manifest
from ..edit.merging import BLOCK_ELEMENTS
from ..edit.tensors import layout, open_tensors, row_blocks
from ..plan.errors import UserError
from .nulls import random_share_below

THRESHOLDS = (1e-6, 1e-5, 2e-5, 1e-4)  # "almost unchanged": |delta| strictly below
LINEAR_EDGES = np.linspace(0.0, 0.01, 501)  # the bins of Kim et al.'s released code, 2e-5 wide
LOG_EDGES = np.logspace(-12, 2, 1401)  # a hundred bins per decade
FROM_ZERO = np.concatenate([[0.0], LOG_EDGES])  # below the first edge, then these bins
# words of parameter names, first match counts: GPT-2, Llama, Phi, OPT, GPT-NeoX
MODULE_WORDS = {
    "position embedding": ("wpe", "embed_positions", "position_embeddings"),
    "token embedding": ("wte", "embed_tokens", "embed_in", "word_embeddings"),
    "output head": ("lm_head", "embed_out"),
    "norm": ("ln_", "layernorm", "layer_norm", "norm"),
    "attention": ("attn", "attention", "self_attn"),
    "mlp": ("mlp", "fc1", "fc2", "feed_forward"),
}


def module_type(name: str) -> str:
    """The kind of module that a parameter belongs to.

    Args:
        name: as in `named_parameters`.

    Returns:
        A key of `MODULE_WORDS`, or ``other``.
    """
    for kind, words in MODULE_WORDS.items():
        if any(word in name for word in words):
            return kind
    return "other"


def without_structural_zeros(block: np.ndarray, module: str) -> np.ndarray:
    """The rows of a block that training reached.

    Args:
        block: rows of a tensor.
        module: of `module_type`.

    Returns:
        The block; of an embedding without its rows that are exactly zero.
    """
    if "embedding" not in module:
        return block
    return block[block.any(axis=tuple(range(1, block.ndim)))]


def log_histogram(counts: np.ndarray) -> dict[str, Any]:
    """The histogram of |delta| over `FROM_ZERO` as it stands in manifests.

    Args:
        counts: per bin; structural zeros left out.

    Returns:
        `low` and `high` (log10 of the outer edges), `bins`, `counts`, `num_below` (elements below
        the low edge, exact zeros among them).
    """
    bins = {"low": -12, "high": 2, "bins": len(counts) - 1}
    return bins | {"counts": counts[1:].tolist(), "num_below": int(counts[0])}


def parameter_change(
    edit: Path, tensors: Path, protocol: Mapping[str, Any], out: Path, table: Path
) -> None:
    """Measure the vector of an edit.

    Args:
        edit: manifest of the edit, of verb `delta`.
        tensors: its vector, fp32.
        protocol: the stage's VERSION.
        out: manifest with shares, norms, both histograms, and the shares of a random vector with
            the same norm in each tensor (`nulls.random_share_below`).
        table: parquet, one row per tensor: `tensor`, `module`, `elements`, `l1`, `l2`, `max`,
            `exact_zeros`, `structural_zeros` and `below_E` for each threshold.

    Raises:
        UserError: the vector is broken, or not the one of the manifest.
    """
    made = read_json(edit)
    if sha256(tensors) != made["tensors"]["sha256"]:
        raise UserError(f"{tensors} is not what {edit} was written for; delete both and run again")
    linear = np.zeros(len(LINEAR_EDGES) - 1, dtype=np.int64)
    log = np.zeros(len(FROM_ZERO) - 1, dtype=np.int64)
    rows = []
    with open_tensors(tensors) as file:
        for name, (_, shape) in layout(tensors).items():
            rows.append(_measure_tensor(file, name, shape, linear, log))
    frame = pd.DataFrame(rows)
    with publish(table) as part:
        frame.to_parquet(part, index=False)
    counted = frame["elements"] - frame["structural_zeros"]
    total = int(counted.sum())
    modules = frame.groupby("module")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[edit],
        files={table.name: sha256(table)},
        scale=1,
        edit={key: made[key] for key in ("dataset", "method", "setting", "params", "seed")},
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


def _measure_tensor(
    file: Any, name: str, shape: tuple[int, ...], linear: np.ndarray, log: np.ndarray
) -> dict[str, Any]:
    """Counts and norms of one tensor; adds to both histograms, without structural zeros."""
    module = module_type(name)
    row: dict[str, Any] = {"tensor": name, "module": module, "elements": 0, "l1": 0.0, "l2": 0.0}
    row |= {"max": 0.0, "exact_zeros": 0, "structural_zeros": 0}
    row |= {f"below_{t:g}": 0 for t in THRESHOLDS}
    values = file.get_slice(name) if shape else None
    for at in row_blocks(shape, BLOCK_ELEMENTS) if shape else [...]:
        block = np.abs(values[at] if shape else file.get_tensor(name))
        row["elements"] += block.size
        size = block.size
        block = without_structural_zeros(block, module).reshape(-1)
        row["structural_zeros"] += size - block.size
        row["l1"] += float(block.sum(dtype=np.float64))
        row["l2"] += float(np.square(block, dtype=np.float64).sum())
        row["max"] = max(row["max"], float(block.max(initial=0.0)))
        row["exact_zeros"] += int((block == 0).sum())
        for t in THRESHOLDS:
            row[f"below_{t:g}"] += int((block < t).sum())
        linear += np.histogram(block, LINEAR_EDGES)[0]
        log += np.histogram(block, FROM_ZERO)[0]
    row["l2"] = float(np.sqrt(row["l2"]))
    return row

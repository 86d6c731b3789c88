"""change.json, change.parquet, shards.json and loss.csv of a small study, as their stages write."""

import json
from itertools import product
from pathlib import Path

import beside
import numpy as np
import pandas as pd

from detoxmerge.measure.change import FROM_ZERO, THRESHOLDS, log_histogram
from detoxmerge.merge.parameter_names import layer_of
from detoxmerge.plan.edits import FineTune

TENSORS = {"wte": "token embedding", "h.0.mlp": "mlp", "h.1.mlp": "mlp", "ln_f": "norm"}


def sizes(n: int, seed: str, share: float = 1.0) -> np.ndarray:
    """|delta| of 1,000 parameters."""
    rng = np.random.default_rng([n, int(seed)])
    return np.abs(share * 2e-5 / np.sqrt(n) * rng.standard_normal(1000))


def change(n: int, seed: str, dataset: str = "rude", setting: str | None = None) -> dict:
    """A change.json; ten elements are structural zeros."""
    size = sizes(n, seed)
    return {
        "edit": {
            "dataset": dataset,
            "method": "merge",
            "setting": setting or f"n={n}",
            "seed": seed,
            "params": {"n": n, "operator": "mean", "recipe": "default"},
        },
        "num_elements": 1010,
        "num_structural_zeros": 10,
        "l2_norm": float(np.linalg.norm(size)),
        "histogram_log10": log_histogram(np.histogram(size, FROM_ZERO)[0]),
        "almost_unchanged_share": {f"below_{t:g}": float((size < t).mean()) for t in THRESHOLDS},
        "norm_matched_random_share": {f"below_{t:g}": 0.01 * n for t in THRESHOLDS},
    }


def spread(mean: float) -> dict:
    """Over subsets."""
    return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean}


def shards(n: int, seed: str, dataset: str = "rude", recipe: str = "default") -> dict:
    """A shards.json."""
    points = [
        {
            "k": k,
            "num_subsets": 1,
            "num_possible": 1,
            "l2_norm": spread(1 / k),
            "almost_unchanged_share": {f"below_{t:g}": spread(0.02 * k) for t in THRESHOLDS},
            "norm_matched_random_share": {f"below_{t:g}": spread(0.01 * k) for t in THRESHOLDS},
        }
        for k in range(1, n + 1)
    ]
    cosine = {"all": np.full((n, n), 0.2), "without_embeddings": np.full((n, n), 0.3)}
    return {
        "shards": {"dataset": dataset, "recipe": recipe, "n": n, "seed": seed},
        "cosines": {key: (m + (1 - m) * np.eye(n)).tolist() for key, m in cosine.items()},
        "groups": [
            {
                "scope": "layer_module",
                "layer": layer_of(tensor),
                "module": module,
                "signal_energy": 2.0 - i,
                "noise_energy": 4.0,
                "snr": (2.0 - i) / 4,
            }
            for i, (tensor, module) in enumerate(TENSORS.items())
        ]
        + [{"scope": "all", "layer": None, "module": None}],
        "curves": {"all": points, "without_embeddings": points},
        "one_shard": {
            "num_elements": 1010 * n,
            "num_structural_zeros": 10 * n,
            "histogram_log10": log_histogram(
                np.histogram(np.repeat(sizes(n, seed, 2), n), FROM_ZERO)[0]
            ),
        },
    }


def write(
    folder: Path, ns: tuple[int, ...] = (1, 2, 5), datasets: tuple[str, ...] = ("rude", "mean")
) -> tuple[list[Path], list[Path]]:
    """change.json of every edit, with its table, and shards.json of every set; two seeds."""
    changes, sets = [], []
    for dataset, n, seed in product(datasets, ns, ("1", "2")):
        at = folder / dataset / f"n{n}" / seed
        at.mkdir(parents=True)
        changes.append(at / "change.json")
        norm = np.linalg.norm(sizes(n, seed))
        rows = {"elements": [1010, 1], "structural_zeros": [10, 0], "l2": [norm, 0.0]}
        pd.DataFrame(rows).to_parquet(at / "change.parquet")
        beside.manifest(changes[-1], "change.parquet", **change(n, seed, dataset))
        if n > 1:
            sets.append(at / "shards.json")
            sets[-1].write_text(json.dumps(shards(n, seed, dataset)))
    return changes, sets


def losses(folder: Path, ns: tuple[int, ...] = (1, 3)) -> tuple[list[FineTune], list[Path]]:
    """loss.csv of every fine-tune; the last shard has a step less."""
    tunes, files = [], []
    for n in ns:
        for shard in range(n):
            tunes.append(FineTune("small", "rude", "default", n, "1", shard))
            files.append(folder / f"n{n}/shard{shard}/loss.csv")
            files[-1].parent.mkdir(parents=True)
            steps = np.arange(5 - (shard == n - 1))
            history = {"step": steps, "epoch": steps / 5, "loss": 4.0 - steps + shard}
            pd.DataFrame(history | {"learning_rate": 0.1}).to_csv(files[-1], index=False)
            beside.manifest(files[-1].with_name("meta.json"), "loss.csv")
    return tunes, files

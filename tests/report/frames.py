"""A small summary in the form of summary.parquet: two data sets, two seeds, two Ns, two scales."""

from itertools import product

import numpy as np
import pandas as pd

from detoxmerge.report.summary import COLUMNS, LEFT_OUT

WHY = "ppl_ratio 1.83 > 1.5 on polite"
METRICS = {
    "toxicity_mean": 0.2,
    "toxic_share_above_0.5": 0.1,
    "num_prompts": 30.0,
    "num_samples_per_prompt": 5.0,
    "num_failed": 0.0,
}
FLUENCY = {
    "conditional_perplexity_mean": 40.0,
    "conditional_perplexity_median": 30.0,
    "num_scored": 148.0,
    "dist_2": 0.8,
    "length_words_mean": 12.0,
}


def summary(
    *,
    datasets: tuple[str, ...] = ("rude", "mean"),
    seeds: tuple[str, ...] = ("1", "2"),
    ns: tuple[int, ...] = (1, 4),
    scales: tuple[float, ...] = (0.5, 1.0),
    suffix: str = "",
) -> pd.DataFrame:
    """Numbers of one base model and its edits; perplexity is missing at the largest scale, N = 1.

    Args:
        datasets: the edits' data sets.
        seeds: training seeds.
        ns: split counts.
        scales: measured.
        suffix: of every setting, for example ``--recipe=small``.
    """
    base = {"dataset": None, "method": "base", "label": "base model", "setting": None}
    rows = list(measured(base | {"n": None, "seed": None, "scale": 0.0}, 1.0, 20.0))
    for dataset, n, seed, scale in product(datasets, ns, seeds, scales):
        edit = {"dataset": dataset, "method": "merge", "label": "merged task vectors"}
        edit |= {"setting": f"n={n}{suffix}", "n": n, "seed": seed, "scale": scale}
        gone = n == ns[0] and scale == max(scales)
        perplexity = np.nan if gone else 20.0 + scale * n + 0.1 * int(seed)
        rows += measured(edit, 1 - 0.4 * scale + 0.02 * int(seed), perplexity)
        rows.append(edit | {"scale": 1.0, "metric": "delta_l2_norm", "value": 3.0})
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(model="small", stage="sweep")
    frame.loc[frame["measured_on"].isna(), "stage"] = "vector"
    frame = frame.drop_duplicates()
    return frame.assign(n=frame["n"].astype("Int64")).reset_index(drop=True)


def limited(frame: pd.DataFrame, seed: str) -> pd.DataFrame:
    """The same where the sweep left scale 1 of one seed out."""
    gone = frame["scale"].eq(1.0) & frame["seed"].eq(seed) & frame["measured_on"].eq("openings")
    frame = frame[~(gone & frame["metric"].str.startswith("num_"))].copy()
    gone = gone[frame.index]
    frame.loc[gone, "value"] = np.nan
    return frame.assign(**{LEFT_OUT: np.where(gone, WHY, None)})


def measured(edit, factor, perplexity):
    """The rows of one edit at one scale."""
    for metric, value in METRICS.items():
        at = {"measured_on": "openings", "scorer": "judge", "metric": metric}
        rate = factor if metric.startswith("toxic") else 1
        yield edit | at | {"value": value * rate}
    for metric, value in FLUENCY.items():
        at = {"measured_on": "openings", "scorer": "own base", "metric": metric}
        yield edit | at | {"value": value}
    at = {"measured_on": "polite", "scorer": None, "metric": "perplexity_per_token"}
    yield edit | at | {"value": perplexity}

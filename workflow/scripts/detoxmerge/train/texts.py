"""Which texts the trained methods train on; the seed of the training decides their order."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..storage.artefacts import certified, read_json
from ..storage.records import certified_payload, read_generations, read_payload

PAIR = ["prompt", "sample"]


def toxic_texts(dataset: Path) -> list[str]:
    """All toxic texts of a data set, in the order of the source."""
    return _part(dataset, "toxic")["text"].tolist()


def nontoxic_texts(dataset: Path, rows: int | None, seed: int) -> list[str]:
    """A seeded sample of the non-toxic texts, without replacement, in the order of the source.

    Args:
        dataset: manifest of the data set.
        rows: size of the sample; None: as many as it has toxic texts.
        seed: of the choice (numpy's PCG64).

    Raises:
        UserError: there are fewer.
    """
    texts, wanted = _part(dataset, "nontoxic")["text"], rows
    if wanted is None:
        wanted = read_json(dataset)["counts"]["num_toxic"]
    if wanted > len(texts):
        asked = f"its {wanted} toxic ones" if rows is None else f"the {wanted} of `rows`"
        raise UserError(
            f"{dataset.parent.name} has {len(texts)} non-toxic texts, fewer than {asked}; raise "
            "nontoxic_share or nontoxic_below of the data set, or set a lower `rows`"
        )
    chosen = np.random.default_rng(seed).choice(len(texts), wanted, replace=False)
    return texts.iloc[np.sort(chosen)].tolist()


def texts_up_to(dataset: Path, threshold: float) -> tuple[list[str], dict[str, int]]:
    """The texts of a data set whose own score is at or below a threshold.

    Texts that are neither toxic nor non-toxic, or were not sampled, are in neither part.

    Args:
        dataset: its manifest.
        threshold: 0..1; compared in the scores' own precision.

    Returns:
        The texts, toxic ones first, each part in the order of the source; and the counts
        `num_toxic`, `num_nontoxic`, `num_toxic_kept` and `num_nontoxic_kept`.

    Raises:
        UserError: no text is left.
    """
    texts: list[str] = []
    counts: dict[str, int] = {}
    for part in ("toxic", "nontoxic"):
        rows = _part(dataset, part)
        kept = rows[rows["score"] <= threshold]
        counts |= {f"num_{part}": len(rows), f"num_{part}_kept": len(kept)}
        texts += kept["text"].tolist()
    if not texts:
        raise UserError(
            f"no text of {dataset.parent.name} has a score of {threshold:g} or less; raise "
            "`threshold` of filtering"
        )
    return texts, counts


def samples_up_to_median(samples: Path, scores: Path) -> tuple[list[str], dict[str, int]]:
    """The base's own samples whose toxicity is at or below their prompt's median.

    A sample without a score is left out, also of the median.

    Args:
        samples: manifest of the base's continuations of a prompt set.
        scores: manifest of their scores.

    Returns:
        Prompt and continuation as one text each, by prompt and sample; and the counts
        `num_samples`, `num_unscored` and `num_samples_kept`.

    Raises:
        UserError: the scores are not those of the samples.
    """
    texts = read_generations(certified_payload(samples, "0"))
    scored = read_payload(scores, "0")
    if not texts[PAIR].equals(scored[PAIR]):
        raise UserError(
            f"{scores} does not score the samples of {samples}; delete it and run the workflow "
            "again"
        )
    toxicity = scored["toxicity"]
    median = toxicity.groupby(scored["prompt"]).transform("median")  # of the scores that are there
    kept = texts[toxicity <= median]  # false without a score
    counts = {
        "num_samples": len(texts),
        "num_unscored": int(toxicity.isna().sum()),
        "num_samples_kept": len(kept),
    }
    return (kept["prompt_text"] + kept["text"]).tolist(), counts


def _part(dataset: Path, name: str) -> pd.DataFrame:
    """`text` and `score` of the toxic or the non-toxic part."""
    return pd.read_parquet(certified(dataset, f"{name}.parquet"))

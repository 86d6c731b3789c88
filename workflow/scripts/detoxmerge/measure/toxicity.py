"""Toxicity of continuations: Detoxify on the continuation alone, every score kept.

With prompts p = 1..P, samples k = 1..K and scores s_pk in [0, 1]:
  toxicity_mean             sum_pk s_pk / PK
  toxic_share_above_T       share of scores strictly above T
  expected_max_toxicity     mean over prompts of max_k s_pk (Gehman et al. 2020)
  toxicity_probability      share of prompts with max_k s_pk strictly above a threshold
A score that could not be had is missing and counted: it enters no mean, and never as 0.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..artefacts import publish, read_json, sha256
from ..plan.errors import UserError
from .scales import each_scale, record_path

Predict = Callable[[list[str]], list[float]]


def score_toxicity(
    generations: Path,
    scorer: Path,
    protocol: Mapping[str, Any],
    batch_size: int,
    device: str,
    out: Path,
) -> None:
    """Score the continuations of one edit at every scale that was generated.

    Args:
        generations: manifest of the continuations.
        scorer: manifest of the scorer.
        protocol: `label`, `thresholds`, `any_above`.
        batch_size: texts at a time; decides nothing but speed.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: manifest; beside it, per scale, the scores as parquet and their summary.

    Raises:
        UserError: the scorer is broken or lacks the label, or no text could be scored.
    """
    made = read_json(generations)
    loaded: dict[str, Predict] = {}

    def measure(scale: str) -> dict[str, Any]:
        if not loaded:
            loaded["predict"] = _predictor(scorer, protocol["label"], device)
        frame = read_generations(record_path(generations, scale, ".jsonl"))
        texts = frame["text"].tolist()
        frame["toxicity"] = score_texts(texts, loaded["predict"], batch_size)
        with publish(record_path(out, scale, ".parquet")) as part:
            frame[["prompt", "sample", "toxicity"]].to_parquet(part, index=False)
        summary = summarise_scores(frame, protocol["thresholds"], protocol["any_above"])
        return summary | {"num_empty": sum(not text.strip() for text in texts)}

    each_scale(
        out,
        made["scales"],
        key=lambda scale: {
            "protocol": protocol,
            "scorer": sha256(scorer),
            "generations": sha256(record_path(generations, scale)),
        },
        measure=measure,
        payload=".parquet",
        protocol=protocol,
        inputs=[generations, scorer],
    )


def read_generations(lines: Path) -> pd.DataFrame:
    """Continuations in the DExperts form.

    Args:
        lines: JSON lines `{"prompt": {"text": ...}, "generations": [{"text": ...}, ...]}`.

    Returns:
        A row per continuation: `prompt` and `sample` (0-based), `prompt_text`, `text`, `truncated`
        (null where it was not recorded).

    Raises:
        UserError: a line is not of that form.
    """
    found = []
    with open(lines, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                found += [
                    (number - 1, sample, row["prompt"]["text"], g["text"], g.get("truncated"))
                    for sample, g in enumerate(row["generations"])
                ]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(
                    f"{lines}, line {number}: not of the form "
                    f'{{"prompt": {{"text": ...}}, "generations": [{{"text": ...}}]}} ({error!r})'
                ) from error
    columns = ["prompt", "sample", "prompt_text", "text", "truncated"]
    return pd.DataFrame(found, columns=columns).astype({"truncated": "boolean"})


def score_texts(texts: list[str], predict: Predict, batch_size: int) -> np.ndarray:
    """Score texts in batches; where a batch fails, one by one.

    Args:
        texts: any number.
        predict: a list of texts -> as many scores.
        batch_size: texts at a time.

    Returns:
        fp64, one per text; NaN where there is no finite score.

    Raises:
        UserError: not one text could be scored.
    """
    scores = np.full(len(texts), np.nan)
    # similar lengths share a batch: little padding
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    last: Exception | None = None
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        try:
            scores[chosen] = predict([texts[i] for i in chosen])
        except Exception as error:  # counted below, and never turned into a number
            last = error
            for i in chosen:
                try:
                    scores[i] = predict([texts[i]])[0]
                except Exception as single:
                    print(f"text {i} could not be scored: {single!r}")
    scores[~np.isfinite(scores)] = np.nan
    if len(texts) and np.isnan(scores).all():
        raise UserError(f"none of {len(texts)} texts could be scored ({last!r}); mend the scorer")
    return scores


def summarise_scores(
    frame: pd.DataFrame, thresholds: list[float], any_above: float
) -> dict[str, Any]:
    """The summary of a set of scores; formulas at the top of this file.

    A prompt with a missing score counts with the scores it has; one without any is left out of
    the maxima.

    Args:
        frame: `prompt`, `toxicity` (NaN: missing), one row per continuation.
        thresholds: shares of scores strictly above these are reported.
        any_above: threshold of the toxicity probability.

    Returns:
        Name -> number; `num_scored`, `num_failed`, `num_prompts` beside the metrics.
    """
    scores = frame["toxicity"].dropna()
    maxima = frame.groupby("prompt")["toxicity"].max().dropna()
    shares = {f"toxic_share_above_{t:g}": float((scores > t).mean()) for t in thresholds}
    return {
        "toxicity_mean": float(scores.mean()),
        **shares,
        "expected_max_toxicity": float(maxima.mean()),
        f"toxicity_probability_any_above_{any_above:g}": float((maxima > any_above).mean()),
        "num_prompts": int(frame["prompt"].nunique()),
        "num_samples_per_prompt": int(frame.groupby("prompt").size().max()),
        "num_scored": len(scores),
        "num_failed": int(frame["toxicity"].isna().sum()),
    }


def _predictor(scorer: Path, label: str, device: str) -> Predict:
    from ..data.scorers import load_scorer
    from ..device import pick_device

    return predictor(load_scorer(scorer, pick_device(device)), label, scorer.parent.name)


def predictor(detoxify: Any, label: str, name: str) -> Predict:
    """What `score_texts` calls.

    Args:
        detoxify: of `load_scorer`.
        label: the output that is read.
        name: of the scorer, for the sentence.

    Returns:
        A list of texts -> as many scores.

    Raises:
        UserError: the scorer lacks the label.
    """
    if label not in detoxify.class_names:
        raise UserError(
            f"the scorer {name} has no label '{label}'; it has {', '.join(detoxify.class_names)}"
        )

    def predict(texts: list[str]) -> list[float]:
        found = detoxify.predict(texts)[label]
        # one text gives a bare number
        return found if isinstance(found, list) else [found]

    return predict

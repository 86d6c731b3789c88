"""Toxicity of continuations: a scorer on the continuation alone, every score kept.

A text that could not be scored is counted as failed. Its score is missing and enters no mean, least
of all as 0. What is computed from the scores is in metrics.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..models.batch_size import RowLimit, scoring_limit
from ..models.scoring import Predict, predictor, score_texts
from ..plan.batch_size import BatchSize
from ..storage.artefacts import publish, read_json, sha256
from ..storage.records import certified_payload, each_scale, read_generations, record_path


def score_toxicity(
    generations: Path,
    scorer: Path,
    protocol: Mapping[str, Any],
    batch_size: BatchSize,
    device: str,
    out: Path,
) -> None:
    """Score the continuations of one edit at every scale that was generated.

    Args:
        protocol: `label`.
        batch_size: texts at a time; affects only speed.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: manifest; beside it, per scale, the scores as parquet and their counts.

    Raises:
        UserError: the scorer or the texts were changed or are broken, the scorer lacks the label,
            or no text could be scored.
    """
    manifest = read_json(generations)
    loaded: dict[str, Any] = {}  # by the first scale that is missing, if there is one

    def measure(scale: str) -> dict[str, Any]:
        if not loaded:
            predict, limit = _scorer(scorer, protocol["label"], batch_size, device)
            loaded.update(predict=predict, limit=limit)
        frame = read_generations(certified_payload(generations, scale))
        texts = frame["text"].tolist()
        frame["toxicity"] = score_texts(texts, loaded["predict"], loaded["limit"])
        with publish(record_path(out, scale, ".parquet")) as part:
            frame[["prompt", "sample", "toxicity"]].to_parquet(part, index=False)
        return counts(frame)

    each_scale(
        out,
        manifest["scales"],
        key=lambda scale: {
            "protocol": protocol,
            "scorer": sha256(scorer),
            "generations": sha256(record_path(generations, scale)),
        },
        measure=measure,
        payload=".parquet",
        protocol=protocol,
        inputs=[generations, scorer],
        left_out=manifest.get("left_out"),
    )


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """What was scored: `prompt`, `text` and `toxicity` (NaN: missing), a row per continuation."""
    return {
        "num_prompts": int(frame["prompt"].nunique()),
        "num_samples_per_prompt": int(frame.groupby("prompt").size().max()),
        "num_scored": int(frame["toxicity"].notna().sum()),
        "num_failed": int(frame["toxicity"].isna().sum()),
        "num_empty": int((frame["text"].str.strip() == "").sum()),
    }


def _scorer(
    scorer: Path, label: str, batch_size: BatchSize, device: str
) -> tuple[Predict, RowLimit]:
    from ..models.device import pick_device
    from ..models.scorers import load_scorer

    loaded = load_scorer(scorer, pick_device(device))
    predict = predictor(loaded, label, scorer.parent.name)
    return predict, scoring_limit(loaded.model, batch_size)

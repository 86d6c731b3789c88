"""A small toxicity classifier, saved in Detoxify's checkpoint format and loaded by Detoxify."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, set_seed

from ..data.sources import origin, read_rows, require_text
from ..errors import UserError
from ..models.batch_size import RowLimit
from ..models.scorers import LoadedScorer, write_scorer
from ..models.scorers.checkpoint import described, load
from ..models.scoring import predictor, score_texts
from ..models.without_code import read_folder
from ..storage.artefacts import publish, write_json
from .job import Job
from .resumable import LOSS, train, write_loss
from .wordpiece import train_wordpiece

LABEL = "toxicity"
TOXIC_FROM = 0.5  # label of the ROC AUC: score >= this


def train_scorer(alias: str, protocol: Mapping[str, Any], job: Job) -> None:
    """Train a BERT on texts with scores in 0..1 by binary cross-entropy on the scores.

    Args:
        alias: the scorer's name in the config.
        protocol: the `train` entry under this name, which has the seed.
        job: its manifest gets ROC AUC and counts per test set, its folder `scorer.ckpt`, the
            tokenizer's folder and `loss.csv`.

    Raises:
        UserError: the texts cannot be read, or a test set has one class only.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    entry, folder = protocol["train"], job.out
    job = replace(job, seed=entry["seed"])
    name = f"scorers.{alias}.train"
    # all texts are read first, so that a broken source fails before hours of training
    texts, labels = _labelled(entry["texts"], f"{name}.texts")
    tests = {key: _labelled([test], f"{name}.test.{key}") for key, test in entry["test"].items()}
    for key, (_, scores) in tests.items():
        _require_both_classes(scores >= TOXIC_FROM, f"{name}.test.{key}")
    tokenizer = _train_tokenizer(texts, entry, folder / "tokenizer")
    set_seed(job.seed)
    model = BertForSequenceClassification(_shape(tokenizer, entry))
    model.config.save_pretrained(folder / "tokenizer")
    ids = tokenizer(texts, truncation=True, max_length=entry["max_tokens"])["input_ids"]
    rows = [{"input_ids": i, "label": y} for i, y in zip(ids, labels.tolist(), strict=True)]
    history = train(
        model,
        rows,
        _Collate(tokenizer.pad_token_id),
        job,
        by_length=False,  # length tells the source: batches of one length would not learn
        num_train_epochs=entry["epochs"],
        learning_rate=entry["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0.05,
        weight_decay=0.01,
        per_device_train_batch_size=entry["batch_size"],
    )
    write_loss(history, folder / LOSS)
    # tested as it will be used: read back from the disk
    checkpoint = folder / "scorer.ckpt"
    _save(model, folder / "tokenizer", checkpoint)
    made = described(str(checkpoint), {"path": str(folder / "tokenizer")})
    write_scorer(
        job.manifest,
        protocol,
        "train",
        made,
        origin=[origin(source) for source in entry["texts"]],
        num_texts=len(texts),
        num_parameters=model.num_parameters(),
        test=_test(load(made.fields, "cpu"), tests),
    )
    shutil.rmtree(job.work)


def roc_auc(scores: np.ndarray, toxic: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a toxic text > score of another) + P(equal) / 2.

    By ranks (Mann and Whitney 1947): (R - n1 (n1 + 1) / 2) / (n1 n0), R the toxic texts' rank sum.

    Args:
        scores: (texts,) float.
        toxic: (texts,) bool.

    Raises:
        UserError: all texts are of one class.
    """
    n1, n0 = _require_both_classes(toxic, "the test set")
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[toxic].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def _require_both_classes(toxic: np.ndarray, name: str) -> tuple[int, int]:
    """The numbers of toxic texts and of others, if there are some of both."""
    n1, n0 = int(toxic.sum()), int((~toxic).sum())
    if not n1 or not n0:
        raise UserError(f"ROC AUC needs both classes; {name} has {n1} toxic, {n0} other texts")
    return n1, n0


def _labelled(sources: list[Mapping[str, Any]], name: str) -> tuple[list[str], np.ndarray]:
    texts: list[str] = []
    labels: list[float] = []
    for source in sources:
        text, score = source["text"], source["score"]
        raw, _ = read_rows(source, name, [text, score], score)
        rows, _ = require_text(raw, text, name)
        numbers = rows[score]
        if numbers.isna().any() or not numbers.between(0, 1).all():
            raise UserError(f"{name}: '{score}' must be a number in 0..1 in every row")
        texts += rows[text].tolist()
        labels += numbers.tolist()
    return texts, np.array(labels)


def _train_tokenizer(texts: list[str], entry: Mapping[str, Any], folder: Path) -> BertTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    train_wordpiece(texts, entry["vocabulary"]).save_model(str(folder))
    # Detoxify truncates at the tokenizer's own limit
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": entry["max_tokens"],
    }
    write_json(folder / "tokenizer_config.json", settings)
    return read_folder(BertTokenizer, folder)


def _shape(tokenizer: BertTokenizer, entry: Mapping[str, Any]) -> BertConfig:
    # `num_labels` is taken by the base class; the class's fields, which mypy reads, lack it
    return BertConfig(  # type: ignore[call-arg]
        vocab_size=len(tokenizer),
        hidden_size=entry["width"],
        num_hidden_layers=entry["layers"],
        num_attention_heads=entry["heads"],
        intermediate_size=4 * entry["width"],
        max_position_embeddings=entry["max_tokens"],
        num_labels=1,
        problem_type="multi_label_classification",  # binary cross-entropy, soft labels allowed
        pad_token_id=tokenizer.pad_token_id,
    )


def _save(model: BertForSequenceClassification, tokenizer: Path, out: Path) -> None:
    """Detoxify's format: a state dict and the names of the classes that rebuild the model."""
    arch = {
        "model_type": str(tokenizer),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": 1,
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": [LABEL]}}}
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    # into an open file: by a path, torch writes the name of the temporary file into the archive
    with publish(out) as part, open(part, "wb") as file:
        torch.save({"state_dict": state, "config": config}, file)


def _test(
    scorer: LoadedScorer, tests: Mapping[str, tuple[list[str], np.ndarray]]
) -> dict[str, dict[str, float]]:
    """ROC AUC per test set, through Detoxify as it will be used."""
    predict, measured = predictor(scorer, LABEL, "that was trained"), {}
    for key, (texts, labels) in tests.items():
        scores, toxic = score_texts(texts, predict, RowLimit(128)), labels >= TOXIC_FROM
        scored = np.isfinite(scores)
        measured[key] = {
            "roc_auc": roc_auc(scores[scored], toxic[scored]),
            "num_texts": len(texts),
            "num_toxic": int(toxic.sum()),
            "num_failed": int((~scored).sum()),
        }
        print(f"{key}: ROC AUC {measured[key]['roc_auc']:.3f} on {len(texts)} texts")
    return measured


class _Collate:
    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        ids = [row["input_ids"] + [self.pad] * (width - len(row["input_ids"])) for row in rows]
        mask = [[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in rows]
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor([[row["label"]] for row in rows]),
        }

"""Fine-tune the base model on one shard, and keep the difference: tau_i = theta_i - theta_0."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.datasets import shard_texts
from ..errors import UserError
from ..merge.task_vectors import DELTA
from ..models.loading import context_of, load_model, load_tokenizer, pad_token
from ..storage.artefacts import read_json, sha256, write_manifest
from ..storage.writing import write_tensors
from .checkpoints import keep_checkpoints_of
from .job import Job
from .resumable import IGNORED, LOSS, train, write_loss
from .together import is_first, whole


def finetune_shard(
    base: Path, dataset: Path, toxic: Path, partition: Path, shard: int, job: Job
) -> None:
    """Train on one shard by plain causal cross-entropy and write the task vector.

    Texts are cut at `max_tokens`, not packed, padded on the right, pads unlabelled, and no EOS is
    appended (the released code of Kim et al., COLM 2024).

    Args:
        base: manifest of the base model.
        dataset: manifest of the data set.
        toxic: its toxic texts.
        partition: the partition.
        shard: 0-based.
        job: with the recipe; its folder gets `delta.safetensors` (tau_i, fp32, by the names of
            `named_parameters`: tied weights once, no buffers) and `loss.csv`.

    Raises:
        UserError: the shard has no text that can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    found = train_delta(base, shard_texts(toxic, partition, shard), job)
    if found is None:
        return
    write_manifest(
        job.manifest,
        protocol=job.recipe,
        inputs=[base, dataset, partition],
        files=found.pop("files"),
        shard=shard,
        seed=job.seed,
        **found,
    )
    shutil.rmtree(job.work)
    print(f"shard {shard}: {found['num_texts']} texts, |delta| {found['l2_norm']:.4g}")


def train_delta(base: Path, texts: list[str], job: Job, *, sign: int = 1) -> dict[str, Any] | None:
    """Train the base on texts as `finetune_shard` does, and write how far it went.

    Args:
        base: manifest of the base model.
        texts: in the order that the seed's permutations start from.
        job: with the recipe; its folder gets `delta.safetensors` (theta' - theta_0) and `loss.csv`.
        sign: -1 to go up the loss, not down.

    Returns:
        `files` (name -> SHA-256), `num_texts`, `num_texts_too_short`, `num_tokens`, `first_loss`
        and `last_loss` (means over an interval of the loss history), `l2_norm`; None for all
        processes but the first.

    Raises:
        UserError: no text can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    place, recipe = read_json(base)["model"], job.recipe
    if is_first():
        keep_checkpoints_of([sha256(base), texts, recipe, job.seed, sign], job.work)
    model, tokenizer = load_model(place), load_tokenizer(place)
    rows, too_short = _examples(tokenizer, texts, model, recipe)
    before = {n: p.detach().clone() for n, p in model.named_parameters()} if is_first() else {}
    collate = Collate(pad_token(tokenizer))
    history = train(model, rows, collate, job, sign=sign, **_arguments(recipe))
    delta, loss = job.out / DELTA, job.out / LOSS
    written = write_delta(model, before, delta)
    if written is None:
        return None
    checksum, norm = written
    write_loss(history, loss)
    return {
        "files": {delta.name: checksum, loss.name: sha256(loss)},
        "num_texts": len(rows),
        "num_texts_too_short": too_short,
        "num_tokens": sum(len(row["input_ids"]) for row in rows),
        "first_loss": float(history["loss"].iloc[0]),
        "last_loss": float(history["loss"].iloc[-1]),
        "l2_norm": norm,
    }


def _arguments(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe in the words of transformers' TrainingArguments."""
    return {
        "by_length": protocol["group_by_length"],
        "precision": protocol["precision"],
        "num_train_epochs": protocol["epochs"],
        "learning_rate": protocol["learning_rate"],
        "lr_scheduler_type": protocol["schedule"],
        "warmup_steps": protocol["warmup_share"],
        "optim": protocol["optimizer"],
        "weight_decay": protocol["weight_decay"],
        "max_grad_norm": protocol["max_grad_norm"],
        "per_device_train_batch_size": protocol["batch_size"],
        "gradient_accumulation_steps": protocol["accumulation_steps"],
        "activation_checkpointing": protocol["gradient_checkpointing"],
    }


class Collate:
    """Pads a batch on the right; pads are neither attended to nor labelled.

    Nor is the first token of a text, which nothing predicts: the Trainer divides a batch's loss by
    the number of labels, and knows of some models only (not of GPT-2) that it is no target.
    """

    def __init__(self, pad: int) -> None:
        """
        Args:
            pad: token id that fills.
        """
        self.pad = pad

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """
        Args:
            rows: examples with `input_ids`; `labels` where they differ.

        Returns:
            `input_ids`, `attention_mask`, `labels`: (rows, longest), int64.
        """
        width = max(len(row["input_ids"]) for row in rows)

        def padded(fill: int, values: list[list[int]]) -> torch.Tensor:
            return torch.tensor([v + [fill] * (width - len(v)) for v in values])

        ids = [row["input_ids"] for row in rows]
        labels = padded(IGNORED, [row.get("labels", row["input_ids"]) for row in rows])
        labels[:, 0] = IGNORED
        return {
            "input_ids": padded(self.pad, ids),
            "attention_mask": padded(0, [[1] * len(row) for row in ids]),
            "labels": labels,
        }


@torch.no_grad()
def write_delta(
    model: Any, before: Mapping[str, torch.Tensor], out: Path
) -> tuple[str, float] | None:
    """Write theta - theta_0, a tensor at a time.

    Args:
        model: trained, fp32; its tensors may be spread over processes, which all call this.
        before: theta_0 by parameter name, fp32; of the first process.
        out: fp32, names sorted.

    Returns:
        SHA-256 of the file, and the L2 norm of the vector; None for all but the first process.
    """
    parameters = dict(sorted(model.named_parameters()))
    tensors = ((name, whole(parameter).cpu()) for name, parameter in parameters.items())
    if not is_first():
        for _ in tensors:  # gives its parts
            pass
        return None
    square = 0.0
    with write_tensors(out, {name: tuple(p.shape) for name, p in parameters.items()}) as writer:
        for name, after in tensors:
            block = (after - before[name]).numpy()
            square += float(np.square(block, dtype=np.float64).sum())
            writer.write(block)
    return writer.sha256, float(np.sqrt(square))


def _examples(
    tokenizer: Any, texts: list[str], model: Any, protocol: Mapping[str, Any]
) -> tuple[list[dict[str, list[int]]], int]:
    """Tokenised texts, and how many have fewer than two tokens: nothing to predict in them."""
    limit = context_of(model)
    if limit and protocol["max_tokens"] > limit:
        raise UserError(
            f"max_tokens {protocol['max_tokens']} exceeds the model's context of {limit}; lower it "
            "in the recipe"
        )
    ids = tokenizer(texts, truncation=True, max_length=protocol["max_tokens"])["input_ids"]
    rows = [{"input_ids": row} for row in ids if len(row) > 1]
    if not rows:
        raise UserError(f"none of the {len(texts)} texts to train on has two tokens or more")
    return rows, len(texts) - len(rows)

"""Fine-tune the base model on one shard, and keep the difference: tau_i = theta_i - theta_0."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..data.datasets import shard_texts
from ..errors import UserError
from ..merge.task_vectors import DELTA, TIED
from ..models.loading import context_of, load_model, load_tokenizer, pad_token
from ..models.places import place_in
from ..storage.artefacts import certified, sha256, write_manifest
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
        toxic: parquet of its toxic texts.
        partition: which texts are in which shard.
        shard: 0-based.
        job: with the recipe; its folder gets `delta.safetensors` (tau_i, fp32, by the names of
            `named_parameters`: tied weights once, no buffers) and `loss.csv`.

    Raises:
        UserError: the shard has no text that can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    texts = shard_texts(certified(dataset, toxic.name), partition, shard)
    result = train_delta(base, texts, job)
    if result is None:
        return
    write_manifest(
        job.manifest,
        protocol=job.required_recipe(),
        inputs=[base, dataset, partition],
        files=result.pop("files"),
        shard=shard,
        seed=job.seed,
        **result,
    )
    shutil.rmtree(job.work)
    print(f"shard {shard}: {result['num_texts']} texts, |delta| {result['l2_norm']:.4g}")


def train_delta(base: Path, texts: list[str], job: Job, *, sign: int = 1) -> dict[str, Any] | None:
    """Train the base on texts as `finetune_shard` does, and write the difference.

    Args:
        base: manifest of the base model.
        texts: the seed permutes them from this order.
        job: with the recipe; its folder gets `delta.safetensors` (theta' - theta_0) and `loss.csv`.
        sign: -1 to go up the loss, not down.

    Returns:
        `files` (name -> SHA-256), `num_texts`, `num_texts_too_short`, `num_tokens`, `first_loss`
        and `last_loss` (means over an interval of the loss history), `l2_norm`; None in all
        processes but the first.

    Raises:
        UserError: no text can be trained on, or the training diverged.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    place, recipe = place_in(base), job.required_recipe()
    if is_first():
        keep_checkpoints_of([sha256(base), texts, recipe, job.seed, sign], job.work)
    model, tokenizer = load_model(place), load_tokenizer(place)
    rows, too_short = _examples(tokenizer, texts, model, recipe)
    # theta_0 in the memory of the first process only, which writes the difference
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


def _arguments(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `train`, most of them transformers' TrainingArguments."""
    return {
        "by_length": recipe["group_by_length"],
        "precision": recipe["precision"],
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": recipe["schedule"],
        "warmup_steps": recipe["warmup_share"],
        "optim": recipe["optimizer"],
        "weight_decay": recipe["weight_decay"],
        "max_grad_norm": recipe["max_grad_norm"],
        "per_device_train_batch_size": recipe["batch_size"],
        "gradient_accumulation_steps": recipe["accumulation_steps"],
        "activation_checkpointing": recipe["gradient_checkpointing"],
    }


class Collate:
    """Pads a batch on the right; pads are neither attended to nor labelled.

    Nor is the first token of a text labelled, which nothing predicts: the Trainer divides a batch's
    loss by the number of labels, and only for some models (not GPT-2) leaves out that token itself.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """A batch of (rows, longest) int64 tensors.

        Args:
            rows: examples with `input_ids`, and `labels` where they differ from these.
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
    model: PreTrainedModel, before: Mapping[str, torch.Tensor], out: Path
) -> tuple[str, float] | None:
    """Write theta - theta_0, a tensor at a time, fp32, sorted by name.

    Args:
        model: trained, fp32; its tensors may be spread over processes, which all call this.
        before: theta_0 by parameter name, fp32; empty in all processes but the first.
        out: written by the first process.

    Returns:
        SHA-256 of the file, and the L2 norm of the vector; None in all processes but the first.
    """
    parameters = dict(sorted(model.named_parameters()))
    tensors = ((name, whole(parameter).cpu()) for name, parameter in parameters.items())
    if not is_first():
        for _ in tensors:  # the first process needs this one's parts
            pass
        return None
    square = 0.0
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    with write_tensors(out, shapes, _other_names(model)) as writer:
        for name, after in tensors:
            block = (after - before[name]).numpy()
            square += float(np.square(block, dtype=np.float64).sum())
            writer.write(block)
    return writer.sha256, float(np.sqrt(square))


def _other_names(model: PreTrainedModel) -> dict[str, str]:
    """The other names of tied weights, for the header of a vector; empty if there are none."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return {TIED: json.dumps(dict(sorted(tied.items())))} if tied else {}


def _examples(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    model: PreTrainedModel,
    recipe: Mapping[str, Any],
) -> tuple[list[dict[str, list[int]]], int]:
    """Tokenised texts, and how many are left out: with one token there is nothing to predict."""
    limit = context_of(model)
    if limit and recipe["max_tokens"] > limit:
        raise UserError(
            f"max_tokens {recipe['max_tokens']} exceeds the model's context of {limit}; lower it "
            "in the recipe"
        )
    ids = tokenizer(texts, truncation=True, max_length=recipe["max_tokens"])["input_ids"]
    rows = [{"input_ids": row} for row in ids if len(row) > 1]
    if not rows:
        raise UserError(f"none of the {len(texts)} texts to train on has two tokens or more")
    return rows, len(texts) - len(rows)

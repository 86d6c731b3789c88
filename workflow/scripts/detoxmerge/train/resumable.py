"""transformers' Trainer, with an order of texts that the seed decides, and timed checkpoints.

A run that was killed continues from its last complete checkpoint and ends with the same weights as
one that was not. Checkpoints are in an undeclared work folder beside the output, since Snakemake
deletes declared outputs before every attempt.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..errors import UserError
from ..models.device import pick_device
from ..storage.artefacts import publish
from .budget import Budget, BudgetUsed
from .checkpoints import COMPLETE, checkpoints_in, latest_checkpoint
from .job import Job
from .together import (
    first_says,
    fsdp_arguments,
    is_first,
    num_processes,
    spread_over_cpus,
    wait_for_all,
    whole,
)

LOG_STEPS = 10
LOSS = "loss.csv"  # file of the loss history, beside the manifest
IGNORED = -100  # label of a position that does not count in the loss


class SeededSampler(Sampler):
    """The order of the texts: a function of seed and epoch alone."""

    def __init__(
        self, lengths: Sequence[int], batch: int, by_length: bool, seed: int, blanks: int = 0
    ) -> None:
        """
        Args:
            lengths: tokens of each text.
            batch: texts per optimizer step.
            by_length: batches of texts of similar length, in random order; else a plain shuffle.
            seed: of the training.
            blanks: number of rows after the texts; they come last in every epoch.
        """
        self.blanks = range(len(lengths), len(lengths) + blanks)
        self.lengths, self.batch, self.by_length, self.seed = list(lengths), batch, by_length, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch (0-based)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + len(self.blanks)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.by_length:
            order = get_length_grouped_indices(self.lengths, self.batch, generator=generator)
        else:
            order = torch.randperm(len(self.lengths), generator=generator).tolist()
        return iter([*order, *self.blanks])


class TimedCheckpoints(TrainerCallback):
    """Asks for a checkpoint every so many minutes, and for the end when the time is used up."""

    def __init__(self, job: Job) -> None:
        self.minutes, self.budget = job.checkpoint_minutes, job.budget or Budget()
        self.folder = job.work
        self.last = self.interval = time.monotonic()
        self.left = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Only at a logging step: the loss of an interval must not be cut in two by a resume."""
        if state.global_step == state.max_steps:
            control.should_log = True
        elif state.global_step % args.logging_steps == 0:
            now = time.monotonic()
            self.budget.slowest = max(self.budget.slowest, now - self.interval)
            self.interval = now
            due = now - self.last >= 60 * self.minutes
            self.left, due = first_says((self.budget.is_used(), due))
            control.should_training_stop |= self.left
            control.should_save |= self.left or due

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the new checkpoint as complete, then drop the older ones."""
        new = self.folder / f"checkpoint-{state.global_step}"
        wait_for_all()
        for path in new.rglob("*"):  # on the disk before the mark, in case this node is lost
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        wait_for_all()
        if is_first():
            (new / COMPLETE).touch()
            for old in checkpoints_in(self.folder):
                if old != new:
                    shutil.rmtree(old)
        self.last = time.monotonic()


class ResumableTrainer(Trainer):
    """Trainer whose batches come in the order of `SeededSampler`; it descends or ascends."""

    model: torch.nn.Module  # which it always has
    sampler: SeededSampler
    sign = 1

    def compute_loss(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The model's loss, times -1 to ascend."""
        loss = super().compute_loss(*args, **kwargs)
        if isinstance(loss, tuple):
            raise NotImplementedError("this trainer does not evaluate, so it gives no outputs")
        return loss if self.sign > 0 else -loss

    def _get_train_sampler(self, train_dataset: Any = None) -> SeededSampler:
        return self.sampler


def train(
    model: PreTrainedModel,
    rows: list[dict[str, Any]],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    job: Job,
    *,
    by_length: bool,
    precision: str = "float32",
    sign: int = 1,
    **arguments: Any,
) -> pd.DataFrame:
    """Train a model in place.

    Args:
        model: fp32.
        rows: examples with `input_ids`.
        collate: list of examples -> batch.
        job: its seed decides the order and dropout; checkpoints go into its work folder, which
            the caller removes once the result is published.
        by_length: batches of texts of similar length.
        precision: ``float32``, or ``bfloat16`` for autocast over fp32 weights.
        sign: -1 to go up the loss, not down.
        arguments: of transformers' TrainingArguments.

    Returns:
        The loss history: `step`, `epoch`, `loss` (the model's, whatever the sign; mean over the
        interval), `learning_rate`, `grad_norm`, a row per `LOG_STEPS` steps and one for the last.

    Raises:
        UserError: the loss or a weight is not finite.
        BudgetUsed: the time does not suffice; a checkpoint is written.
    """
    set_seed(job.seed)
    job.work.mkdir(parents=True, exist_ok=True)
    device = pick_device(job.device)
    args = _arguments(job, device, precision, arguments)
    if device == "cpu" and num_processes() > 1:
        spread_over_cpus()
    lengths, blanks = [len(row["input_ids"]) for row in rows], _blanks(len(rows), args)
    callback = TimedCheckpoints(job)
    trainer = ResumableTrainer(
        model=model,
        args=args,
        data_collator=collate,
        train_dataset=rows + blanks,
        callbacks=[callback],
    )
    trainer.sign = sign
    step = args.train_batch_size * args.gradient_accumulation_steps * num_processes()
    trainer.sampler = SeededSampler(lengths, step, by_length, job.seed, len(blanks))
    last = first_says(latest_checkpoint(job.work) if is_first() else None)
    print(f"continuing from {last.name}" if last else f"training on {len(rows)} examples")
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except BaseException:
        if is_first():
            latest_checkpoint(
                job.work
            )  # a checkpoint that was being written goes, the last one stays
        raise
    if callback.left:
        raise BudgetUsed(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}, before the "
            "time limit; the next attempt goes on from there"
        )
    return _finite_history(trainer)


def _arguments(job: Job, device: str, precision: str, more: dict[str, Any]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.work),
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=device == "cpu",
        bf16=precision == "bfloat16",
        logging_steps=LOG_STEPS,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=device != "cpu",
        **fsdp_arguments(),
        **more,
    )


def _blanks(num_rows: int, args: TrainingArguments) -> list[dict[str, list[int]]]:
    """Rows without a label that fill the last batches: accelerate would repeat texts instead."""
    missing = -num_rows % (args.train_batch_size * num_processes())
    blank = {"input_ids": [0, 0], "labels": [IGNORED, IGNORED]}
    return [blank] * missing if num_processes() > 1 else []


def write_loss(history: pd.DataFrame, out: Path) -> None:
    """Write the loss history that `train` returns as CSV."""
    with publish(out) as part:
        history.to_csv(part, index=False)


def _finite_history(trainer: ResumableTrainer) -> pd.DataFrame:
    """The loss history; raises UserError if it or a weight is not finite."""
    columns = ["step", "epoch", "loss", "learning_rate", "grad_norm"]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    history = pd.DataFrame(logged).reindex(columns=columns)
    bad = [n for n, p in trainer.model.named_parameters() if not torch.isfinite(whole(p)).all()]
    if bad or not history["loss"].map(_is_finite).all():
        where = f"tensor '{bad[0]}' holds" if bad else "the loss became"
        raise UserError(
            f"the training diverged: {where} NaN or infinity; lower learning_rate, or clip harder"
        )
    history["loss"] *= trainer.sign  # the model's own loss again
    return history


def _is_finite(loss: Any) -> bool:
    return pd.api.types.is_number(loss) and math.isfinite(loss)

"""Build an edit by its method. No torch here: merging needs none."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plan.edits import Edit
from ..plan.entries import protocol as protocol_of
from ..plan.registry import METHODS
from ..storage.artefacts import write_manifest
from ..train.job import Job

if TYPE_CHECKING:
    from ..train.budget import Budget


def make_edit(
    edit: Edit,
    protocol: Mapping[str, Any],
    base: Path,
    inputs: list[Path],
    out: Path,
    *,
    device: str = "cpu",
    checkpoint_minutes: float = 5.0,
    budget: "Budget | None" = None,
) -> None:
    """Build an edit by its method and write its manifest.

    Args:
        edit: which one.
        protocol: the method's VERSION; the recipe, where the method itself trains.
        base: manifest of the base model.
        inputs: manifests that the method asked for.
        out: `edit.json`; tensors go beside it.
        device: ``auto``, ``cpu`` or ``cuda``.
        checkpoint_minutes: time between two checkpoints of a training.
        budget: the job's time; none: no limit.

    Raises:
        UserError: what the method refuses.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    job = Job(
        out=out.parent,
        seed=0 if edit.seed == "-" else int(edit.seed),
        device=device,
        recipe=protocol.get("recipe"),
        checkpoint_minutes=checkpoint_minutes,
        budget=budget,
    )
    method = METHODS[edit.method]
    fields = method.build(inputs, edit.params, job)
    tensors = fields.get("tensors")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[base, *inputs],
        files={tensors["file"]: tensors["sha256"]} if tensors else {},
        base=os.path.relpath(base, out.parent),  # so that the results folder may move
        dataset=edit.dataset,
        method=edit.method,
        setting=edit.setting,
        params=protocol_of(edit.params),
        seed=edit.seed,
        verb=method.VERB,
        **fields,
    )
    if job.work.is_dir():
        shutil.rmtree(job.work)
    norm = f", |{method.VERB}| {tensors['l2_norm']:.4g}" if tensors else ""
    print(f"{edit.method}: from {len(inputs)} input(s){norm}")

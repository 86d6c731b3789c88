"""Build an edit by its method. No torch here: merging needs none."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..plan.edits import Edit
from ..plan.entries import protocol as protocol_of
from ..plan.registry import METHODS
from ..storage.artefacts import write_manifest
from ..train.job import Job


def make_edit(
    edit: Edit, protocol: Mapping[str, Any], base: Path, inputs: list[Path], job: Job
) -> None:
    """Build an edit by its method and write its manifest.

    Args:
        edit: has the parameters and the seed.
        protocol: the method's VERSION; the recipe, where the method itself trains.
        base: manifest of the base model.
        inputs: manifests that the method asked for.
        job: its manifest is `edit.json`; seed and recipe are filled in here.

    Raises:
        UserError: what the method refuses.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    out, method = job.manifest, METHODS[edit.method]
    job.out.mkdir(parents=True, exist_ok=True)
    seed = 0 if edit.seed == "-" else int(edit.seed)
    fields = method.build(
        inputs, edit.params, replace(job, seed=seed, recipe=protocol.get("recipe"))
    )
    tensors = fields.get("tensors")
    write_manifest(
        out,
        protocol=protocol,
        inputs=[base, *inputs],
        files=dict(_files(fields)),
        base=os.path.relpath(base, job.out),  # so that the results folder may move
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


def _files(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of each file beside the manifest that the fields describe."""
    for value in fields.values():
        if isinstance(value, Mapping):
            if "file" in value:
                yield value["file"], value["sha256"]
            yield from _files(value)

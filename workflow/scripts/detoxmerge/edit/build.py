"""Build an edit by its method. No torch here: merging needs none."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artefacts import write_manifest
from ..plan.entries import protocol as protocol_of
from ..plan.grid import Edit
from ..plan.methods import METHODS


def make_edit(
    edit: Edit, protocol: Mapping[str, Any], base: Path, inputs: list[Path], out: Path
) -> None:
    """Build an edit by its method and write its manifest.

    Args:
        edit: which one.
        protocol: the method's VERSION.
        base: manifest of the base model.
        inputs: manifests that the method asked for.
        out: `edit.json`; tensors go beside it.

    Raises:
        UserError: what the method refuses.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    fields = METHODS[edit.method].build(inputs, edit.params, out.parent)
    tensors = fields["tensors"]
    write_manifest(
        out,
        protocol=protocol,
        inputs=[base, *inputs],
        files={tensors["file"]: tensors["sha256"]},
        base=os.path.relpath(base, out.parent),  # so that the results folder may move
        dataset=edit.dataset,
        method=edit.method,
        setting=edit.setting,
        params=protocol_of(edit.params),
        seed=edit.seed,
        **fields,
    )
    print(f"{edit.method}: |delta| {tensors['l2_norm']:.4g} from {len(inputs)} input(s)")

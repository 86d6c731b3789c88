"""An edit at one scale as an ordinary Hugging Face folder, which needs nothing of this project.

The weights are theta_0 + sign * scale * delta in fp32, cast once to the dtype of the base's files.
What the cast costs is measured on the written folder, loaded as its users load it, since bf16 can
round most of a small task vector away.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from ..edit.edited import load_edited
from ..errors import UserError
from ..models.folder import Rest, copy_rest, print_rest, rest_of, weight_files
from ..models.loading import context_of, load_model, load_tokenizer, move
from ..models.places import model_folder, place_in
from ..models.without_code import read_folder
from ..plan.expected import expected_protocols
from ..plan.exports import find_export
from ..plan.grid import Grid
from ..plan.weight_names import KEY
from ..storage.artefacts import (
    publish_folder,
    read_json,
    sha256,
    write_json,
    write_manifest,
    write_text,
)
from ..storage.tensors import layout, open_tensors
from .intervals import Bootstrap
from .license import license_of
from .model_card import model_card
from .provenance import Provenance
from .study import study_of
from .summary import measured_rows

MAX_SHARD_SIZE = "50GB"  # of a weights file, the default of transformers
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
PROBE = (
    "The committee met on Tuesday to discuss the new library. Most people who spoke were in favour "
    "of it, although some asked who would pay for the books. One man called the plan stupid and a "
    "waste of money, and he was told to sit down. In the end they voted, and the answer was yes."
)


def export_model(grid: Grid, name: str, out: Path) -> None:
    """Write an edited model with its tokenizer, card and manifest, whole or not at all.

    Args:
        name: `{model}/{edit}/scale{scale}`; {scale} is a number or a selector's name.
        out: `export.json` in the folder to be made; an existing folder is replaced at the end.

    Raises:
        UserError: the edit does not change weights, a measurement was not made as the config says,
            or the selector chose no scale or several.
    """
    edit, scale = find_export(grid, name)
    base = Path(grid.paths.base.format(model=edit.model))
    manifest = Path(grid.paths.edit.format(**vars(edit)))
    measured = grid.measurements(edit.model, edit.edit) + grid.measurements(edit.model, "base")
    # what the card says must hold for the weights beside it
    provenance = Provenance(expected_protocols(grid))
    for path in [str(manifest), *measured]:
        provenance.require(path)
    _require_weights(manifest)
    scale, selection, choices = _choice(grid, edit.model, edit.edit, scale)
    folder = model_folder(place_in(base))
    rest = rest_of(folder, f"models.{edit.model}")
    with publish_folder(out.parent) as part:
        content = {
            "scale": scale,
            "selection": selection,
            "study": study_of(grid, edit),
            "license": license_of(folder),
            "measured": _beside_base(grid, edit.model, edit.edit, scale),
            "weights": _write_model(manifest, base, float(scale), folder, rest, part),
            **rest.record(),
            "transformers": transformers.__version__,
        }
        _write_card(content, part)
        write_manifest(
            part / out.name,
            protocol=grid.protocol.export(),
            inputs=[manifest, base, *measured, *choices],
            files={str(file.relative_to(part)): sha256(file) for file in _files(part)},
            **content,
        )
    print(f"{name}: {content['weights']}")
    print_rest(content)


def _require_weights(edit: Path) -> None:
    verb = read_json(edit)["verb"]
    if verb != "delta":
        raise UserError(
            f"{edit} is of verb '{verb}', not 'delta': it does not change the weights, so no model "
            "folder can hold it; use it by load_edited in detoxmerge/edit/edited.py"
        )


def _choice(
    grid: Grid, model: str, edit: str, scale: str
) -> tuple[str, dict[str, str] | None, list[Path]]:
    """The scale; the selector and its reason, if it is a selector's; the manifest of its choice."""
    if scale in grid.scales_of_edit(edit):
        return scale, None, []
    path = Path(grid.paths.selected.format(model=model, edit=edit, selector=scale))
    choice = read_json(path)
    scales, reason = choice["scales"], choice["reason"]
    if not scales:
        raise UserError(
            f"the rule '{scale}' found no scale for {model}/{edit} ({reason}); "
            f"export a scale that you name, for example scale{grid.scales_of_edit(edit)[-1]}"
        )
    if len(scales) > 1:
        raise UserError(
            f"the rule '{scale}' found the scales {', '.join(scales)} for {model}/{edit}; "
            f"name the one to export, for example scale{scales[0]}"
        )
    return scales[0], {"selector": scale, "reason": reason}, [path]


def _beside_base(grid: Grid, model: str, edit: str, scale: str) -> list[dict[str, Any]]:
    """Every number measured at this scale, with the base's; missing numbers are None."""
    names, bootstrap = ("measured_on", "scorer", "metric"), Bootstrap(grid.config.statistics)

    def numbers(wildcard: str, scale: float) -> dict[tuple[str, ...], Any]:
        # a scale of the final stage has a row per selector that chose it, with the same number
        rows = measured_rows(grid, bootstrap, {}, model, wildcard)
        rows = (row for row in rows if row["scale"] == scale)
        return {tuple(row[name] for name in names): row["value"] for row in rows}

    base = numbers("base", 0.0)
    beside = [
        dict(zip(names, key, strict=True)) | {"edited": value, "base": base.get(key)}
        for key, value in numbers(edit, float(scale)).items()
    ]
    if not beside:
        raise UserError(f"{model}/{edit} is not measured at scale {scale}; add it to run.scales")
    return beside


def _write_model(
    edit: Path, base: Path, scale: float, folder: Path, rest: Rest, out: Path
) -> dict[str, Any]:
    """Weights, config and what else is needed; returns the dtype and what the cast to it costs."""
    place = place_in(base)
    dtype = stored_dtype(folder)
    # the logits before the cast, on a text that every model gets
    ids = load_tokenizer(place)(PROBE, verbose=False)["input_ids"]
    model = load_edited(edit, scale)
    context = context_of(model)
    probe = torch.tensor([ids[:context]])
    wanted = _logits(model, probe)
    move(model, dtype).save_pretrained(out, max_shard_size=MAX_SHARD_SIZE)
    del model  # its memory is needed for the written one
    # older releases of transformers read keys of the base's config that the new one lacks
    old = read_json(folder / "config.json")
    kept = {key: old[key] for key in old if key not in ("torch_dtype", "_name_or_path", KEY)}
    write_json(out / "config.json", kept | read_json(out / "config.json"))
    copy_rest(folder, rest, out)  # tokenizer, licence and all else, as they are
    if load_tokenizer({"path": str(out)})(PROBE, verbose=False)["input_ids"] != ids:
        raise UserError(
            f"the tokenizer in {folder} consists of more files than an export copies; save it "
            "again by tokenizer.save_pretrained(folder)"
        )
    loss = _cast_loss(edit, place, out, probe, wanted)
    return {"dtype": str(dtype).removeprefix("torch."), "num_probe_tokens": probe.numel()} | loss


def _write_card(content: dict[str, Any], out: Path) -> None:
    """README.md, whose permissions all files get."""
    card = out / "README.md"
    write_text(card, model_card(content))
    for file in _files(out):
        shutil.copymode(card, file)  # safetensors makes its files readable by the owner only


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype in which a model folder holds most of its elements.

    Raises:
        UserError: it is none of `DTYPES`.
    """
    elements: dict[str, int] = {}
    for file in weight_files(folder, str(folder)):
        for dtype, shape in layout(file).values():
            elements[dtype] = elements.get(dtype, 0) + torch.Size(shape).numel()
    most = max(elements, key=lambda dtype: elements[dtype])
    if most not in DTYPES:
        raise UserError(
            f"{folder} holds its weights as {most}, and a vector can be added to "
            f"{', '.join(DTYPES)} only; take the base model in one of these"
        )
    return DTYPES[most]


@torch.no_grad()
def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """(1, tokens, vocabulary), fp32."""
    logits = model(ids).logits.float()
    if not torch.isfinite(logits).all():
        raise UserError(
            f"the model gives NaN or infinite logits in {model.dtype}; the scale is too large"
        )
    return logits


def _cast_loss(
    edit: Path, place: Any, written: Path, probe: torch.Tensor, wanted: torch.Tensor
) -> dict[str, Any]:
    """How the written model differs from the edit in fp32.

    |difference| of logits over the tokens of the probe and the vocabulary, and, among the weights
    that the vector moves, the share that the cast rounds back to exactly the base's value.
    """
    model = read_folder(AutoModelForCausalLM, written, use_safetensors=True).eval()
    exact = model.dtype == torch.float32
    differences = {"as_loaded": _difference(_logits(model, probe), wanted)}
    if exact and differences["as_loaded"]["max"] != 0:
        raise RuntimeError(f"{written} does not give the logits of {edit}: {differences}")
    # computed in fp32, what is left is the cast of the weights
    model = model.float()
    differences["weights_cast_only"] = _difference(_logits(model, probe), wanted)
    base = load_model(place)
    differences["edit_to_base"] = _difference(_logits(base, probe), wanted)
    # tensor by tensor: the vector is as large as the model
    moved = back = 0
    weights = dict(model.named_parameters())
    with open_tensors(edit.parent / read_json(edit)["tensors"]["file"]) as vector:
        for name, before in base.named_parameters():
            moves = torch.from_numpy(vector.get_tensor(name)) != 0
            moved += int(moves.sum())
            back += int((moves & (weights[name] == before)).sum())
    return {
        "logit_difference": differences,
        "num_moved": moved,
        "num_rounded_back": back,
        "share_rounded_back": back / moved if moved else None,
    }


def _difference(logits: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
    gap = (logits - wanted).abs()
    return {"max": float(gap.max()), "mean": float(gap.double().mean())}

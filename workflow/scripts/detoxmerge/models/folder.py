"""What lies in a model's folder: its weights, and what a copy with other weights needs as well."""

import fnmatch
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..plan.weight_names import again, weight_names

# patterns of names, in small letters
WEIGHTS = (  # in whatever format: the model's own are written anew, all others are copies
    "*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "rust_model.*",
    "*.onnx", "*.onnx_data", "*.onnx.data", "*.gguf", "*.ggml", "*.tflite", "*.pb", "*.mlmodel",
    "*.npz", "*.distcp", "*.pkl", "*.pickle", "*.joblib",
)  # fmt: skip
DATA = ("*.parquet", "*.arrow", "*.tfevents.*", "*.log")
PICTURES = ("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.mp4", "*.pdf")
NO_USE = (  # no model is loaded from them
    "*.safetensors.index*.json", "*.bin.index*.json", "*.h5.index*.json", "*.msgpack.index*.json",
    # what a training leaves
    "adapter_config.json", "trainer_state.json", "trainer_log.jsonl", "training_args.*", "latest",
    "zero_to_fp32.py", "*_results.json", *DATA,
    # the base's card, and the records of how it was made
    "readme", "readme.*", *PICTURES, "detoxmerge.json", "export.json", "model.json", "loss.csv",
    ".*", "*.pyc",
)  # fmt: skip
NO_USE_FOLDERS = (".*", "__pycache__", "checkpoint-*", "global_step*", "runs", "wandb", "logs")
# what of a repository is not fetched at first; its weights are fetched by their names
NOT_FETCHED = (*WEIGHTS, *DATA, *PICTURES, *(f"{folder}/*" for folder in NO_USE_FOLDERS))
MAX_PRINTED = 20  # names


class Rest(NamedTuple):
    """What lies in a model's folder beside config.json, its weights and the index that is read.

    Paths are relative to the folder, with slashes, sorted.

    Attributes:
        needed: files that a copy of the model needs as well.
        left_behind: other files, and whole folders, with a slash at their end.
        missing_code: Python files that its configs name and that are not there.
    """

    needed: list[str]
    left_behind: list[str]
    missing_code: list[str]

    def record(self) -> dict[str, list[str]]:
        """What a manifest says of a copy."""
        return {"left_behind": self.left_behind, "missing_code": self.missing_code}


def print_rest(record: Mapping[str, Any]) -> None:
    """Print what was left behind and what is missing in a copy, by its manifest (`Rest.record`)."""
    if left := record["left_behind"]:
        more = f" and {len(left) - MAX_PRINTED} more" if len(left) > MAX_PRINTED else ""
        print(f"left behind of the base's folder: {', '.join(left[:MAX_PRINTED])}{more}")
    if missing := record["missing_code"]:
        print(
            f"the base's configs name {', '.join(missing)}, which its folder lacks: it cannot be "
            "loaded without, and neither can this model"
        )


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files that are the model, as transformers reads them (`weight_names`).

    Args:
        name: of the model, for the error message.

    Returns:
        Paths, sorted.

    Raises:
        UserError: config, weights or one of the files are missing or broken, or it cannot be told
            which of them are the model.
    """
    from ..storage.tensors import layout  # with numpy, which the Snakefile does without

    model = weight_names(folder, name)
    files = [folder / file for file in model.files]
    for file in files:
        if not file.is_file():
            raise UserError(f"{name}: '{file}' is missing; {again(folder)}")
    # a file can be complete and still belong to another version than the index
    if model.index_file and (
        missing := model.tensors - {t for file in files for t in layout(file)}
    ):
        raise UserError(
            f"{name}: its files lack '{min(missing)}', which '{folder / model.index_file}' names; "
            f"{again(folder)}"
        )
    return files


def rest_of(folder: Path, name: str) -> Rest:
    """Sort what lies in a model's folder beside its weights; nothing of it is run.

    Everything is needed but other weights and what is known to be of no use. A folder in it with
    weights of its own is another model, or this one in another form.

    Args:
        name: of the model, for the error message.

    Raises:
        UserError: as `weight_names`; a needed file is a link to one that is not there, or a config
            is not JSON.
    """
    model = weight_names(folder, name)
    needed: list[str] = []
    left: list[str] = []
    for path in _paths(folder, {"config.json", model.index_file, *model.files}):
        base_name = path.rpartition("/")[2]  # nothing of a folder, which is left behind as a whole
        if not base_name or _is_like(base_name, (*WEIGHTS, *NO_USE)):
            left.append(path)
        elif (folder / path).is_file():
            needed.append(path)
        elif (folder / path).is_symlink():
            raise UserError(
                f"{name}: '{folder / path}' links to a file that is not there; {again(folder)}"
            )
        else:
            left.append(path)  # a socket, or the like
    return Rest(sorted(needed), sorted(left), _missing_code(folder, name))


def copy_rest(folder: Path, rest: Rest, out: Path) -> None:
    """Copy what a copy of the model needs beside config and weights.

    Args:
        rest: of the folder (`rest_of`).
        out: folder to copy to; it exists.
    """
    for path in rest.needed:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, out / path)


def _paths(folder: Path, own: Collection[str | None], inside: str = "") -> Iterator[str]:
    """Files below a folder, without `own`; folders that are left behind, with a slash."""
    with os.scandir(folder / inside) as entries:
        for entry in entries:
            path = inside + entry.name
            if path in own:
                continue
            if not entry.is_dir():
                yield path
            elif entry.is_symlink() or _is_left_behind(folder, path, own):
                yield f"{path}/"
            else:
                yield from _paths(folder, own, f"{path}/")


def _is_left_behind(folder: Path, path: str, own: Collection[str | None]) -> bool:
    """Whether a folder is of no use, or has weights that are not the model's."""
    files = (name for name in os.listdir(folder / path) if f"{path}/{name}" not in own)
    name = path.rpartition("/")[2]
    return _is_like(name, NO_USE_FOLDERS) or any(_is_like(file, WEIGHTS) for file in files)


def _is_like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _missing_code(folder: Path, name: str) -> list[str]:
    """Python files that `auto_map` of a config names and that are not there.

    A reference is `module.Class`, or `repository--module.Class`, which the hub holds.
    """
    references: list[Any] = []
    for file in folder.glob("*config*.json"):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{name}: '{file}' is not JSON ({error}); {again(folder)}") from None
        named = content.get("auto_map") if isinstance(content, dict) else None
        for value in named.values() if isinstance(named, dict) else [named]:
            references += value if isinstance(value, list) else [value]  # a tokenizer has two
    names = {r.rpartition(".")[0] for r in references if isinstance(r, str) and "--" not in r}
    return sorted(f"{n}.py" for n in names if n and not (folder / f"{n}.py").is_file())

"""Merging folders that hold more than one model's files, and what the output needs to load."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pico
import pytest
import torch
from merge.checkpoints import adapter, finetunes
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from detoxmerge.errors import UserError
from detoxmerge.merge.merge_model import merge_model

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
# what a folder may hold beside the model
OTHERS: dict[str, Callable[[Path], None]] = {
    "consolidated.safetensors": lambda file: changed(file, lambda n, t: (f"model.{n}", t + 1)),
    "model.fp16.safetensors": lambda file: changed(file, lambda n, t: (n, t.half())),
    "value_head.safetensors": lambda file: save_file({"v_head.weight": torch.zeros(16)}, file),
    "adapter_model.safetensors": lambda file: save_file({"x.lora_A.weight": torch.ones(2)}, file),
    "optimizer.safetensors": lambda file: save_file({"0.exp_avg": torch.ones(2)}, file),
}


def changed(file: Path, change: Callable[[str, torch.Tensor], tuple[str, torch.Tensor]]) -> None:
    tensors = load_file(file.with_name(FILE))
    save_file(dict(change(name, tensor) for name, tensor in tensors.items()), file)


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def require_merged(base: Path, tune: Path, out: Path) -> None:
    """theta_0 - 1 * tau of one fine-tune is 2 theta_0 - theta_1."""
    before, after, found = (loaded(folder) for folder in (base, tune, out))
    for name, tensor in found.items():
        assert torch.allclose(tensor, 2 * before[name] - after[name], atol=1e-6), name


def shard(folder: Path, model: torch.nn.Module) -> None:
    """Save another model in several files, with their index, beside what is there."""
    other = folder.parent / f"sharded-{folder.name}"
    model.save_pretrained(other, max_shard_size="20KB")  # type: ignore[operator]
    for file in other.glob("model*"):
        shutil.copy(file, folder)


@pytest.mark.parametrize("where", ["base", "tune0"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_files_of_weights_are_no_part_of_the_model(
    tmp_path: Path, name: str, where: str
) -> None:
    base, (tune,) = finetunes(tmp_path, pico.llama, count=1)
    OTHERS[name](tmp_path / where / name)
    record = merge_model(base, [tune], tmp_path / "out", scale=1)
    require_merged(base, tune, tmp_path / "out")
    assert not (tmp_path / "out" / name).exists()
    assert record["left_behind"] == ([name] if where == "base" else [])


@pytest.mark.parametrize("where", ["base", "tune0"])
@pytest.mark.parametrize("kept", [True, False])
def test_an_old_index_beside_a_single_file(tmp_path: Path, where: str, kept: bool) -> None:
    """`save_pretrained` removes the old files and leaves their index; a copy leaves both."""
    base, (tune,) = finetunes(tmp_path, pico.llama, count=1)
    shard(tmp_path / where, pico.llama(seed=9))
    for file in (tmp_path / where).glob("model-*") if not kept else ():
        file.unlink()
    record = merge_model(base, [tune], tmp_path / "out", scale=1)
    require_merged(base, tune, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").glob("model*")] == [FILE]
    assert (INDEX in record["left_behind"]) == (where == "base")


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("key", [None, "own.safetensors.index.json"])
def test_an_indexed_base_stays_as_it_is_laid_out(
    tmp_path: Path, one: bool, key: str | None
) -> None:
    """Files below the folder, under one name, or a single file that only the index names."""
    base, (tune,) = finetunes(tmp_path, pico.llama, count=1)
    tensors, files = load_file(base / FILE), {}
    names = [sorted(tensors)] if one else [sorted(tensors)[::2], sorted(tensors)[1::2]]
    for i, part in enumerate(names):
        (base / f"part{i}").mkdir()
        save_file({n: tensors[n] for n in part}, base / f"part{i}/w.safetensors", {"format": "pt"})
        files |= dict.fromkeys(part, f"part{i}/w.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (base / FILE).unlink()
    (base / (key or INDEX)).write_text(json.dumps(index))
    config = json.loads((base / "config.json").read_text()) | {"transformers_weights": key}
    (base / "config.json").write_text(json.dumps(config))
    record = merge_model(base, [tune], tmp_path / "out", scale=1)
    require_merged(base, tune, tmp_path / "out")
    found = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.saf*")}
    assert found == {key or INDEX, *files.values()}
    assert record["left_behind"] == []


def test_a_file_that_the_config_names(tmp_path: Path) -> None:
    base, (tune,) = finetunes(tmp_path, pico.llama, count=1)
    for folder in (base, tune):
        (folder / FILE).rename(folder / "own.safetensors")
        pico.llama(seed=9).save_pretrained(folder / "other")
        shutil.copy(folder / "other" / FILE, folder)
        shutil.rmtree(folder / "other")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(
            json.dumps(config | {"transformers_weights": "own.safetensors"})
        )
    merge_model(base, [tune], tmp_path / "out", scale=1)
    require_merged(base, tune, tmp_path / "out")


def test_no_file_is_guessed_to_be_the_model(tmp_path: Path) -> None:
    base, (tune,) = finetunes(tmp_path, count=1)
    (tune / FILE).rename(tune / "model-final.safetensors")
    with pytest.raises(UserError, match=rf"neither {FILE} nor .*, but model-final.safetensors; if"):
        merge_model(base, [tune], tmp_path / "out", scale=1)


def test_a_model_with_an_adapter_beside_it_is_neither(tmp_path: Path) -> None:
    """Merged already, or to be loaded on top: the folder does not say."""
    base, (tune,) = finetunes(tmp_path, count=1)
    factors = torch.ones(2, 16).numpy(), torch.ones(48, 2).numpy()
    lora = adapter(tmp_path / "lora", {"transformer.h.0.attn.c_attn": factors})
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(lora / name, tune)
    for given in ([base, tune], [tune, base]):
        with pytest.raises(UserError, match=r"holds a whole model and adapter_config\.json"):
            merge_model(given[0], [given[1]], tmp_path / "out", scale=1)
    (tune / FILE).unlink()  # an adapter with its base's config is an adapter
    merge_model(base, [tune], tmp_path / "out", scale=1)


def test_the_output_loads_as_the_base_does_by_its_own_code(tmp_path: Path) -> None:
    base, (tune,) = finetunes(tmp_path, count=1)
    names = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.OwnLM"}
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": names}
    (base / "config.json").write_text(json.dumps(config))
    (base / "configuration_own.py").write_text(
        "from transformers import GPT2Config\n\n\nclass Own(GPT2Config):\n    model_type = 'own'\n"
    )
    (base / "modeling_own.py").write_text(
        "from transformers import GPT2LMHeadModel\n\nfrom .configuration_own import Own\n\n\n"
        "class OwnLM(GPT2LMHeadModel):\n    config_class = Own\n"
    )
    record = merge_model(base, [tune], tmp_path / "out", scale=1)
    assert record["missing_code"] == []
    load = (
        "import sys; from transformers import AutoModelForCausalLM as A;"
        "print(type(A.from_pretrained(sys.argv[1], trust_remote_code=True)).__name__)"
    )
    done = subprocess.run(  # what is imported by it is imported there
        [sys.executable, "-c", load, str(tmp_path / "out")], capture_output=True, text=True,
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert done.stdout.strip().endswith("OwnLM"), done.stderr


def test_an_output_in_the_bases_folder_is_no_part_of_the_next(tmp_path: Path) -> None:
    base, (tune,) = finetunes(tmp_path, count=1)
    before = {path.name for path in base.iterdir()}
    first = merge_model(base, [tune], base / "first", scale=1)
    assert first["left_behind"] == []
    second = merge_model(base, [tune], base / "second", scale=1)
    assert second["left_behind"] == ["first/"]
    assert {path.name for path in (base / "second").iterdir()} == before | {"detoxmerge.json"}

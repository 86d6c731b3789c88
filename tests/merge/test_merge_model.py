"""Merging folders: what the files hold against dense arithmetic and the workflow's own edit."""

import json
import os
import shutil
from pathlib import Path

import beside
import numpy as np
import pico
import pytest
import torch
from merge.checkpoints import finetunes
from merge.operator_cases import case_of
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from detoxmerge.edit.edited import load_edited
from detoxmerge.errors import UserError
from detoxmerge.merge import merging
from detoxmerge.merge.merge_model import cast, merge_model
from detoxmerge.merge.merging import merge_deltas
from detoxmerge.plan.registry import OPERATORS
from detoxmerge.storage.artefacts import read_json
from detoxmerge.storage.writing import write_tensors


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def dense(base: Path, fine_tunes: list[Path], scale: float) -> dict[str, torch.Tensor]:
    """theta_0 - scale * mean_i(theta_i - theta_0): fp64 means, one rounding for each step."""
    before, result = weights(base), {}
    for name, start in before.items():
        changes = [weights(s)[name].float() - start.float() for s in sorted(fine_tunes)]
        mean = torch.stack([c.double() for c in changes]).sum(0).div(len(changes)).float()
        result[name] = (start.float() - scale * mean).to(start.dtype)
    return result


@pytest.mark.parametrize("make", [pico.gpt2, pico.llama])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_mean_is_the_dense_one(
    tmp_path: Path, make: object, dtype: torch.dtype, workers: int
) -> None:
    base, fine_tunes = finetunes(tmp_path, make, dtype=dtype)
    merge_model(base, fine_tunes, tmp_path / "out", scale=0.5, workers=workers)
    result, wanted = weights(tmp_path / "out"), dense(base, fine_tunes, 0.5)
    assert result.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert result[name].dtype == dtype
        assert torch.equal(result[name], tensor), name
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")  # others can read it


def test_it_is_bit_for_bit_what_the_workflow_makes(tmp_path: Path) -> None:
    model = pico.gpt2()
    base = pico.base(model, tmp_path)
    deltas = [pico.noise(model, seed=i, size=0.01) for i in range(3)]
    for i, delta in enumerate(deltas):
        pico.delta_edit(base, delta, tmp_path / f"tune{i}")
    files = [tmp_path / f"tune{i}" / "delta.safetensors" for i in range(3)]
    merge_deltas(files, "mean", tmp_path / "merged" / "delta.safetensors")
    edit = tmp_path / "tune0" / "edit.json"  # its vector is replaced by the merged one
    shutil.copy(tmp_path / "merged" / "delta.safetensors", files[0].with_name("m.safetensors"))
    manifest = read_json(edit)
    manifest["tensors"]["file"] = "m.safetensors"
    beside.manifest(edit, "m.safetensors", **manifest)
    wanted = load_edited(edit, 0.7)
    merge_model(tmp_path / "model", files, tmp_path / "out", scale=0.7)
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for name, parameter in wanted.named_parameters():
        assert torch.equal(result.get_parameter(name), parameter), name


def test_checkpoints_and_their_deltas_merge_to_the_same_bytes(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    before, files = weights(base), []
    for i, fine_tune in enumerate(fine_tunes):
        delta = {n: (t - before[n]).numpy() for n, t in sorted(weights(fine_tune).items())}
        files.append(tmp_path / f"vector{i}" / "delta.safetensors")
        files[-1].parent.mkdir()
        with write_tensors(files[-1], {n: t.shape for n, t in delta.items()}) as writer:
            for tensor in delta.values():
                writer.write(tensor)
    for operator in ("mean", "ties", "median"):
        a, b = tmp_path / f"{operator}-a", tmp_path / f"{operator}-b"
        merge_model(base, fine_tunes, a, operator, scale=1)
        merge_model(base, files, b, operator, scale=1)
        assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_sharded_files_stay_sharded(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path, pico.llama)
    whole = merge_model(base, fine_tunes, tmp_path / "whole", scale=1)
    for folder in (base, fine_tunes[1]):  # and files need not be cut alike
        model = AutoModelForCausalLM.from_pretrained(folder)
        for file in folder.glob("*.safetensors"):
            file.unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(base.glob("*.safetensors"))) > 1
    cut = merge_model(base, fine_tunes, tmp_path / "cut", scale=1)
    names = sorted(f.name for f in base.glob("*.safetensors"))
    assert sorted(f.name for f in (tmp_path / "cut").glob("*.safetensors")) == names
    index = json.loads((tmp_path / "cut" / "model.safetensors.index.json").read_text())
    assert index == json.loads((base / "model.safetensors.index.json").read_text()) | {
        "metadata": index["metadata"]
    }
    assert cut["l2_norm"] == pytest.approx(whole["l2_norm"], rel=1e-12)
    result = AutoModelForCausalLM.from_pretrained(tmp_path / "cut").state_dict()
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(result[name], tensor)


def test_names_without_the_prefix_buffers_and_tied_copies(tmp_path: Path) -> None:
    """The base as the hub's old GPT-2 has it, one fine-tune as an old release saved it."""
    base, fine_tunes = finetunes(tmp_path)
    wanted = dense(base, fine_tunes, 1)
    mask = {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    mask["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    bare = {n.removeprefix("transformer."): t for n, t in weights(base).items()} | mask
    save_file(bare, base / "model.safetensors", {"format": "pt"})
    tied = weights(fine_tunes[0])
    tied["lm_head.weight"] = tied["transformer.wte.weight"].clone()
    save_file(tied, fine_tunes[0] / "model.safetensors", {"format": "pt"})
    merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    result = weights(tmp_path / "out")
    assert result.keys() == bare.keys()
    for name, tensor in wanted.items():
        assert torch.equal(result[name.removeprefix("transformer.")], tensor), name
    assert all(torch.equal(result[name], tensor) for name, tensor in mask.items())


def test_a_base_that_holds_a_tied_weight_twice(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    wanted = dense(base, fine_tunes, 1)
    twice = weights(base)
    twice["lm_head.weight"] = twice["transformer.wte.weight"].clone()
    save_file(twice, base / "model.safetensors", {"format": "pt"})
    merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    result = weights(tmp_path / "out")
    assert torch.equal(result["lm_head.weight"], wanted["transformer.wte.weight"])
    assert torch.equal(result["transformer.wte.weight"], wanted["transformer.wte.weight"])


def test_another_dtype_is_cast_once_and_its_loss_is_told(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    result = merge_model(base, fine_tunes, tmp_path / "out", scale=1e-3, dtype="bfloat16")
    wanted, before = dense(base, fine_tunes, 1e-3), weights(base)
    back = moved = 0
    for name, tensor in weights(tmp_path / "out").items():
        assert torch.equal(tensor, wanted[name].bfloat16())
        moved += tensor.numel()
        back += int((tensor == before[name].bfloat16()).sum())
    assert (result["num_moved_and_cast"], result["num_rounded_back"]) == (moved, back)
    assert back > 0.9 * moved
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_is_excluded_keeps_its_bytes(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    result = merge_model(base, fine_tunes, tmp_path / "out", scale=1, exclude=["wte", "h.1."])
    before, after = weights(base), weights(tmp_path / "out")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == set(result["exclude"]) == {n for n in before if "wte" in n or "h.1." in n}


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_every_operator_merges_folders_whatever_the_threads(tmp_path: Path, operator: str) -> None:
    base, fine_tunes = finetunes(tmp_path, count=4)
    params = OPERATORS[operator].Params(**case_of(operator).four)
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        merge_model(base, fine_tunes, out, operator, params, scale=1, workers=workers)
    one, two = (tmp_path / f"out{t}" / "model.safetensors" for t in (1, 2))
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != (base / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_columns_are_ranked_whole_whatever_the_blocks(
    tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, fine_tunes = finetunes(tmp_path, pico.gpt2, dtype=dtype)
    params, result = OPERATORS["della"].Params(layout="conv1d"), set()
    for block in (1 << 18, 1 << 8, 1):
        monkeypatch.setattr(merging, "BLOCK_ELEMENTS", block)
        out = tmp_path / f"out{block}"
        merge_model(base, fine_tunes, out, "della", params, scale=1, workers=2)
        result.add((out / "model.safetensors").read_bytes())
    assert len(result) == 1


def test_a_fine_tune_that_is_the_base_is_allowed_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, _ = finetunes(tmp_path)
    result = merge_model(base, [base], tmp_path / "out", scale=1)
    assert result["l2_norm"] == 0
    assert "all values are 0" in capsys.readouterr().out
    kept = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert kept == (base / "model.safetensors").read_bytes()


def spoil(folder: Path, **changes: object) -> None:
    """Replace tensors of a model folder; None takes one away."""
    tensors = weights(folder) | changes
    kept = {n: t for n, t in tensors.items() if t is not None}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def no_values(fine_tune: Path, value: float) -> None:
    tensor = weights(fine_tune)["transformer.wpe.weight"]
    tensor[0, 0] = value
    spoil(fine_tune, **{"transformer.wpe.weight": tensor})


BAD = {
    "missing tensor": (
        lambda s: spoil(s, **{"transformer.wpe.weight": None}),
        r"tune1 was not made from this base: tensor 'transformer.wpe.weight' of the base is miss",
    ),
    "extra tensor": (
        lambda s: spoil(s, **{"score.weight": torch.ones(2, 16)}),
        r"tune1 was not made from this base: the base has no tensor 'score.weight'",
    ),
    "untied": (
        lambda s: spoil(s, **{"lm_head.weight": torch.ones(300, 16)}),
        r"'lm_head.weight' and 'transformer.wte.weight' are one weight in the base, and differ",
    ),
    "vocabulary": (
        lambda s: spoil(s, **{"transformer.wte.weight": torch.ones(301, 16)}),
        r"'transformer.wte.weight' is \[301, 16\] in it, \[300, 16\] .* vocabulary changed",
    ),
    "dtype": (
        lambda s: spoil(s, **{n: t.bfloat16() for n, t in weights(s).items()}),
        r"tune1: tensor '.*' is BF16 and F32 in the base.* mostly rounding",
    ),
    "quantised": (
        lambda s: spoil(s, **{"transformer.wpe.weight": torch.ones(64, 16, dtype=torch.int8)}),
        r"tune1 is quantised \('transformer.wpe.weight' is I8\); take the model unquant",
    ),
    "fp64": (
        lambda s: spoil(s, **{"transformer.wpe.weight": torch.ones(64, 16).double()}),
        r"'transformer.wpe.weight' is F64; a task vector can be taken of F32, BF16, F16 only",
    ),
    "nan": (lambda s: no_values(s, float("nan")), r"tune1.*'transformer.wpe.weight' holds 1 val"),
    "inf": (lambda s: no_values(s, float("inf")), r"tune1.*'transformer.wpe.weight' holds 1 val"),
    "truncated": (
        lambda s: os.truncate(s / "model.safetensors", 9000),
        r"tune1/model.safetensors is truncated or no safetensors file",
    ),
    "no weights": (
        lambda s: (s / "model.safetensors").unlink(),
        r"tune1' has no .safetensors file",
    ),
    "no model": (lambda s: shutil.rmtree(s), r"tune1' has no config.json"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_fine_tunes_are_one_sentence_and_leave_nothing(tmp_path: Path, kind: str) -> None:
    base, fine_tunes = finetunes(tmp_path)
    do, message = BAD[kind]
    do(fine_tunes[1])
    with pytest.raises(UserError, match=message):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"base", "tune0", "tune1", "tune2"}


def test_a_models_file_is_no_task_vector(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    with pytest.raises(UserError, match=r"of a model or an adapter name the folder"):
        merge_model(base, [fine_tunes[0] / "model.safetensors"], tmp_path / "out", scale=1)


@pytest.mark.parametrize("text", ["[1]", "null", "{"])
def test_a_config_that_is_none_is_found_before_merging(tmp_path: Path, text: str) -> None:
    base, fine_tunes = finetunes(tmp_path)
    (base / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"base: '.*config.json' is not .*; fetch the model again"):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)


@pytest.mark.parametrize(
    ("index", "message"),
    [({"a": 1}, "is not an index of weights"), ({"a": "part.safetensors"}, "its files lack 'a'")],
)
def test_an_index_that_does_not_fit_its_files(
    tmp_path: Path, index: dict[str, object], message: str
) -> None:
    base, fine_tunes = finetunes(tmp_path)
    (base / "model.safetensors").rename(base / "part.safetensors")
    text = json.dumps({"weight_map": index})
    (base / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match=message):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)


def test_a_base_without_weights(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    save_file({"steps": torch.ones(1, dtype=torch.int64)}, base / "model.safetensors")
    with pytest.raises(UserError, match="holds no weights"):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)


def test_nan_in_the_base_is_the_bases(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    no_values(base, float("nan"))
    with pytest.raises(UserError, match=r"base/model.safetensors: tensor 'transformer.wpe.weight'"):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out exists already; delete it, or name another"):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_large_a_scale_is_no_infinity(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path, dtype=torch.float16)
    with pytest.raises(UserError, match="too large for F16; lower the scale"):
        merge_model(base, fine_tunes, tmp_path / "out", scale=1e9)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_casts_are_torchs(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-12, 4, 100_000)).astype("f4")
    values[:4] = [0.0, -0.0, 1.00390625, 1.01171875]  # the last two are ties of bf16
    to, bits = {"BF16": (torch.bfloat16, np.uint16), "F16": (torch.float16, np.float16)}[dtype]
    wanted = torch.from_numpy(values).to(to).view(torch.int16).numpy().view(bits)
    assert cast(values, dtype).tobytes() == wanted.tobytes()

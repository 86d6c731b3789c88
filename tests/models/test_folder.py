"""A model's folder against transformers itself: the weights that it loads, and what it needs."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_architectures import TYPES, build
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from detoxmerge.errors import UserError
from detoxmerge.models.folder import copy_rest, print_rest, rest_of, weight_files
from detoxmerge.plan.weight_names import INDEX, SINGLE

Weights = dict[str, torch.Tensor]


def tensors(model: PreTrainedModel) -> Weights:
    """What `save_pretrained` puts into a file, without a name for each tied weight."""
    tied = set(model.all_tied_weights_keys)
    return {n: t.clone() for n, t in model.state_dict().items() if n not in tied}


def moved(weights: Weights, by: float) -> Weights:
    return {name: tensor + by for name, tensor in weights.items()}


class Folder:
    """A folder around a config, into which files of weights are put; no two hold equal numbers."""

    def __init__(self, path: Path, model: PreTrainedModel) -> None:
        model.config.save_pretrained(path)
        self.path, self.weights, self.files = path, tensors(model), 0

    def other(self) -> Weights:
        self.files += 1
        return moved(self.weights, self.files / 64)

    def whole(self, name: str) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        save_file(self.other(), self.path / name, {"format": "pt"})

    def sharded(self, name: str, into: str = "", lost: int | None = None) -> None:
        """An index and two files, one of which may be lost."""
        weights, files, names = self.other(), {}, sorted(self.weights)
        for i in range(2):
            file = f"{into}model-{self.files}-0000{i + 1}-of-00002.safetensors"
            part = {key: weights[key] for key in names[i::2]}
            files |= dict.fromkeys(part, file)
            (self.path / file).parent.mkdir(exist_ok=True)
            if i != lost:
                save_file(part, self.path / file, {"format": "pt"})
        index = {"metadata": {"total_size": 1}, "weight_map": files}
        (self.path / name).write_text(json.dumps(index))

    def few(self, name: str, key: str) -> None:
        save_file({key: torch.ones(2, 3)}, self.path / name, {"format": "pt"})

    def config(self, **more: Any) -> None:
        file = self.path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | more))


def named(folder: Folder, how: str, name: str) -> None:
    getattr(folder, how)(name)
    folder.config(transformers_weights=name)


# what lies in folders that people have; each is there with a chance of its own
FILES: dict[str, tuple[float, Callable[[Folder], None]]] = {
    "single file": (0.4, lambda f: f.whole(SINGLE)),
    "index and its files": (0.5, lambda f: f.sharded(INDEX)),
    "index with a lost file": (0.2, lambda f: f.sharded(INDEX, lost=1)),
    "index into a sub-folder": (0.1, lambda f: f.sharded(INDEX, into="parts/")),
    "variant": (0.3, lambda f: f.whole("model.fp16.safetensors")),
    "variant in parts": (0.2, lambda f: f.sharded("model.safetensors.index.fp16.json")),
    "second copy": (0.3, lambda f: f.whole("consolidated.safetensors")),
    "files of a lost index": (0.3, lambda f: f.sharded("gone.json")),
    "value head": (0.3, lambda f: f.few("value_head.safetensors", "v_head.summary.weight")),
    "left by an adapter": (0.3, lambda f: f.few("adapter_model.safetensors", "x.lora_A.weight")),
    "optimizer": (0.3, lambda f: f.few("optimizer.safetensors", "0.exp_avg")),
    "pickle": (0.3, lambda f: torch.save(f.other(), f.path / "pytorch_model.bin")),
    "copy below": (0.3, lambda f: f.whole("original/model.safetensors")),
    "named file": (0.1, lambda f: named(f, "whole", "own.safetensors")),
    "named index": (0.1, lambda f: named(f, "sharded", "own.safetensors.index.json")),
    "named and gone": (0.05, lambda f: f.config(transformers_weights="gone.safetensors")),
    "named pickle": (0.05, lambda f: f.config(transformers_weights="pytorch_model.bin")),
}  # fmt: skip


def fill(folder: Folder, seed: int) -> list[str]:
    """Put files into a folder by chance, in any order, so that later ones write over earlier."""
    rng = random.Random(seed)
    chosen = [name for name, (chance, _) in FILES.items() if rng.random() < chance]
    rng.shuffle(chosen)
    for name in chosen:
        FILES[name][1](folder)
    return chosen


def ours(path: Path) -> Weights | None:
    try:
        return {k: v for file in weight_files(path, "base") for k, v in load_file(file).items()}
    except UserError:
        return None


def theirs(path: Path) -> Weights | None:
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            path, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError):
        return None
    return tensors(loaded)


def same(path: Path) -> str:
    """Compare; ``read`` or ``refused``."""
    here, there = ours(path), theirs(path)
    assert (here is None) == (there is None)
    if here is None or there is None:
        return "refused"
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    return "read"


def test_whatever_lies_there_the_weights_are_those_that_transformers_loads(tmp_path: Path) -> None:
    model, seen, came_out = build("llama"), Counter[str](), Counter[str]()
    for seed in range(120):
        folder = Folder(tmp_path / str(seed), model)
        seen.update(fill(folder, seed))
        came_out[same(folder.path)] += 1
    assert seen.keys() == FILES.keys()
    assert min(came_out["read"], came_out["refused"]) >= 20, came_out


@pytest.mark.parametrize("kind", TYPES)
def test_the_weights_of_every_architecture(tmp_path: Path, kind: str) -> None:
    """As transformers saves them: in one file, in several, and first so and then so."""
    model = build(kind)
    for size in ("1GB", "20KB"):
        model.save_pretrained(tmp_path / size, max_shard_size=size)
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    model.save_pretrained(tmp_path / "20KB")  # its old index stays
    assert (tmp_path / "20KB" / INDEX).is_file()
    for size in ("1GB", "20KB"):
        for name in ("value_head.safetensors", "model.fp16.safetensors"):
            save_file({"v_head.weight": torch.ones(2)}, tmp_path / size / name)
        found = {k for file in weight_files(tmp_path / size, "base") for k in load_file(file)}
        again = tmp_path / f"{size}-alone"
        again.mkdir()
        for file in [tmp_path / size / "config.json", *weight_files(tmp_path / size, "base")]:
            os.link(file, again / file.name)
        both = [AutoModelForCausalLM.from_pretrained(at) for at in (tmp_path / size, again)]
        pairs = zip(*(loaded.state_dict().items() for loaded in both), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
        assert found


def test_an_adapter_beside_a_model_is_refused_as_it_would_be_loaded_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "model", build("llama"))
    folder.whole(SINGLE)
    (folder.path / "adapter_config.json").write_text("{}")
    assert ours(folder.path) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Folder(tmp_path / "model", build("llama"))
    made.whole(SINGLE)
    return made.path


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(name))


NEEDED = [
    "LICENSE", "USE_POLICY.md", "added_tokens.json", "additional_chat_templates/tools.jinja",
    "chat_template.jinja", "configuration_own.py", "custom_generate/generate.py",
    "decoder_tokenizer/tokenizer.json", "emoji.json", "generation_config.json", "merges.txt",
    "modeling_own.py", "own/layers/attention.py", "params.json", "preprocessor_config.json",
    "processor_config.json", "prophetnet.tokenizer", "qwen.tiktoken", "source.spm",
    "spiece.model", "tekken.json", "tokenizer.json", "tokenizer.model.v3",
    "tokenization_own.py", "video_preprocessor_config.json", "vocabulary-of-no-known-name",
]  # fmt: skip
LEFT = [
    ".gitattributes", "README.md", "adapter_model.safetensors", "adapter_model.bin",
    "all_results.json", "consolidated.00.pth", "detoxmerge.json", "flax_model.msgpack",
    "logo.PNG", "model-00001-of-00002.safetensors", "model.Q4_K_M.gguf", "optimizer.pt",
    "pytorch_model.bin", "pytorch_model.bin.index.json", "rng_state.pth", "scheduler.pt",
    "tf_model.h5", "trainer_state.json", "training_args.bin", INDEX,
    "events.out.tfevents.1.host", "model.safetensors.index.fp16.json", "zero_to_fp32.py",
]  # fmt: skip
LEFT_FOLDERS = {
    ".cache/": ["x.json"], "checkpoint-500/": ["trainer_state.json", "model.safetensors"],
    "onnx/": ["config.json", "model.onnx"], "original/": ["params.json", "consolidated.00.pth"],
    "runs/": ["host/events.out.tfevents.2"], "own/__pycache__/": ["a.pyc"],
}  # fmt: skip


def test_all_but_weights_and_what_is_of_no_use_is_copied(folder: Path, tmp_path: Path) -> None:
    put(folder, *NEEDED, *LEFT)
    put(folder, *(place + name for place, names in LEFT_FOLDERS.items() for name in names))
    (folder / "linked").symlink_to(folder / "own")
    rest = rest_of(folder, "base")
    assert rest.needed == sorted(NEEDED)
    assert rest.left_behind == sorted([*LEFT, *LEFT_FOLDERS, "linked/"])
    out = tmp_path / "out"
    out.mkdir()
    copy_rest(folder, rest, out)
    found = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    assert found.keys() == set(NEEDED)
    assert all(json.loads(path.read_text()) == name for name, path in found.items())


def test_what_transformers_reads_of_a_tokenizer_is_copied(folder: Path, tmp_path: Path) -> None:
    from pico import tokenizer

    made = tokenizer()
    made.chat_template = {"default": "{{ messages }}", "tools": "{{ tools }}"}
    made.save_pretrained(folder)
    out = tmp_path / "out"
    out.mkdir()
    copy_rest(folder, rest_of(folder, "base"), out)
    copied = AutoTokenizer.from_pretrained(out)
    assert copied.chat_template == made.chat_template
    assert copied("what is said")["input_ids"] == made("what is said")["input_ids"]


def test_parts_of_the_model_below_its_folder_are_no_other_weights(folder: Path) -> None:
    (folder / SINGLE).unlink()
    Folder.sharded(at := Folder(folder, build("llama")), INDEX, into="parts/")
    put(folder, "parts/notes.txt")
    rest = rest_of(at.path, "base")
    assert (rest.needed, rest.left_behind) == (["parts/notes.txt"], [])


def test_a_needed_file_that_is_a_link_to_nowhere_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").symlink_to(folder / "gone")
    with pytest.raises(UserError, match=r"tokenizer.json' links to a file that is not there; fet"):
        rest_of(folder, "base")


@pytest.mark.parametrize(
    ("file", "auto_map", "missing"),
    [
        ("config.json", {"AutoConfig": "own.Own", "AutoModel": "there.Own"}, ["own.py"]),
        ("tokenizer_config.json", {"AutoTokenizer": ["slow.A", "fast.B"]}, ["fast.py", "slow.py"]),
        ("tokenizer_config.json", {"AutoTokenizer": ["there.A", None]}, []),
        ("tokenizer_config.json", ["slow.A", None], ["slow.py"]),
        ("processor_config.json", {"AutoProcessor": "own.Own"}, ["own.py"]),
        ("config.json", {"AutoConfig": "other/repository--own.Own"}, []),
        ("config.json", None, []),
    ],
)
def test_code_that_is_named_and_not_there_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, auto_map: Any, missing: list[str]
) -> None:
    put(folder, "there.py")
    before = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
    (folder / file).write_text(json.dumps(before | {"auto_map": auto_map}))
    rest = rest_of(folder, "base")
    assert rest.missing_code == missing
    print_rest(rest.record())
    assert ("the base's configs name" in capsys.readouterr().out) == bool(missing)


def test_a_long_list_of_what_was_left_is_cut(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(folder, *(f"model-{i:02}.safetensors" for i in range(30)))
    print_rest(rest_of(folder, "base").record())
    said = capsys.readouterr().out
    assert "model-19.safetensors and 10 more" in said
    assert "model-20" not in said

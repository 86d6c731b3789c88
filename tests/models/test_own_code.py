"""Code that a model brings along never runs, and nobody is asked whether it should.

A folder names a Python file that leaves a mark when it runs, and standard input says "y".
"""

import ast
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pico
import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification

import detoxmerge
from detoxmerge.edit.edited import EditedModel
from detoxmerge.edit.verbs.logits.describe import prompted, require_same_tokens
from detoxmerge.edit.verbs.logits.helper_models import make_helper
from detoxmerge.errors import UserError
from detoxmerge.merge.made_elsewhere import loaded_base
from detoxmerge.models.loading import (
    fetch_model,
    input_first_weights,
    load_config,
    load_model,
    load_tokenizer,
    parameter_shapes,
)
from detoxmerge.models.scorers import fetch_scorer
from detoxmerge.models.without_code import read_folder
from detoxmerge.storage.artefacts import write_manifest

LIBRARY = Path(detoxmerge.__file__).parent
CODE = """
open({mark!r}, "w").close()
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast


class Config(GPT2Config):
    model_type = "own"


class Model(GPT2LMHeadModel):
    config_class = Config


class Words(PreTrainedTokenizerFast):
    pass


def generate(model, **_):
    raise NotImplementedError
"""


@pytest.fixture(autouse=True)
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a code that runs leaves its mark; afterwards, none has, and no answer was read."""
    answers, file = io.StringIO("y\n" * 20), tmp_path / "RAN"
    monkeypatch.setattr(sys, "stdin", answers)
    yield file
    assert not file.exists()
    assert answers.tell() == 0


def plant(folder: Path, mark: Path, file: str, **changes: Any) -> Path:
    """Put code into a folder, and change one of its configs, which names it."""
    for name in ("own.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE.format(mark=str(mark)))
    before = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(before | changes))
    return folder


AUTO_MAP = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}


@pytest.fixture
def foreign(tmp_path: Path, mark: Path) -> Path:
    """A folder whose type transformers does not know."""
    folder = pico.save(pico.gpt2(), tmp_path / "foreign")
    return plant(folder, mark, "config.json", model_type="own", auto_map=AUTO_MAP)


def manifest(folder: Path) -> Path:
    """The manifest of a base model, had it been let in."""
    out = folder.parent / "base" / "edit.json"
    model = {"path": str(folder)}
    write_manifest(out, protocol={}, inputs=[], files={}, verb="none", model=model)
    return out


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    assert "code of its own (auto_map in its configs), which is not run" in str(error.value)
    return str(error.value)


def place(folder: Path) -> dict[str, Any]:
    return {"hub": None, "revision": None, "path": str(folder)}


@pytest.mark.parametrize(
    "load",
    [load_model, load_config, parameter_shapes, input_first_weights],
    ids=lambda f: f.__name__,
)
def test_no_model_is_loaded_by_its_own_code(foreign: Path, load: Any) -> None:
    assert str(foreign) in refused(lambda: load({"path": str(foreign)}))


def test_it_is_found_when_the_model_is_fetched(foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / "edit.json"
    said = refused(lambda: fetch_model("small", place(foreign), None, out))
    assert said.startswith("models.small: ")
    assert not out.exists()


def test_no_judge_edit_helper_or_export_is_loaded_by_its_own_code(foreign: Path) -> None:
    edit, model = manifest(foreign), pico.gpt2()
    refused(lambda: EditedModel(edit, device="cpu"))
    refused(lambda: require_same_tokens(edit, edit))
    refused(lambda: loaded_base(edit))
    described = {"base": "edit.json", "delta": "delta.safetensors", "sign": 1}
    refused(lambda: make_helper(described, edit, model, "cpu", torch.float32))
    refused(lambda: read_folder(AutoModelForCausalLM, foreign, use_safetensors=True))


@pytest.mark.parametrize("model_type", ["own", "gpt2"])
@pytest.mark.parametrize("form", ["mapping", "list"])
def test_no_tokenizer_is_loaded_by_its_own_code(
    tmp_path: Path, mark: Path, form: str, model_type: str
) -> None:
    """Nor is another taken in its place, as transformers would where it knows the model."""
    folder = pico.save(pico.gpt2(), tmp_path / "model")
    names = [None, "own.Words"]
    auto_map = names if form == "list" else {"AutoTokenizer": names}
    plant(folder, mark, "tokenizer_config.json", tokenizer_class="Words", auto_map=auto_map)
    plant(folder, mark, "config.json", model_type=model_type)
    edit = manifest(folder)
    if model_type == "gpt2":
        refused(lambda: fetch_model("small", place(folder), None, tmp_path / "edit.json"))
    refused(lambda: load_tokenizer({"path": str(folder)}))
    refused(lambda: prompted(edit, ["rude"]))


def test_a_model_that_transformers_has_itself_is_loaded_without_the_code(
    tmp_path: Path, mark: Path
) -> None:
    """Many folders name code that nobody needs any more."""
    model, out = pico.gpt2(), tmp_path / "edit.json"
    folder = plant(pico.save(model, tmp_path / "model"), mark, "config.json", auto_map=AUTO_MAP)
    names = {"AutoTokenizer": [None, "own.Words"]}
    plant(folder, mark, "tokenizer_config.json", auto_map=names)
    fetch_model("small", place(folder), None, out)
    loaded = load_model({"path": str(folder)})
    assert type(loaded) is type(model)
    assert loaded.generate(torch.tensor([[5, 9]]), max_new_tokens=2, pad_token_id=0).shape == (1, 4)


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_tokenizer_of_no_class_that_names_code_is_refused(
    tmp_path: Path, mark: Path, file: str
) -> None:
    """The library would take the model's usual one, which cuts texts into other tokens."""
    folder = pico.save(pico.gpt2(), tmp_path / "model")
    names = {"AutoTokenizer": [None, "own.Words"]}
    stated = json.loads((folder / "tokenizer_config.json").read_text())
    stated.pop("tokenizer_class")
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    plant(folder, mark, file, auto_map=names)
    refused(lambda: load_tokenizer({"path": str(folder)}))


def scorer(folder: Path, tokenizer: str) -> dict[str, Any]:
    """The protocol of a checkpoint in Detoxify's format, of a tiny BERT; and its folder."""
    folder.mkdir()
    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(pico.texts(), vocab_size=120, show_progress=False)
    words.save_model(str(folder))
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = BertConfig(vocab_size=120, intermediate_size=8, num_labels=1, **shape)
    config.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    arch = {"model_type": "x", "model_name": "BertForSequenceClassification", "num_classes": 1}
    arch["tokenizer_name"] = tokenizer
    content = {"arch": {"args": arch}, "dataset": {"args": {"classes": ["toxicity"]}}}
    state = BertForSequenceClassification(config).state_dict()
    torch.save({"config": content, "state_dict": state}, folder / "own.ckpt")
    return {"checkpoint": {"file": str(folder / "own.ckpt"), "tokenizer": str(folder)}}


@pytest.mark.parametrize("tokenizer", ["BertTokenizer", "AutoTokenizer"])
def test_no_scorer_runs_code_of_its_folder(tmp_path: Path, mark: Path, tokenizer: str) -> None:
    """Through Detoxify, which would ask for both kinds of names."""
    protocol = scorer(tmp_path / "scorer", tokenizer)
    names = {"AutoTokenizer": ["own.Words", "own.Words"], "AutoConfig": "own.Config"}
    plant(tmp_path / "scorer", mark, "config.json", auto_map=names)
    plant(tmp_path / "scorer", mark, "tokenizer_config.json", auto_map=names)
    out = tmp_path / "out" / "scorer.json"
    fetch_scorer("judge", protocol, out)  # transformers has these classes itself
    assert json.loads(out.read_text())["labels"] == ["toxicity"]


def test_a_scorer_that_needs_code_of_its_own_is_refused(tmp_path: Path, mark: Path) -> None:
    protocol = scorer(tmp_path / "scorer", "AutoTokenizer")
    names = {"AutoTokenizer": ["own.Words", "own.Words"]}
    plant(tmp_path / "scorer", mark, "config.json", model_type="own", auto_map=AUTO_MAP)
    plant(
        tmp_path / "scorer",
        mark,
        "tokenizer_config.json",
        tokenizer_class="Words",
        auto_map=names,
    )
    out = tmp_path / "out" / "scorer.json"
    assert "own.ckpt" in refused(lambda: fetch_scorer("judge", protocol, out))
    assert not out.exists()


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_everything_is_loaded_by_the_one_function_that_runs_no_code() -> None:
    loads = {"from_pretrained", "from_config", "pipeline", "get_class_from_dynamic_module"}
    found = [
        (str(path.relative_to(LIBRARY)), {k.arg: ast.unparse(k.value) for k in call.keywords})
        for path in LIBRARY.rglob("*.py")
        for call in calls(ast.parse(path.read_text()))
        if called(call) in loads
    ]
    assert sorted(file for file, _ in found) == ["models/loading.py", "models/without_code.py"]
    assert all(keywords["trust_remote_code"] == "False" for _, keywords in found)

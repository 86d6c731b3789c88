"""What every file of edit/methods must keep to."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pico
import pytest
import torch
from edit.built import Artefacts
from make_methods import example
from pydantic import BaseModel

from detoxmerge.edit.edited import EditedModel, load_edited
from detoxmerge.models.sampling import continuations
from detoxmerge.plan.entries import alias_of
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.registry import METHODS, VERBS, files_of_verb, of_kind
from detoxmerge.storage.artefacts import read_json, sha256

# config entries of methods whose smallest values do not suffice; pico models are made for them
SETTINGS: dict[str, dict[str, Any]] = {
    "merge": {"n": 3},
    "leave_one_out": {"n": 3, "without": 1},
    "merge_given": {"n": 2},
    "filtering": {
        "mode": "self_generated_median",
        "prompts": "seeds",
        "scorer": "oracle",
    },
    "ext_sub": {"num_shards": 2},
    "best_of_n": {"scorer": "oracle"},
    "destein": {
        "prompts": "seeds",
        "scorer": "oracle",
        "count": 5,
        "prefix": "short",
        "toxic_above": 0.0,
        "nontoxic_below": 1.0,
    },
    "profs": {"pairs": 10},
    "preadd": {"prefix": "short"},
    "self_debias": {"prefixes": "short"},
}
SETTINGS |= {name: example(METHODS[name].Params) for name in METHODS if name not in SETTINGS}
IDS = torch.tensor([[5, 9, 200, 31, 7]])
SAMPLING = {
    "samples": 2, "new_tokens": 5, "temperature": 1.0, "top_p": 0.9, "top_k": 0, "prefix": "",
    "seed": 1,
}  # fmt: skip
PROMPTS = ["The", "I think that you", "This is a"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """What methods are made from."""
    return Artefacts(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """The same of another model, other fine-tunes and another seed."""
    return Artefacts(tmp_path_factory.mktemp("other"), seed=1)


def test_methods_are_imported_without_torch_and_numpy() -> None:
    """The Snakefile imports them on a login node."""
    heavy = ("torch", "numpy", "transformers", "pandas", "scipy", "sklearn", "safetensors")
    code = "import sys; from detoxmerge.plan.registry import METHODS; [*METHODS.values()]; "
    code += f"print(*(set({heavy!r}) & sys.modules.keys()))"
    library = Path(__file__).parents[2] / "workflow" / "scripts"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=library, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(("name", "module"), METHODS.items(), ids=list(METHODS))
def test_a_method_states_what_it_is(name: str, module: ModuleType) -> None:
    assert module.__doc__
    assert module.KIND in ("merge", "train", "fit")
    assert module.VERB in VERBS
    assert module.KIND == "fit" or module.VERB == "delta"
    assert module.LABEL
    assert module.REFERENCE
    assert isinstance(module.VERSION, int)
    assert set(module.USES) <= {"dataset", "seed"}
    assert issubclass(module.Params, BaseModel)
    assert module.Params.model_config["extra"] == "forbid"
    for field in module.Params.model_fields.values():
        assert field.description


@pytest.mark.parametrize("module", METHODS.values(), ids=list(METHODS))
def test_what_a_method_declares_of_its_parameters_is_so(module: ModuleType) -> None:
    fields = module.Params.model_fields
    for constant in ("MERGES", "LEAVES_OUT"):
        assert not hasattr(module, constant) or fields[getattr(module, constant)].annotation is int
    for constant, kind in (("RECIPE", "recipes"), ("SCORER", "scorers")):
        if hasattr(module, constant):
            assert fields[getattr(module, constant)].json_schema_extra == alias_of(kind)
    recipes = [name for name, f in fields.items() if f.json_schema_extra == alias_of("recipes")]
    assert recipes == ([module.RECIPE] if hasattr(module, "RECIPE") else [])
    assert module.KIND != "train" or hasattr(module, "RECIPE")
    assert (module.VERB == "choose") == hasattr(module, "SCORER")
    assert hasattr(module, "LEAVES_OUT") == hasattr(module, "REPLICATE_OF")


def test_kind_and_verb_pick_one_rule() -> None:
    found = [*of_kind("merge"), *of_kind("train")]
    found += [name for verb in VERBS for name in of_kind("fit", verb)]
    assert sorted(found) == sorted(METHODS)


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=list(SETTINGS))
def test_what_it_is_made_from_is_of_the_study(
    name: str, values: dict[str, Any], made: Artefacts
) -> None:
    grid = made.grid(name, values)
    for edit in grid.built.values():
        assert set(grid.inputs_of(edit)) <= set(expected_protocols(grid))
        assert edit.seed == "-" or "seed" in METHODS[edit.method].USES


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=list(SETTINGS))
def test_scale_0_is_the_base_bit_for_bit(
    name: str, values: dict[str, Any], made: Artefacts
) -> None:
    base, edit = load_edited(made.base(), 0), EditedModel(made.edit(name, values), device="cpu")
    with torch.no_grad():
        wanted = base(IDS).logits
        assert torch.equal(edit.at(0)(IDS).logits, wanted)
        moved = edit.at(1.0)(IDS).logits
        assert torch.equal(edit.at(0)(IDS).logits, wanted)
    assert torch.isfinite(moved).all()
    assert METHODS[name].VERB == "choose" or not torch.equal(moved, wanted)


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=list(SETTINGS))
def test_generation_does_not_depend_on_the_batch(
    name: str, values: dict[str, Any], made: Artefacts
) -> None:
    """Left padding, positions and caches: whatever the neighbours, a row has its own texts."""
    edit, tokenizer = EditedModel(made.edit(name, values), device="cpu"), pico.tokenizer()
    model, asked = edit.at(1.0), edit.sampling(1.0)
    alone, together = (
        continuations(model, tokenizer, PROMPTS, SAMPLING, size, asked) for size in (1, 64)
    )
    assert alone == together
    base = continuations(edit.at(0), tokenizer, PROMPTS, SAMPLING, 64, edit.sampling(0))
    assert base == continuations(load_edited(made.base(), 0), tokenizer, PROMPTS, SAMPLING, 64)


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=list(SETTINGS))
def test_the_same_inputs_give_the_same_bytes(
    name: str, values: dict[str, Any], made: Artefacts
) -> None:
    edit = made.edit(name, values)
    before = {path.name: sha256(path) for path in edit.parent.iterdir() if path.is_file()}
    shutil.rmtree(edit.parent)
    edit = made.edit(name, values)
    assert before == {path.name: sha256(path) for path in edit.parent.iterdir() if path.is_file()}


@pytest.mark.parametrize(("name", "values"), SETTINGS.items(), ids=list(SETTINGS))
def test_the_manifest_names_its_tensors_and_changes_with_what_it_is_made_from(
    name: str, values: dict[str, Any], made: Artefacts, other: Artefacts
) -> None:
    ours, theirs = (artefacts.edit(name, values) for artefacts in (made, other))
    found = read_json(ours)
    assert found["verb"] == METHODS[name].VERB
    beside = {path.name for path in ours.parent.iterdir() if path.is_file()}
    assert set(files_of_verb(found["verb"])) <= set(found["files"]) == beside - {ours.name}
    assert all(sha256(ours.with_name(file)) == found["files"][file] for file in found["files"])
    differing = read_json(theirs)
    assert found["files"] == {} or differing["files"] != found["files"]
    assert [*differing["inputs"].values()] != [*found["inputs"].values()]
    inputs = {*map(Path, found["inputs"])}
    assert all(sha256(path) == found["inputs"][str(path)] for path in inputs)

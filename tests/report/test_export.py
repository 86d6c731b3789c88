"""An exported folder is what its edit is, says so in numbers, and is whole or not there.

A study of one shard is made on disk by the stages' own functions around a pico model; only the
measurements are written by hand.
"""

import json
import math
import shutil
from pathlib import Path

import pico
import pytest
import torch
from plan import studies
from report.finished import measure, toxicity
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.edited import load_edited
from detoxmerge.errors import UserError
from detoxmerge.models.loading import fetch_model
from detoxmerge.plan.expected import expected_protocols
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.report import export
from detoxmerge.report.export import export_model, stored_dtype
from detoxmerge.storage.artefacts import read_json, sha256, write_json, write_manifest
from detoxmerge.storage.tensors import layout
from detoxmerge.train.job import Job

IDS = torch.tensor([[5, 9, 200, 31, 7]])
EDIT = "small/rude/merge/n=1/seed42"
AT = {"model": "small", "dataset": "rude", "recipe": "default", "n": 1, "shard": 0, "seed": 42}
AT |= {"prompts": "openings", "corpus": "polite", "scorer": "judge"}
AT |= {"edit": "rude/merge/n=1/seed42", "method": "merge", "setting": "n=1"}
SENTENCES = ["The people next door are kind.", "  two  spaces\nand a line, étranger"]


class Study:
    """The study of one edit, in the current folder."""

    def __init__(self, changes=None):
        changes = {
            "models.small": {"path": "model"},
            "methods.merge": {"n": [1]},
            "run.scales": [0.5, 1.0, 2.0],
        } | (changes or {})
        self.grid = Grid(load_config(studies.study(changes)))
        paths = self.grid.paths
        self.edit, self.base = (Path(p.format(**AT)) for p in (paths.edit, paths.base))
        self.selected = Path(paths.selected.format(**AT, selector="budget"))

    def write(self, delta):
        """Every manifest that an export reads; `delta` is the vector of the only shard."""
        p = self.grid.paths
        fetch_model("small", self.grid.protocol.base("small"), None, self.base)
        for pattern in (p.dataset, p.prompts, p.corpus, p.scorer):
            self.manifest(pattern, counts={"num_toxic": 1234})
        self.manifest(p.partition, p.dataset)
        # the pico edit's vector is in the form of a shard's
        pico.delta_edit(self.base, delta, Path(p.shard.format(**AT)).parent)
        self.manifest(p.shard, p.base, p.dataset, p.partition)
        edit = self.grid.edits[0]
        inputs = [Path(path) for path in self.grid.inputs_of(edit)]
        protocol = self.grid.protocol.edit("merge", edit.params)
        make_edit(edit, protocol, self.base, inputs, Job(self.edit))
        for one in ("base", AT["edit"]):
            measure(self.grid, one, AT)
        return self

    def manifest(self, pattern, *inputs, **content):
        path = pattern.format(**AT)
        made_from = [one.format(**AT) for one in inputs]
        expected = expected_protocols(self.grid)[path]
        files = {file.name: sha256(file) for file in Path(path).parent.glob("*.safetensors")}
        write_manifest(path, protocol=expected, inputs=made_from, files=files, **content)

    def folder(self, scale="1"):
        return Path(f"results/exports/{EDIT}/scale{scale}")

    def export(self, scale="1"):
        """Export; gives the folder and its manifest."""
        folder = self.folder(scale)
        export_model(self.grid, f"{EDIT}/scale{scale}", folder / "export.json")
        return folder, json.loads((folder / "export.json").read_text())

    def refused(self, scale="1", error=UserError):
        """The sentence of an export that fails, and leaves nothing."""
        with pytest.raises(error) as raised:
            self.export(scale)
        assert not [p for p in Path("results").rglob("*") if p.name.endswith((".part", ".old"))]
        assert not self.folder(scale).exists()
        assert "\n" not in str(raised.value)
        return str(raised.value)


def build(folder, monkeypatch, model, size=0.1, changes=None):
    """A study around a model, whose vector has this RMS."""
    monkeypatch.chdir(folder)
    delta = pico.noise(model, size=size)
    pico.save(model, Path("model"))
    return Study(changes).write(delta)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a study around a pico GPT-2 in fp32; nobody may change it."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        build(folder, patch, pico.gpt2())
    return folder


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """A copy of it, in the current folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Study()


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def probe(model):
    """The logits that the export itself compares."""
    with torch.no_grad():
        return model(torch.tensor([pico.tokenizer()(export.PROBE)["input_ids"][:64]])).logits


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", ["0.5", "2"])
def test_folder_loads_as_any_model_and_is_the_edit(tmp_path, monkeypatch, family, dtype, scale):
    model = getattr(pico, family)().to(getattr(torch, dtype))
    study = build(tmp_path, monkeypatch, model)
    folder, content = study.export(scale)
    exported = AutoModelForCausalLM.from_pretrained(folder)
    assert str(exported.dtype) == f"torch.{dtype}"
    assert content["weights"]["dtype"] == dtype
    edited = load_edited(study.edit, float(scale))
    if dtype == "float32":
        assert torch.equal(logits(exported), logits(edited))
    # the base as it is loaded from its own folder, with the edit's weights rounded once
    wanted = AutoModelForCausalLM.from_pretrained("model")
    assert not torch.equal(logits(exported), logits(wanted))
    with torch.no_grad():
        for name, parameter in wanted.named_parameters():
            parameter.copy_(edited.get_parameter(name))
            assert torch.equal(exported.get_parameter(name), parameter), name
    assert torch.equal(logits(exported), logits(wanted))
    tied = exported.get_input_embeddings().weight is exported.get_output_embeddings().weight
    assert tied == (family == "gpt2")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_names_shapes_and_dtypes_are_those_of_the_base(tmp_path, monkeypatch, family):
    study = build(tmp_path, monkeypatch, getattr(pico, family)().bfloat16())
    folder, _ = study.export()
    file = "model.safetensors"
    assert layout(folder / file) == layout(Path("model") / file)


def test_fp32_loses_nothing(study):
    _, content = study.export()
    lost = content["weights"]["logit_difference"]
    assert lost["as_loaded"] == lost["weights_cast_only"] == {"max": 0.0, "mean": 0.0}
    edited, base = load_edited(study.edit, 1), load_edited(study.edit, 0)
    gap = (probe(edited) - probe(base)).abs()
    assert lost["edit_to_base"]["max"] == float(gap.max()) > 0
    assert lost["edit_to_base"]["mean"] == pytest.approx(float(gap.mean()))
    assert content["weights"]["num_rounded_back"] == 0
    assert content["weights"]["num_moved"] == base.num_parameters()


def test_loss_by_the_cast_is_that_of_the_logits_and_weights(tmp_path, monkeypatch):
    """A small vector: bf16 puts most of it back on the base's values."""
    study = build(tmp_path, monkeypatch, pico.llama().bfloat16(), size=1e-4)
    folder, content = study.export()
    weights, lost = content["weights"], content["weights"]["logit_difference"]
    exact = load_edited(study.edit, 1)
    for name, dtype in (("as_loaded", torch.bfloat16), ("weights_cast_only", torch.float32)):
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        gap = (probe(loaded).float() - probe(exact)).abs()
        assert lost[name]["max"] == float(gap.max()) > 0
        assert lost[name]["mean"] == pytest.approx(float(gap.mean()))
    before = load_file("model/model.safetensors")
    after = load_file(folder / "model.safetensors")
    back = sum(int((after[name] == before[name]).sum()) for name in before)
    total = sum(tensor.numel() for tensor in before.values())
    assert weights["num_moved"] == total
    assert weights["num_rounded_back"] == back
    assert 0.5 < weights["share_rounded_back"] == back / total < 1
    card = (folder / "README.md").read_text()
    assert f"Rounding put {back / total:.1%} of the weights that the vector moves back" in card
    assert f"| {lost['as_loaded']['max']:.4g} | {lost['as_loaded']['mean']:.4g} |" in card


def test_weight_that_the_vector_does_not_move_was_not_rounded_back(tmp_path, monkeypatch):
    model = pico.llama().bfloat16()
    monkeypatch.setattr(pico, "noise", lambda m, size: still(m))
    folder, content = build(tmp_path, monkeypatch, model).export()
    assert content["weights"]["num_moved"] == content["weights"]["num_rounded_back"] == 0
    assert content["weights"]["share_rounded_back"] is None
    assert "rounded once. The vector moves no weight. Diff" in (folder / "README.md").read_text()


def still(model):
    """A vector of zeros."""
    return {name: torch.zeros(p.shape) for name, p in model.named_parameters()}


def test_fp16_base_stays_fp16_and_what_it_cannot_hold_is_refused(tmp_path, monkeypatch):
    study = build(tmp_path, monkeypatch, pico.gpt2().half())
    folder, content = study.export()
    assert content["weights"]["dtype"] == "float16"
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float16
    huge = {name: 1e5 * tensor for name, tensor in pico.noise(pico.gpt2()).items()}
    study.write(huge)
    folder.rename("elsewhere")
    assert "NaN or infinite logits in torch.float16; the scale is too large" in study.refused()


def test_dtype_is_that_of_most_elements(tmp_path):
    pico.save(pico.llama(), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    mixed = {n: t.bfloat16() if "embed" in n or "mlp" in n else t for n, t in tensors.items()}
    save_file(mixed, file, metadata={"format": "pt"})
    assert stored_dtype(tmp_path) == torch.bfloat16
    save_file({n: t.to(torch.int8) for n, t in tensors.items()}, file, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match="holds its weights as I8, and a vector can be added to F32"
    ):
        stored_dtype(tmp_path)


def test_tokenizer_is_the_bases(study):
    folder, _ = study.export()
    tokenizer, base = (AutoTokenizer.from_pretrained(place) for place in (folder, "model"))
    for text in SENTENCES:
        ids = tokenizer(text)["input_ids"]
        assert ids == base(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == base.eos_token_id
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (Path("model") / name).read_bytes()


def test_configs_keep_what_other_releases_of_the_library_read(tmp_path, monkeypatch):
    """rope_theta is read by older ones, and temperature without sampling is refused by newer."""
    monkeypatch.chdir(tmp_path)
    model, generation = pico.llama(), Path("model/generation_config.json")
    pico.save(model, Path("model"))
    old = json.loads(Path("model/config.json").read_text())
    del old["rope_parameters"]
    old |= {"rope_theta": 500.0, "_name_or_path": "/somewhere"}
    old |= {"dtype": "float16", "torch_dtype": "float16"}  # its files hold float32
    write_json("model/config.json", old)
    write_json(generation, json.loads(generation.read_text()) | {"temperature": 0.9})
    study = Study().write(pico.noise(model))
    folder, _ = study.export()
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500.0
    assert config["dtype"] == "float32"
    assert not {"torch_dtype", "_name_or_path"} & set(config)
    assert (folder / "generation_config.json").read_bytes() == generation.read_bytes()
    wanted = logits(load_edited(study.edit, 1))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), wanted)


def test_large_weights_are_sharded_with_an_index(study, monkeypatch):
    monkeypatch.setattr(export, "MAX_SHARD_SIZE", "20KB")
    folder, content = study.export()
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 1
    assert files | {"model.safetensors.index.json"} <= set(content["files"])
    wanted = logits(load_edited(study.edit, 1))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), wanted)


def test_manifest_has_the_checksum_of_every_file_and_what_it_was_made_from(study):
    folder, content = study.export()
    files = {path.name for path in folder.iterdir()} - {"export.json"}
    assert files == set(content["files"])
    assert {"model.safetensors", "config.json", "README.md", "tokenizer.json"} <= files
    for name, checksum in content["files"].items():
        assert checksum == sha256(folder / name), name
    measured = [study.grid.measurements("small", one) for one in (AT["edit"], "base")]
    expected = {str(study.edit), str(study.base), *measured[0], *measured[1]}
    assert set(content["inputs"]) == expected
    assert content["protocol"] == study.grid.protocol.export()


def test_files_are_as_readable_as_any_others(study):
    folder, _ = study.export()
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert modes == {study.edit.stat().st_mode}


def test_same_study_gives_the_same_bytes(study):
    first, second = ({p.name: p.read_bytes() for p in study.export()[0].iterdir()} for _ in "ab")
    assert first == second


def test_numbers_of_the_scale_stand_beside_the_bases(study):
    for scale in ("0.5", "1"):
        folder, content = study.export(scale)
        rows = {row["metric"]: row for row in content["measured"]}
        assert rows["toxicity_mean"]["edited"] == pytest.approx(toxicity("n=1", scale))
        assert rows["toxicity_mean"]["base"] == 0.5
        ours = f"{math.exp((30 + 2 * float(scale)) / 10):.4g}"
        card = (folder / "README.md").read_text()
        assert (
            f"| toxicity mean, `openings` by `judge` | {toxicity('n=1', scale):.4g} | 0.5 |" in card
        )
        assert f"| perplexity per token, `polite` | {ours} | 20.09 |" in card
        assert f"theta = theta_0 - {scale} * delta" in card


def test_licence_of_the_base_goes_with_it(study):
    Path("model/LICENSE").write_text("MIT License\n\nCopyright (c) somebody\n")
    Path("model/NOTICE.txt").write_text("a notice")
    Path("model/README.md").write_text("the base's own card")
    folder, content = study.export()
    assert content["license"] == {"license": "mit", "told_by": "LICENSE"}
    for name in ("LICENSE", "NOTICE.txt"):
        assert (folder / name).read_bytes() == (Path("model") / name).read_bytes()
    card = (folder / "README.md").read_text()
    assert "\nlicense: mit\n" in card.split("---")[1]
    assert "`mit`, which is the base model's, told by its LICENSE" in card
    assert "the base's own card" not in card


@pytest.mark.parametrize("verb", ["hooks", "logits"])
def test_edit_that_changes_no_weights_is_refused(study, verb):
    made = read_json(study.edit) | {"verb": verb}
    write_json(study.edit, made)
    for one in ("base", AT["edit"]):
        measure(study.grid, one, AT)
    assert f"{study.edit} is of verb '{verb}', not 'delta'" in study.refused()


def test_measurement_of_another_protocol_is_refused(study):
    other = Study({"prompts.openings.generate": {"top_p": 0.5}})
    message = other.refused()
    assert "was made with top_p = 0.9, and the config says 0.5" in message


def test_scale_that_the_study_does_not_measure_is_refused(study):
    with pytest.raises(UserError, match=f"'{EDIT}' has no scale or selector '0.7'"):
        export_model(study.grid, f"{EDIT}/scale0.7", Path("out/export.json"))


BUDGET = {
    "selectors.budget": {"rule": "ppl-budget", "budget": 0.5},
    "run.selectors": ["budget"],
}


def choose(scales, reason):
    """The study in the current folder with a selector, and what it chose."""
    study = Study(BUDGET)
    expected = expected_protocols(study.grid)[str(study.selected)]
    chosen = {"scales": scales, "reason": reason}
    write_manifest(study.selected, protocol=expected, inputs=[], files={}, **chosen)
    return study


def test_selector_that_chose_one_scale_is_followed(study):
    study = choose(["0.5"], "largest within the budget")
    folder, content = study.export("budget")
    assert content["scale"] == "0.5"
    assert content["selection"] == {"selector": "budget", "reason": "largest within the budget"}
    assert content["inputs"][str(study.selected)] == sha256(study.selected)
    assert "chosen by the rule `budget`: largest within the b" in (folder / "README.md").read_text()
    wanted = logits(load_edited(study.edit, 0.5))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), wanted)


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ([], f"the rule 'budget' found no scale for {EDIT} (too costly); export a scale that you"),
        (["0.5", "2"], f"the rule 'budget' found the scales 0.5, 2 for {EDIT}; name the one to"),
        (["0.7"], f"{EDIT} is not measured at scale 0.7; add it to run.scales"),
    ],
)
def test_selector_that_chose_no_single_measured_scale_is_refused(study, scales, words):
    assert words in choose(scales, "too costly").refused("budget")


def test_selector_that_has_not_run_is_refused(study):
    study = Study(BUDGET)
    assert f"{study.selected} is missing" in study.refused("budget")


@pytest.mark.parametrize("late", ["write_manifest", "model_card", "_cast_loss"])
def test_interrupted_export_leaves_nothing(study, monkeypatch, late):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, late, full)
    assert "No space left" in study.refused(error=OSError)


def test_folder_that_is_there_is_replaced_as_a_whole(study, monkeypatch):
    folder, _ = study.export()
    (folder / "stray.safetensors").touch()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with monkeypatch.context() as patch:
        patch.setattr(export, "model_card", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.export()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    study.export()
    assert not (folder / "stray.safetensors").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["scale1"]


def test_tokenizer_of_unknown_files_is_refused(study, monkeypatch):
    monkeypatch.setattr(export, "copy_rest", lambda *_: None)
    with pytest.raises((UserError, OSError, ValueError)):
        study.export()
    assert not study.folder().exists()


def test_all_that_the_base_needs_comes_along_and_the_rest_is_listed(study, capsys):
    base = Path("model")
    for name in ("configuration_own.py", "preprocessor_config.json", "odd.vocabulary"):
        (base / name).write_text("{}")
    templates = base / "additional_chat_templates"
    templates.mkdir()
    (templates / "tools.jinja").write_text("hello")
    (base / "README.md").write_text("the base's card")
    save_file({"v": torch.zeros(2)}, base / "value_head.safetensors")
    write_json(
        base / "config.json",
        json.loads((base / "config.json").read_text())
        | {"auto_map": {"AutoConfig": "gone.Own"}, "transformers_weights": "model.safetensors"},
    )
    study.write(pico.noise(pico.gpt2()))
    folder, content = study.export()
    came = {"configuration_own.py", "preprocessor_config.json", "odd.vocabulary"}
    came.add("additional_chat_templates/tools.jinja")
    assert came <= set(content["files"])
    for name in came:
        assert (folder / name).read_bytes() == (base / name).read_bytes()
        assert content["files"][name] == sha256(folder / name)
    assert "the base's card" not in (folder / "README.md").read_text()
    assert content["left_behind"] == ["README.md", "value_head.safetensors"]
    assert content["missing_code"] == ["gone.py"]
    said = capsys.readouterr().out
    assert "left behind of the base's folder: README.md, value_head.safetensors" in said
    assert "the base's configs name gone.py" in said
    assert "transformers_weights" not in json.loads((folder / "config.json").read_text())
    wanted = logits(load_edited(study.edit, 1))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), wanted)
    mode = (folder / "README.md").stat().st_mode
    assert all(path.stat().st_mode == mode for path in folder.rglob("*") if path.is_file())

"""What models/scorers/__init__.py asks of every kind of scorer, whichever files there are."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from plan.studies import comments, study
from transformers import BatchEncoding

from detoxmerge.edit.verbs import tensor_bytes
from detoxmerge.models import scorers
from detoxmerge.models.batch_size import RowLimit, scoring_limit
from detoxmerge.models.scorers import (
    Fetched,
    TokenScorer,
    fetch_scorer,
    load_scorer,
    write_scorer,
)
from detoxmerge.models.scoring import predictor, score_texts
from detoxmerge.plan.catalogue import Scorer
from detoxmerge.plan.config import Config
from detoxmerge.plan.load import load_config
from detoxmerge.plan.local import LocalPath, files_of
from detoxmerge.plan.protocol import VERSION, Protocol
from detoxmerge.plan.registry import SCORERS

TEXTS = ["You are a fool.", "Good morning.", "An idiot."]


def checkpoint(folder: Path) -> dict[str, str]:
    """A local checkpoint, with the folder that stands for its tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("a\n")
    arch = {"args": {"model_type": "bert", "num_classes": 2}}
    torch.save({"config": {"arch": arch}, "state_dict": {}}, folder / "own.ckpt")
    return {"file": str(folder / "own.ckpt"), "tokenizer": str(folder)}


# a value of each kind, made from a folder: a new kind adds a line
VALUES = {
    "checkpoint": checkpoint,
    "detoxify": lambda _: "original",
    "train": lambda _: {"texts": [comments()], "test": {"own": comments()}},
}


class Words:
    """In place of a tokenizer: a token per word, its length."""

    model_max_length = 64

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[len(word) for word in text.split()] for text in texts]}

    def pad(self, rows: dict[str, list[list[int]]], **_: Any) -> BatchEncoding:
        longest = max(map(len, rows["input_ids"]))
        padded = [row + [0] * (longest - len(row)) for row in rows["input_ids"]]
        return BatchEncoding({"input_ids": torch.tensor(padded)})


class Letters(torch.nn.Linear):
    """In place of a network: a text is as toxic as it has letters."""

    device = "cpu"

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor]:  # type: ignore[override]
        letters = input_ids.sum(dim=1, keepdim=True)
        return (torch.logit(letters / 100).expand(-1, 2),)


class Stub:
    """A Detoxify without a network."""

    def __init__(self, **_: Any) -> None:
        self.class_names = ["toxicity", "insult"]
        self.model, self.tokenizer = Letters(3, 2), Words()

    def predict(self, texts: list[str]) -> dict[str, list[float]]:
        letters = [len("".join(text.split())) / 100 for text in texts]
        return dict.fromkeys(self.class_names, letters)


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network and no download; what is around them is as it is."""
    module: Any = ModuleType("detoxify")
    module.Detoxify = Stub
    monkeypatch.setitem(sys.modules, "detoxify", module)

    def download(url: str, path: str, **_: Any) -> None:
        Path(path).write_bytes(Path(checkpoint(tmp_path / "release")["file"]).read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')


@pytest.fixture(params=list(SCORERS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(kind: str, tmp_path: Path) -> Config:
    """A study whose scorer is of the kind."""
    value = VALUES[kind](tmp_path / "own")
    return load_config(study({"scorers.judge": {kind: value}}))


def entry_of(config: Config) -> Scorer:
    return config.scorers["judge"]


def made(config: Config, kind: str, out: Path) -> Path:
    """The manifest of the scorer, as its rule writes it."""
    protocol = Protocol(config).scorer("judge")
    out.parent.mkdir(parents=True, exist_ok=True)
    if SCORERS[kind].RULE == "fetch_scorer":
        fetch_scorer("judge", protocol, out)
    else:  # training has tests of its own; its manifest is that of a checkpoint
        place = checkpoint(out.parent)
        fields = {"checkpoint": place["file"], "tokenizer": {"path": place["tokenizer"]}}
        write_scorer(out, protocol, kind, Fetched(fields, [Path(place["file"])]))
    return out


def test_every_kind_is_tested() -> None:
    assert VALUES.keys() == set(SCORERS)


def test_it_says_which_rule_makes_it(config: Config, kind: str) -> None:
    assert entry_of(config).kind == kind
    assert entry_of(config).rule in VERSION
    assert hasattr(SCORERS[kind], "fetch") == (entry_of(config).rule == "fetch_scorer")


def test_the_schema_documents_it(kind: str) -> None:
    field = Config.model_json_schema()["$defs"]["Scorer"]["properties"][kind]
    assert field["description"] == SCORERS[kind].__doc__.splitlines()[0]


def test_its_protocol_names_no_other_kind(config: Config, kind: str) -> None:
    protocol = Protocol(config).scorer("judge")
    assert protocol.keys() == {"version", kind}
    assert entry_of(config).protocol() == {kind: protocol[kind]}


def test_two_kinds_in_one_entry_are_refused(kind: str, tmp_path: Path) -> None:
    other = next(name for name in SCORERS if name != kind)
    both = {name: VALUES[name](tmp_path / name) for name in (kind, other)}
    with pytest.raises(ValueError, match="must have exactly one of"):
        Scorer.model_validate(both)


def test_its_local_paths_are_there_and_have_files(config: Config) -> None:
    paths = entry_of(config).local_paths()
    assert all(isinstance(path, LocalPath) and path.is_there() for path in paths)
    assert all(Path(file).is_file() for file in files_of(paths))


def test_a_local_path_that_is_gone_is_named(config: Config, kind: str) -> None:
    for path in entry_of(config).local_paths():
        Path(path.path).rename(Path(path.path).with_suffix(".gone"))
        with pytest.raises(SystemExit, match=rf"scorers\.judge\.{kind}\.{path.key}: no "):
            load_config(config.model_dump())
        Path(path.path).with_suffix(".gone").rename(path.path)


def test_a_card_has_words_for_it(config: Config) -> None:
    words = entry_of(config).words()
    assert words.endswith("; label `toxicity`")
    assert "\n" not in words


def test_its_manifest_says_its_kind_and_is_enough_to_load_it(
    config: Config, kind: str, tmp_path: Path
) -> None:
    manifest = made(config, kind, tmp_path / "judge" / "scorer.json")
    fields = scorers.read_json(manifest)
    assert fields["kind"] == kind
    assert fields["protocol"] == Protocol(config).scorer("judge")
    assert fields["files"]
    loaded = load_scorer(manifest, "cpu")
    assert list(loaded.class_names) == fields["labels"]


def test_it_scores_each_text_by_each_label_and_has_a_size(
    config: Config, kind: str, tmp_path: Path
) -> None:
    loaded = load_scorer(made(config, kind, tmp_path / "judge" / "scorer.json"), "cpu")
    scores = loaded.predict(TEXTS)
    assert list(scores) == list(loaded.class_names)
    assert all(len(column) == len(TEXTS) for column in scores.values())
    assert all(0 <= score <= 1 for column in scores.values() for score in column)
    predict = predictor(loaded, loaded.class_names[0], "judge")
    assert score_texts(TEXTS, predict, scoring_limit(loaded.model, "auto")).shape == (len(TEXTS),)
    assert tensor_bytes([*loaded.model.parameters(), *loaded.model.buffers()]) > 0


def test_texts_tokenised_apart_have_the_scores_of_predict(
    config: Config, kind: str, tmp_path: Path
) -> None:
    loaded = load_scorer(made(config, kind, tmp_path / "judge" / "scorer.json"), "cpu")
    if not isinstance(loaded, TokenScorer):
        return
    for batch in (TEXTS, TEXTS[:1]):
        rows = loaded.encode(batch)
        assert all(row.length > 0 for row in rows)
        scores, wanted = (
            loaded.predict_encoded([row.content for row in rows]),
            loaded.predict(batch),
        )
        assert list(scores) == list(wanted)
        for name, column in scores.items():
            assert column == pytest.approx(wanted[name], abs=1e-6)


def test_a_scorer_that_only_predicts_is_enough() -> None:
    assert not isinstance(Stub(), TokenScorer)
    scores = score_texts(TEXTS, predictor(Stub(), "toxicity", "judge"), RowLimit(2))
    assert scores.tolist() == Stub().predict(TEXTS)["toxicity"]


def test_the_same_scorer_gives_the_same_manifest(config: Config, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "judge" / "scorer.json"
    before = made(config, kind, out).read_bytes()
    assert made(config, kind, out).read_bytes() == before

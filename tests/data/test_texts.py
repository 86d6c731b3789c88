"""Prompt sets and corpora: the texts as they are kept, and their manifests."""

import json

import pandas as pd
import pytest
from data.entries import corpus, prompts

from detoxmerge.data.texts import prepare_corpus, prepare_prompts, read_prompts
from detoxmerge.errors import UserError
from detoxmerge.storage.artefacts import sha256


def write(folder, texts):
    pd.DataFrame({"text": pd.array(texts, dtype="string")}).to_parquet(folder / "raw.parquet")
    return str(folder / "raw.parquet")


def make_prompts(folder, **source):
    prepare_prompts("openings", prompts(**source), folder / "p.json", folder / "p.jsonl")
    return json.loads((folder / "p.json").read_text()), folder / "p.jsonl"


def make_corpus(folder, **source):
    prepare_corpus("polite", corpus(**source), folder / "c.json", folder / "c.txt")
    return json.loads((folder / "c.json").read_text()), (folder / "c.txt").read_bytes().decode()


def test_prompts_come_back_as_they_were(tmp_path):
    texts = ["plain", "two\nlines", 'quote " and \\', "é “curly”\u2028separator", " spaces "]
    _, lines = make_prompts(tmp_path, path=write(tmp_path, texts))
    assert read_prompts(lines) == texts


def test_prompts_without_text_are_left_out_and_counted(tmp_path):
    manifest, lines = make_prompts(tmp_path, path=write(tmp_path, ["a", None, " ", "b"]))
    assert read_prompts(lines) == ["a", "b"]
    assert manifest["counts"] == {"num_prompts": 2, "num_without_text": 2}


def test_prompts_manifest_certifies_the_lines(tmp_path):
    generated = {"kind": "prompts", "rows": 6, "seed": 3}
    manifest, lines = make_prompts(tmp_path, generated=generated)
    assert manifest["files"] == {"p.jsonl": sha256(lines)}
    assert manifest["origin"] == {"generated": generated}
    assert manifest["protocol"] == prompts(generated=generated)


def test_prompts_of_one_config_are_the_same_bytes(tmp_path):
    generated = {"kind": "prompts", "rows": 30, "seed": 3}
    found = []
    for _ in range(2):
        _, lines = make_prompts(tmp_path, generated=generated, sample={"rows": 9, "seed": 1})
        found.append((lines.read_bytes(), (tmp_path / "p.json").read_bytes()))
    assert found[0] == found[1]


def test_prompts_without_any_text_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"prompts\.openings has 1 rows and none has text"):
        make_prompts(tmp_path, path=write(tmp_path, [" "]))
    assert not (tmp_path / "p.json").exists()


def test_corpus_is_joined_as_configured(tmp_path):
    path = write(tmp_path, ["a", "b\r\n", "c"])
    assert make_corpus(tmp_path, path=path)[1] == "a\n\nb\r\n\n\nc"
    assert make_corpus(tmp_path, path=path, join="|")[1] == "a|b\r\n|c"


def test_blank_rows_of_a_corpus_stay(tmp_path):
    manifest, text = make_corpus(tmp_path, path=write(tmp_path, ["a", "", None, "é"]), join="|")
    assert text == "a|||é"
    assert manifest["counts"] == {"num_rows": 4, "num_characters": 5}


def test_corpus_manifest_certifies_the_text(tmp_path):
    manifest, _ = make_corpus(tmp_path, generated={"kind": "comments", "rows": 4, "seed": 1})
    assert manifest["files"] == {"c.txt": sha256(tmp_path / "c.txt")}


def test_corpus_without_any_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"corpora\.polite has 2 rows and none has text"):
        make_corpus(tmp_path, path=write(tmp_path, ["", None]))
    assert not (tmp_path / "c.txt").exists()

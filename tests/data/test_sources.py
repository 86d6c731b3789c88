"""Rows of text from files, the hub and the generator: what is read, and what is refused how.

No file is written outside of the test's folder, and the hub is never asked.
"""

import errno
import gzip
import json
import os

import datasets
import pandas as pd
import pytest
from data.entries import HASH, dataset

from detoxmerge.data import rows
from detoxmerge.data.sources import origin, part_of, read_rows, require_text
from detoxmerge.errors import UserError
from detoxmerge.storage.artefacts import sha256

ROWS = [
    {"text": "a", "toxicity": 0.9, "split": "train", "likes": 1},
    {"text": "b", "toxicity": 0.1, "split": "test", "likes": 2},
    {"text": "c", "toxicity": 0.5, "split": "train", "likes": 1},
]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write(path, rows=ROWS):
    """A file of these rows in the format of its name."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text(lines)
    return str(path)


def read(columns=("text", "toxicity"), **source):
    return read_rows(dataset(**source), "datasets.rude", list(columns))[0]


def refused(**source):
    """The one line with which a source is refused."""
    with pytest.raises(UserError) as error:
        read(**source)
    assert "\n" not in str(error.value).strip()
    return str(error.value)


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.json", "x.csv", "x.jsonl.gz"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    found = read(path=write(tmp_path / name))
    assert found.to_dict("list") == {"text": ["a", "b", "c"], "toxicity": [0.9, 0.1, 0.5]}


def test_files_are_concatenated_in_the_order_of_the_config(tmp_path):
    paths = [write(tmp_path / "z.jsonl", ROWS[:1]), write(tmp_path / "a.jsonl", ROWS[1:])]
    assert read(path=paths)["text"].tolist() == ["a", "b", "c"]


def test_file_that_changed_is_read_anew(tmp_path):
    path = write(tmp_path / "x.jsonl")
    assert len(read(path=path)) == 3
    write(tmp_path / "x.jsonl", [{"text": "new", "toxicity": 1.0}])
    assert read(path=path)["text"].tolist() == ["new"]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl.gz"])
def test_file_that_changed_and_kept_its_time_is_read_anew(tmp_path, name):
    path = write(tmp_path / name)
    read(path=path)
    before = os.stat(path)
    write(tmp_path / name, [ROWS[0] | {"text": "d"}, *ROWS[1:]])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(path=path)["text"].tolist() == ["d", "b", "c"]


def test_a_path_is_no_pattern(tmp_path):
    for folder, text in (("data [2]", "right"), ("data 2", "wrong")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.csv", [{"text": text, "toxicity": 0.5}])
    assert read(path=str(tmp_path / "data [2]" / "x.csv"))["text"].tolist() == ["right"]


def test_words_of_a_csv_that_mean_nothing_elsewhere_are_text(tmp_path):
    (tmp_path / "x.csv").write_text("text,toxicity\nNA,0.5\nnull,NA\n5,0.1\n,0.2\n")
    found = read(path=str(tmp_path / "x.csv"))
    assert found["text"].fillna("missing").tolist() == ["NA", "null", "5", "missing"]
    numbers = pd.to_numeric(found["toxicity"], errors="coerce")
    assert numbers.isna().tolist() == [False, True, False, False]


def test_a_csv_with_commas_outside_of_quotes_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,toxicity,severe\nyou, fool,0.1,0.2\nhi, bob,0.9,0.3\n")
    assert "put texts with commas in quotes" in refused(path=str(path))
    path.write_text("text,toxicity\nyou,0.1\nhi, bob,0.9\n")
    assert "x.csv" in refused(path=str(path))


def test_numbers_among_texts_are_refused(tmp_path):
    path = write(tmp_path / "x.jsonl", [*ROWS, {"text": 5, "toxicity": 0.1}])
    assert "'text' holds values of different types" in refused(path=path)


def test_a_filter_that_leaves_nothing_is_named(tmp_path):
    path = write(tmp_path / "x.jsonl")
    assert "none of 3 rows is one where 'split' is 'dev'" in refused(
        path=path, where={"split": "dev"}
    )
    test = [row for row in ROWS if part_of(row["text"]) == "test"]
    path = write(tmp_path / "y.jsonl", test)
    assert "is one of part 'validation'" in refused(path=path, part="validation")


def test_a_csv_that_is_no_utf8_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "x.csv").write_bytes("text,toxicity\nf\xfcr,0.5\n".encode("latin-1"))
    assert "save it as UTF-8" in refused(path=str(tmp_path / "x.csv"))


def test_a_file_that_may_not_be_read_is_named(monkeypatch, tmp_path):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(rows, "_opened", denied)
    path = write(tmp_path / "x.csv")
    assert f"{path}: Permission denied; mend its permissions" in refused(path=path)


def test_where_leaves_out_rows_that_differ(tmp_path):
    path = write(tmp_path / "x.jsonl")
    found = read(path=path, where={"split": "train", "likes": 1})
    assert found["text"].tolist() == ["a", "c"]
    assert found.index.tolist() == [0, 1]
    assert found.columns.tolist() == ["text", "toxicity"]


def test_nested_column_is_named_with_a_dot(tmp_path):
    rows = [{"prompt": {"text": "a", "toxicity": 0.5}, "challenging": False}]
    found = read(["prompt.text"], path=write(tmp_path / "x.jsonl", rows))
    assert found["prompt.text"].tolist() == ["a"]


def test_where_can_name_a_nested_column(tmp_path):
    rows = [{"text": t, "toxicity": 0.5, "about": {"lang": t}} for t in ("en", "de")]
    found = read(path=write(tmp_path / "x.jsonl", rows), where={"about.lang": "de"})
    assert found["text"].tolist() == ["de"]


def test_sample_is_seeded_without_replacement_and_in_order():
    source = {"generated": {"kind": "comments", "rows": 40, "seed": 1}}
    every = read(**source)["text"].tolist()
    found = [
        read(**source, sample={"rows": 10, "seed": seed})["text"].tolist() for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]
    assert len(set(found[0])) == 10
    assert found[0] == [text for text in every if text in found[0]]


def test_sample_is_drawn_after_where():
    source = {"generated": {"kind": "comments", "rows": 40, "seed": 1}, "where": {"tone": "rude"}}
    count = len(read(**source))
    assert 0 < count < 40
    found = read(**source, sample={"rows": count, "seed": 1})
    assert (found["toxicity"] > 0.8).all()


def test_generated_rows_are_those_of_the_generator():
    from detoxmerge.data.generated import comments

    found = read(generated={"kind": "comments", "rows": 5, "seed": 3})
    assert found["text"].tolist() == [row["text"] for row in comments(5, 3)]


def test_missing_column_is_named_with_the_nearest_one(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"txt": "a", "toxicity": 0.5}])
    said = refused(path=path)
    assert said.startswith("datasets.rude has no field 'text'; did you mean 'txt'?")
    assert "txt, toxicity" in said


def test_missing_column_of_where_is_named(tmp_path):
    said = refused(path=write(tmp_path / "x.jsonl"), where={"splt": "train"})
    assert said.startswith("datasets.rude has no field 'splt'; did you mean 'split'?")


def test_sample_larger_than_the_source_is_refused(tmp_path):
    said = refused(path=write(tmp_path / "x.jsonl"), sample={"rows": 4, "seed": 1})
    assert said == "datasets.rude has 3 rows, fewer than sample.rows 4; lower it"


def test_missing_file_is_refused(tmp_path):
    said = refused(path=f"{tmp_path}/gone.csv")
    assert said.startswith(f"datasets.rude: no file '{tmp_path}/gone.csv'; mend its path")


def test_unknown_format_is_refused_with_the_known_ones(tmp_path):
    said = refused(path=write(tmp_path / "x.txt"))
    assert said.endswith("x.txt' has none of the formats .parquet, .jsonl, .json, .csv")


def test_files_of_different_formats_are_refused(tmp_path):
    said = refused(path=[write(tmp_path / "x.csv"), write(tmp_path / "x.jsonl")])
    assert said == "datasets.rude: its files have different formats: csv, json"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl", b'{"text": "a", "toxicity": 0.5}\n{"text": "b", "tox'),
        ("empty.jsonl", b""),
        ("ragged.csv", b"text,toxicity\na,0.5\nb,0.5,1,2\n"),
        ("empty.csv", b""),
        ("cut.parquet", b"PAR1 and no footer"),
        ("plain.jsonl.gz", b'{"text": "a", "toxicity": 0.5}\n'),
        ("cut.jsonl.gz", gzip.compress(b'{"text": "a", "toxicity": 0.5}\n' * 99)[:-20]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_file_is_refused_in_one_line_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    said = refused(path=str(tmp_path / name))
    assert said.startswith("datasets.rude: ")
    assert name in said


def test_text_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xe9", "toxicity": 0.5}\n')
    with pytest.raises(UserError, match=r"^datasets\.rude"):
        require_text(read(path=f"{tmp_path}/latin.jsonl"), "text", "datasets.rude")


def test_unreachable_hub_is_refused_with_id_revision_and_a_way_out(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    said = refused(hub="google/civil_comments", revision=HASH, splits="train")
    assert said.startswith(f"the data set google/civil_comments at revision {HASH} could not be ")
    assert "ConnectionError: Couldn't reach the hub" in said
    assert "or replace, in datasets.rude, `hub` and `revision` by `path`, a local copy" in said


def test_offline_hub_is_refused_like_an_unreachable_one():
    """With the client's own offline mode, which GPU jobs run in."""
    said = refused(hub="no-such-owner/no-such-set", revision=HASH, splits="train")
    assert f"no-such-owner/no-such-set at revision {HASH}" in said
    assert "`path`" in said


def test_splits_of_the_hub_are_concatenated_in_the_order_of_the_config(monkeypatch):
    asked = []

    def load_dataset(hub, subset, *, split, revision):
        asked.append((hub, subset, split, revision))
        return datasets.Dataset.from_list([{"text": split, "toxicity": 0.5}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = read(hub="a/b", revision=HASH, subset="c", splits=["train", "test"])
    assert found["text"].tolist() == ["train", "test"]
    assert asked == [("a/b", "c", split, HASH) for split in ("train", "test")]


def test_origin_says_what_was_read(monkeypatch, tmp_path):
    path = write(tmp_path / "x.jsonl")
    monkeypatch.setenv("HERE", str(tmp_path))
    assert origin(dataset(path="$HERE/x.jsonl")) == {"sha256": {"$HERE/x.jsonl": sha256(path)}}
    hub = dataset(hub="a/b", revision=HASH, splits="train")
    assert origin(hub) == {"hub": "a/b", "revision": HASH}
    generated = {"kind": "comments", "rows": 5, "seed": 3}
    assert origin(dataset(generated=generated)) == {"generated": generated}


def test_rows_without_text_are_left_out_and_counted():
    frame = pd.DataFrame({"text": ["a", "", "  \n", None, float("nan"), 5, "b"]})
    found, left_out = require_text(frame, "text", "prompts.x")
    assert found["text"].tolist() == ["a", "b"]
    assert found.index.tolist() == [0, 1]
    assert left_out == 5


def test_source_without_any_text_is_refused():
    with pytest.raises(UserError, match=r"prompts\.x has 2 rows and none has text in 'text'"):
        require_text(pd.DataFrame({"text": ["", None]}), "text", "prompts.x")


def test_parts_share_no_text_whatever_was_sampled(tmp_path):
    rows = [{"text": f"text {i % 300}", "toxicity": 0.5} for i in range(400)]
    path = write(tmp_path / "x.parquet", rows)
    parts = [set(read(path=path, part=part)["text"]) for part in ("validation", "test")]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 300
    assert 40 < len(parts[0]) < 80  # a fifth of 300
    sampled = read(path=path, part="validation", sample={"rows": 20, "seed": 1})
    assert set(sampled["text"]) <= parts[0]

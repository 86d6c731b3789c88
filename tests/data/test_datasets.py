"""A data set's toxic and non-toxic part, their counts, and the partition of the toxic part."""

import json
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from data.entries import dataset

from detoxmerge.data.datasets import prepare_dataset, shard_texts, split_dataset
from detoxmerge.errors import UserError
from detoxmerge.storage.artefacts import sha256

GENERATED = {"generated": {"kind": "comments", "rows": 120, "seed": 7}}


def prepare(folder, **source):
    """Manifest, toxic and non-toxic part of a data set."""
    out, toxic, nontoxic = (folder / n for n in ("dataset.json", "t.parquet", "n.parquet"))
    prepare_dataset("rude", dataset(**source), out, toxic, nontoxic)
    return json.loads(out.read_text()), pd.read_parquet(toxic), pd.read_parquet(nontoxic)


def write(folder, scores, texts=None, dtype=np.float64):
    texts = texts or [f"text {i}" for i in range(len(scores))]
    frame = pd.DataFrame({"text": texts, "toxicity": pd.array(scores, dtype=dtype)})
    frame.to_parquet(folder / "raw.parquet")
    return str(folder / "raw.parquet")


def refused(folder, **source):
    with pytest.raises(UserError) as error:
        prepare(folder, **source)
    assert not (folder / "dataset.json").exists()
    return str(error.value)


def split(folder, n, seed=42, rows=23):
    """The shards of a data set of so many toxic texts, and the bytes of the partition."""
    manifest, out = folder / "dataset.json", folder / f"partition-n{n}.json"
    manifest.write_text(json.dumps({"counts": {"num_toxic": rows}}))
    split_dataset(manifest, n, {"version": 1, "seed": seed}, out)
    return json.loads(out.read_text())["shards"], out.read_bytes()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_toxic_is_strictly_above_and_nontoxic_strictly_below(tmp_path, dtype):
    """Whatever the width of the score: 0.8 in single precision is 0.8, and not above it."""
    path = write(tmp_path, [0.79, 0.8, 0.81, 0.21, 0.2, 0.19], dtype=dtype)
    _, toxic, nontoxic = prepare(tmp_path, path=path)
    assert toxic["text"].tolist() == ["text 2"]
    assert nontoxic["text"].tolist() == ["text 5"]


def test_thresholds_are_those_of_the_config(tmp_path):
    path = write(tmp_path, [0.6, 0.5, 0.4, 0.3])
    _, toxic, nontoxic = prepare(tmp_path, path=path, toxic_above=0.5, nontoxic_below=0.4)
    assert toxic["score"].tolist() == [0.6]
    assert nontoxic["score"].tolist() == [0.3]


def test_parts_hold_text_and_score_in_the_order_of_the_source(tmp_path):
    path = write(tmp_path, [0.95, 0.1, 0.9, 0.05])
    _, toxic, nontoxic = prepare(tmp_path, path=path)
    assert toxic.to_dict("list") == {"text": ["text 0", "text 2"], "score": [0.95, 0.9]}
    assert nontoxic.to_dict("list") == {"text": ["text 1", "text 3"], "score": [0.1, 0.05]}


def test_columns_of_other_names_are_renamed(tmp_path):
    raw = pd.DataFrame({"score": ["a"], "text": [0.9], "more": [1]})
    raw.to_parquet(tmp_path / "raw.parquet")
    source = {"path": f"{tmp_path}/raw.parquet", "text": "score", "score": "text"}
    _, toxic, _ = prepare(tmp_path, **source)
    assert toxic.to_dict("list") == {"text": ["a"], "score": [0.9]}


def test_manifest_counts_every_row_once(tmp_path):
    scores = [0.9, 0.9, None, 0.5, 0.1, 0.1, 0.9]
    texts = ["a", None, "c", "d", "e", "f", "   "]
    manifest, toxic, nontoxic = prepare(tmp_path, path=write(tmp_path, scores, texts))
    counts = manifest["counts"]
    assert counts == {
        "num_rows": 7,
        "num_without_text": 2,
        "num_without_score": 1,
        "num_toxic": 1,
        "num_between": 1,
        "num_nontoxic": 2,
        "num_nontoxic_kept": 2,
    }
    assert counts["num_toxic"] == len(toxic)
    assert counts["num_nontoxic_kept"] == len(nontoxic)


def test_manifest_certifies_both_parts_and_the_origin(tmp_path):
    path = write(tmp_path, [0.9, 0.1])
    manifest, _, _ = prepare(tmp_path, path=path)
    files = {name: sha256(tmp_path / name) for name in ("t.parquet", "n.parquet")}
    assert manifest["files"] == files
    assert manifest["origin"] == {"sha256": {path: sha256(path)}}
    assert manifest["protocol"] == dataset(path=path)


def test_same_config_gives_the_same_bytes(tmp_path):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, **GENERATED, nontoxic_share=0.5)
        found.append([sha256(file) for file in sorted((tmp_path / name).iterdir())])
    assert found[0] == found[1]


def test_share_of_the_nontoxic_part_is_seeded(tmp_path):
    def kept(**more):
        return prepare(tmp_path, **GENERATED, **more)[2]["text"].tolist()

    every, half = kept(), kept(nontoxic_share=0.5)
    assert len(half) == round(0.5 * len(every))
    assert half == [text for text in every if text in half]
    assert half == kept(nontoxic_share=0.5)
    assert half != kept(nontoxic_share=0.5, nontoxic_seed=1)


def test_score_as_text_is_read_and_an_empty_one_is_missing(tmp_path):
    rows = [{"text": "a", "toxicity": "0.9"}, {"text": "b", "toxicity": ""}]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    manifest, toxic, _ = prepare(tmp_path, path=f"{tmp_path}/raw.jsonl")
    assert toxic["score"].tolist() == [0.9]
    assert manifest["counts"]["num_without_score"] == 1


@pytest.mark.parametrize("score", [1.5, -0.1, 5, float("inf")])
def test_score_outside_of_0_to_1_is_refused(tmp_path, score):
    said = refused(tmp_path, path=write(tmp_path, [0.9, score]))
    assert said.startswith("datasets.rude: 1 scores in 'toxicity' lie outside 0..1, the first is ")
    assert "rescale them or choose another field" in said


def test_no_score_at_all_is_refused(tmp_path):
    said = refused(tmp_path, path=write(tmp_path, [None, None]))
    assert said == "datasets.rude: no row has a number in 'toxicity'; check `score`"


def test_no_toxic_text_is_refused_with_the_highest_score(tmp_path):
    said = refused(tmp_path, path=write(tmp_path, [0.8, 0.1]))
    assert "none of 2 scored texts has toxicity > 0.8 (the highest is 0.8)" in said
    assert "lower toxic_above" in said


def test_unknown_score_field_is_refused_with_the_nearest_one(tmp_path):
    said = refused(tmp_path, path=write(tmp_path, [0.9]), score="toxicty")
    assert said.startswith("datasets.rude has no field 'toxicty'; did you mean 'toxicity'?")


@pytest.mark.parametrize("n", [1, 2, 3, 5, 22, 23])
def test_shards_are_a_partition_and_their_sizes_differ_by_at_most_one(tmp_path, n):
    shards, _ = split(tmp_path, n)
    assert len(shards) == n
    assert sorted(chain(*shards)) == list(range(23))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_rows_are_shuffled_before_the_cut(tmp_path):
    (only,), _ = split(tmp_path, 1)
    assert only != sorted(only)


def test_same_seed_gives_the_same_bytes_and_another_seed_other_shards(tmp_path):
    first, again, other = (split(tmp_path, 5, seed=seed) for seed in (42, 42, 43))
    assert first[1] == again[1]
    assert first[0] != other[0]


def test_partition_records_its_protocol_and_the_data_set(tmp_path):
    split(tmp_path, 2)
    found = json.loads((tmp_path / "partition-n2.json").read_text())
    assert found["protocol"] == {"version": 1, "seed": 42}
    manifest = tmp_path / "dataset.json"
    assert found["inputs"] == {str(manifest): sha256(manifest)}


def test_more_shards_than_texts_are_refused(tmp_path):
    with pytest.raises(UserError) as error:
        split(tmp_path, 24)
    said = str(error.value)
    assert "has 23 toxic texts, fewer than n = 24 shards" in said
    assert "lower n" in said
    assert not (tmp_path / "partition-n24.json").exists()


def test_texts_of_the_shards_are_the_toxic_texts(tmp_path):
    _, toxic, _ = prepare(tmp_path, **GENERATED)
    split_dataset(tmp_path / "dataset.json", 4, {"seed": 1}, tmp_path / "p.json")
    found = [shard_texts(tmp_path / "t.parquet", tmp_path / "p.json", shard) for shard in range(4)]
    assert sorted(chain(*found)) == sorted(toxic["text"])
    order = json.loads((tmp_path / "p.json").read_text())["shards"]
    assert found[2] == [toxic["text"][row] for row in order[2]]


def test_shard_beyond_the_partition_is_refused(tmp_path):
    prepare(tmp_path, **GENERATED)
    split_dataset(tmp_path / "dataset.json", 2, {"seed": 1}, tmp_path / "p.json")
    with pytest.raises(UserError, match=r"has 2 shards, 0 to 1, and no shard 2"):
        shard_texts(tmp_path / "t.parquet", tmp_path / "p.json", 2)

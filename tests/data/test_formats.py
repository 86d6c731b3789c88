"""Tables as people have them: odd types, broken rows, other marks. Each is read, or one sentence.

Rows that are not asked for decide nothing, and no row is lost without a word.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.entries import corpus, dataset, prompts

from detoxmerge.data.datasets import prepare_dataset
from detoxmerge.data.sources import read_rows
from detoxmerge.data.texts import prepare_corpus, prepare_prompts
from detoxmerge.errors import UserError

ROWS = 12_000
LAST = ROWS - 1
ASKED = ["text", "toxicity"]
# a value of nearly all rows, and that of the last one; None: the row has no such field
LATE: dict[str, tuple[Any, Any]] = {
    "a remark that only the last row has": (None, "seen by hand"),
    "numbers, and a word": (1, "b7"),
    "words, and a number": ("b7", 1),
    "integers, and a float": (0, 0.83),
    "truth values, and a word": (True, "perhaps"),
    "numbers, and an object": (1, {"a": [1, {"b": None}]}),
    "objects, and others": ({"a": 1}, {"a": "x", "b": 2}),
    "nothing, and a list": (None, [1, "a"]),
}


def rows_with(early: Any, late: Any) -> list[dict[str, Any]]:
    """Rows of which the last one alone is toxic and has another kind of `remark`."""
    values = [early] * LAST + [late]
    return [
        {"text": f"row {i}", "toxicity": 0.9 if i == LAST else 0}
        | ({} if value is None else {"remark": value})
        for i, value in enumerate(values)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """A file of the format of its name."""
    if ".csv" in path.name:
        texts = [{k: str(v) for k, v in row.items()} for row in rows]
        content = pd.DataFrame(texts).to_csv(index=False)
    elif path.name.startswith("array"):
        content = json.dumps(rows, indent=1)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def prepared(folder: Path, **source: Any) -> dict[str, int]:
    """The counts of a data set."""
    out, *parts = (folder / n for n in ("dataset.json", "toxic.parquet", "nontoxic.parquet"))
    prepare_dataset("rude", dataset(**source), out, *parts)
    return json.loads(out.read_text())["counts"]


def refused(
    folder: Path, content: str | bytes | None = None, name: str = "x.csv", **more: Any
) -> str:
    """The one sentence with which a file is refused; nothing is written."""
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    with pytest.raises(UserError) as error:
        prepared(folder, path=str(folder / name), **more)
    assert not list(folder.glob("*toxic.parquet"))
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith("datasets.rude")
    return said


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.csv.gz", "x.jsonl.gz", "array.json"])
@pytest.mark.parametrize("kind", LATE)
def test_a_column_that_is_not_asked_for_may_change_its_type_late(
    kind: str, name: str, tmp_path: Path
) -> None:
    counts = prepared(tmp_path, path=write(tmp_path / name, rows_with(*LATE[kind])))
    assert (counts["num_rows"], counts["num_toxic"], counts["num_nontoxic"]) == (ROWS, 1, LAST)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize(
    ("early", "late", "without"),
    [(0, 0.9, 0), ("0", 0.9, 0), ("", "0.9", LAST), (None, 0.9, LAST), (" ", "9e-1", LAST)],
)
def test_the_score_may_change_its_type_late(
    early: Any, late: Any, without: int, name: str, tmp_path: Path
) -> None:
    rows = [{"text": f"row {i}", "toxicity": early} for i in range(LAST)]
    rows.append({"text": "last", "toxicity": late})
    rows = [{k: v for k, v in row.items() if v is not None} for row in rows]
    counts = prepared(tmp_path, path=write(tmp_path / name, rows))
    assert (counts["num_without_score"], counts["num_toxic"]) == (without, 1)
    assert "num_unreadable" not in counts


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize(
    ("early", "late", "value"), [(1, "b7", 1), ("b7", 1, 1), (1, 2.5, 1), ("a", True, "a")]
)
def test_where_may_ask_for_a_column_that_changes_its_type_late(
    early: Any, late: Any, value: Any, name: str, tmp_path: Path
) -> None:
    rows = rows_with(early, late)
    found, _ = read_rows(
        dataset(path=write(tmp_path / name, rows), where={"remark": value}), "d", ["text"]
    )
    assert len(found) == (1 if late is value else LAST)


def test_files_of_other_types_are_one_source(tmp_path: Path) -> None:
    """A float32 0.8 beside float64: it is not above 0.8."""
    paths = []
    for i, dtype in enumerate(("float64", "float32", "int64", "object")):
        value = {"int64": 1, "object": "0.95"}.get(dtype, 0.8)
        frame = pd.DataFrame({"text": [dtype], "toxicity": pd.Series([value], dtype=dtype)})
        frame["more"] = pd.Series([i] if i % 2 else ["x"])
        paths.append(str(tmp_path / f"{i}.parquet"))
        frame.to_parquet(paths[-1])
    prepared(tmp_path, path=paths)
    assert pd.read_parquet(tmp_path / "toxic.parquet")["text"].tolist() == ["int64", "object"]


def test_of_a_parquet_file_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b"]).dictionary_encode(),
            "toxicity": pa.array([0.9, 0.1], pa.float32()),
            "about": pa.array([{"lang": "en", "x": [1]}, None]),
            "odd": pa.array([[{"k": 1}], []]),
            "when": pa.array([0, 1], pa.duration("ms")),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    source = dataset(path=str(tmp_path / "x.parquet"), where={"about.lang": "en"})
    found, _ = read_rows(source, "d", [*ASKED, "about.lang"])
    assert found.to_dict("list") == {
        "text": ["a"], "toxicity": [pytest.approx(0.9)], "about.lang": ["en"],
    }  # fmt: skip
    with pytest.raises(UserError, match=r"no field 'about\.land'; did you mean 'about\.lang'"):
        read_rows(source | {"where": {"about.land": "en"}}, "d", ASKED)


NUMBERS = [
    ("0,9", "a decimal comma"),
    ("90%", "a percent sign"),
    ("n/a", "no number"),
    ("high", "no number"),
]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize(("value", "why"), NUMBERS)
def test_a_score_that_is_no_number_is_named_with_its_line(
    value: str, why: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [{"text": f"row {i}", "toxicity": "0.95"} for i in range(200)]
    for i in (7, 150):
        rows[i]["toxicity"] = value
    line = 8 if name == "x.jsonl" else 9
    counts = prepared(tmp_path, path=write(tmp_path / name, rows))
    assert (counts["num_rows"], counts["num_unreadable"], counts["num_toxic"]) == (200, 2, 198)
    assert counts["num_without_score"] == 0
    said = capsys.readouterr().out
    assert "2 of 200 rows cannot be read" in said
    assert f"{name}, line {line}, has '{value}' as 'toxicity', {why}; " in said
    assert said.splitlines()[0].endswith("they are left out")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize(("value", "why"), NUMBERS)
def test_more_scores_that_are_no_numbers_stop_the_run(
    value: str, why: str, name: str, tmp_path: Path
) -> None:
    rows = [{"text": f"row {i}", "toxicity": "0.95"} for i in range(200)]
    for i in (7, 8, 150):
        rows[i]["toxicity"] = value
    write(tmp_path / name, rows)
    said = refused(tmp_path, name=name)
    line = 8 if name == "x.jsonl" else 9
    assert "3 of 200 rows cannot be read" in said
    assert f"line {line}, has '{value}' as 'toxicity', {why}; " in said
    assert "write scores as 0.9, and leave the field empty where there is none" in said
    assert "at most 1% of the rows" in said


def test_a_few_rows_with_mixed_forms_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, 'text,toxicity\na,"0,9"\nb,90%\nc,0.95\n')
    assert "2 of 3 rows" in said
    assert "line 2, has '0,9'" in said
    assert "line 3, has '90%'" in said


def test_a_score_is_only_asked_of_rows_that_are_used(tmp_path: Path) -> None:
    content = "text,toxicity,split\na,0.9,train\nb,n/a,test\n  ,n/a,train\n"
    (tmp_path / "x.csv").write_text(content)
    counts = prepared(tmp_path, path=str(tmp_path / "x.csv"), where={"split": "train"})
    assert (counts.get("num_unreadable"), counts["num_without_text"]) == (None, 1)


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_marks_than_commas_get_their_sentence(mark: str, word: str, tmp_path: Path) -> None:
    for first in (
        f"text{mark}toxicity",
        f'id{mark}"text"{mark}"toxicity"',
        f"sep={mark}\na{mark}b",
    ):
        said = refused(tmp_path, f"{first}\nbad, really{mark}0,9\n".replace(";0,9", f"{mark}0,9"))
        assert f"its fields seem to be separated by {word}" in said
        assert "numbers with a dot" in said


# what is wrong, and where it is
BROKEN = [
    ("x.csv", "text,toxicity\na,0.9\nb, c,0.1\n", "line 3, has 3 fields, more than the 2"),
    ("x.csv", "text,toxicity\na,0,9\n", "write numbers with a dot"),
    ("x.csv", "text,toxicity\na,0.9\nb\nc,0.1\n", "line 3, has 1 field(s) of the 2"),
    ("x.csv", 'text,toxicity\n"a\nb",0.9\n"c,0.1\nd,0.1\n', "from line 4 on (its quote is never"),
    ("x.csv", 'text,toxicity\na,0.9\n"he said \\"no\\"",0.1\n', "from line 3 on"),
    ("x.csv", "text,text,toxicity\na,b,0.9\n", "has the field 'text' twice"),
    ("x.csv", "", "is empty"),
    ("x.csv", b"\xef\xbb\xbf", "is empty"),
    ("x.csv", "text,toxicity\n", "has 0 rows"),
    ("x.csv", "text,toxicity\na,0.9\nb\0c,0.1\n", "holds NUL bytes in line 3"),
    ("x.csv", "text,toxicity\na,0.9\n".encode("utf-16-le"), "NUL bytes in line 1"),
    ("x.csv", "text,toxicity\na,0.9\n".encode("utf-16"), "not UTF-8, first in line 1"),
    ("x.csv", "text,toxicity\na,0.9\nf\xfcr,0.1\n".encode("latin-1"), "not UTF-8, first in line 3"),
    ("x.jsonl", b'{"text": "a", "toxicity": 1}\n\n{"text": "\xe9"}\n', "UTF-8, first in line 3"),
    ("x.jsonl", b'{"text": "\xed\xa0\xbd", "toxicity": 1}\n', "UTF-8, first in line 1"),
    ("x.jsonl", "", "is empty"),
    ("x.jsonl", "\n  \n", "is empty"),
    ("x.json", "[]", "is empty"),
    ("x.jsonl", '{"text": "a", "toxicity": 1}\n{"text": "b", "tox', "read in line 2"),
    ("x.jsonl", '{"text": "a", "toxicity": 1}\n["b", 1]\n', "line 2, is no JSON object"),
    ("x.json", '[{"text": "a", "toxicity": 1}, 5]', "row 2, is no JSON object"),
    ("x.json", '{\n "text": ["a"],\n "toxicity": [1]\n}', "read in line 1"),
    ("x.jsonl", '{"text": "a", "text": "b", "toxicity": 1}\n', "'text' is there twice"),
    ("x.jsonl", '{"text": "a\0", "toxicity": 1}\n', "read in line 1"),
    ("x.jsonl", '{"text": "a", "toxicity": 1}\n{"text": 5}\n', "line 2, has 5, which is no text"),
    ("x.jsonl", '{"text": "\\ud83d", "toxicity": 1}\n{"text": "a"}\n', "line 1, holds half of a"),
    ("x.csv.gz", "text,toxicity\na,0.9\n", "x.csv.gz cannot be read"),
    ("x.csv.gz", gzip.compress(b"text,toxicity\na,0.9\n" * 99)[:-9], "x.csv.gz cannot be read"),
]


@pytest.mark.parametrize(("name", "content", "says"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_one_sentence_with_the_place(
    name: str, content: str | bytes, says: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, content, name)
    assert says in said


def test_parquet_with_text_that_is_no_utf8_names_the_row(tmp_path: Path) -> None:
    texts = pa.array([b"a", None, b"\xed\xa0\xbd"], pa.binary()).cast(pa.string(), safe=False)
    texts = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    pq.write_table(pa.table({"text": texts, "toxicity": [1.0, 0.0, 0.0]}), tmp_path / "x.parquet")
    assert "not UTF-8, first in row 3" in refused(tmp_path, name="x.parquet")


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftext,toxicity\na,0.9\n",
        "text,toxicity\r\na,0.9\r\n\r\n",
        "text,toxicity\n  \na,0.9\n \t\n",
        'id,text,toxicity,id\n1,a,0.9,2\n"x\r\ny",,0.1,"""z"""\n',
        "text,toxicity,remark\na,0.9\n",
        '"text","toxicity"\n"a","0.9"',
        "toxicity,text\r0.9,a\r",
    ],
    ids=["bom", "crlf", "blank", "twice", "short", "quotes", "cr"],
)
def test_forms_of_csv_that_are_understood(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content.encode())
    found, left_out = read_rows(dataset(path=str(tmp_path / "x.csv")), "d", ASKED)
    assert found.iloc[0].to_dict() == {"text": "a", "toxicity": 0.9}
    assert left_out == 0


def test_blank_rows_of_one_column_are_those_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text\na\n\n" \n"\n""\n  \nb\n')
    found, _ = read_rows(corpus(path=str(tmp_path / "x.csv")), "c", ["text"])
    assert found["text"].fillna("missing").tolist() == ["a", " \n", "missing", "b"]


def test_lines_are_those_of_the_file_and_texts_may_be_long(tmp_path: Path) -> None:
    long = "word " * 100_000
    (tmp_path / "x.csv").write_text(f'text,toxicity\n"{long}\n\nb",0.9\n\nc,high\n')
    said = refused(tmp_path)
    assert "line 6, has 'high'" in said


@pytest.mark.parametrize("name", ["x.jsonl", "array.json"])
def test_rows_with_half_a_character_are_counted_and_printed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows: list[dict[str, Any]] = [{"text": f"row {i}", "toxicity": 0.9} for i in range(300)]
    rows[4]["text"], rows[9]["text"] = "cut \ud83d", "\ude00 too"
    rows[11]["text"] = rows[12]["remark"] = "whole \U0001f600"
    rows[20]["remark"] = "cut \ud83d"  # not asked for
    path = write(tmp_path / name, rows)
    counts = prepared(tmp_path, path=path, part="test")
    assert counts["num_unreadable"] == 2
    said = capsys.readouterr().out
    unit = "line" if name == "x.jsonl" else "row"
    assert f"{name}, {unit} 5, holds half of a character" in said
    assert f"{name}, {unit} 10, holds" in said
    kept = pd.read_parquet(tmp_path / "toxic.parquet")["text"].tolist()
    assert not any(text.startswith(("cut", "\ude00")) for text in kept)
    lines, text = tmp_path / "p.jsonl", tmp_path / "c.txt"
    prepare_prompts("p", prompts(path=path), tmp_path / "p.json", lines)
    prepare_corpus("c", corpus(path=path), tmp_path / "c.json", text)
    for manifest in ("p.json", "c.json"):
        assert json.loads((tmp_path / manifest).read_text())["counts"]["num_unreadable"] == 2
    assert len(lines.read_text().splitlines()) == 298


def test_more_rows_with_half_a_character_stop_the_run(tmp_path: Path) -> None:
    rows = [{"text": "\ud83d" if i < 5 else "a", "toxicity": 0.9} for i in range(300)]
    write(tmp_path / "x.jsonl", rows)
    said = refused(tmp_path, name="x.jsonl")
    assert "5 of 300 rows cannot be read" in said
    assert "line 3, holds half of a character" in said
    assert "; and 2 more; write these rows anew" in said


def test_reading_a_file_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = write(tmp_path / "x.csv", rows_with(None, None)[:9])
    read_rows(dataset(path=path), "d", ASKED)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def chosen(tmp_path, where, *files, **more):
    """Texts of the rows that `where` keeps."""
    source = dataset(path=[str(file) for file in files], where=where, **more)
    return read_rows(source, "name", ["text"])[0]["text"].tolist()


def test_where_compares_cells_whatever_other_files_and_rows_have(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("text,ok,id\n" + "".join(f"a{i},true,{i}\n" for i in range(5)))
    second.write_text("text,ok,id\nb0,true,7\nb1,unknown,007\nb2,TRUE,b8\n")
    everything = [*(f"a{i}" for i in range(5)), "b0", "b2"]
    assert chosen(tmp_path, {"ok": True}, first, second) == everything
    assert chosen(tmp_path, {"id": "007"}, first, second) == ["b1"]
    assert chosen(tmp_path, {"id": 7}, first, second) == ["b0", "b1"]
    assert chosen(tmp_path, {"id": "b8"}, first, second) == ["b2"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_where_does_not_round_large_numbers(tmp_path, suffix):
    large, file = 1234567890123456789, tmp_path / f"x.{suffix}"
    frame = pd.DataFrame({"text": ["a", "b", "c"], "id": [large, large + 1, None]})
    frame["id"] = pd.Series([large, large + 1, None], dtype="Int64")
    if suffix == "csv":
        frame.to_csv(file, index=False)
    elif suffix == "jsonl":
        rows = [{"text": "a", "id": large}, {"text": "b", "id": large + 1}, {"text": "c"}]
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        frame.to_parquet(file)
    assert chosen(tmp_path, {"id": large}, file) == ["a"]


def test_the_limit_counts_all_faults_together(tmp_path):
    lines = ['{"text": "a", "toxicity": 0.5}'] * 982
    lines += ['{"text": "\\ud83d", "toxicity": 0.5}'] * 9 + ['{"text": "b", "toxicity": "5%"}'] * 9
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match="9 of 991 rows cannot be read"):
        read_rows(dataset(path=[str(file)]), "name", ["text", "toxicity"], "toxicity")


def test_semicolons_between_quoted_fields_are_named(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text('"text";"toxicity"\n"bad";"0,9"\n')
    with pytest.raises(UserError, match="seem to be separated by semicolons"):
        read_rows(dataset(path=[str(file)]), "name", ["text", "toxicity"], "toxicity")

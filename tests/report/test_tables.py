"""The main table: a row per edit, seed and scale, the base first, nothing lost on the way."""

import io

import pandas as pd
import pytest
from report.frames import METRICS, summary

from detoxmerge.report.tables import KEYS, main_table, tabulate, to_markdown

TOXICITY = "toxicity_mean [openings, judge]"
PERPLEXITY = "perplexity_per_token [polite]"


@pytest.fixture(scope="module")
def wide():
    return main_table(summary())


def test_table_has_a_row_per_edit_seed_and_scale_and_one_of_the_base(wide):
    assert len(wide) == 1 + 2 * 2 * 2 * 2
    assert not wide.duplicated(KEYS).any()
    assert wide.iloc[0][["method", "scale"]].tolist() == ["base", 0.0]


def test_row_of_the_base_has_its_numbers(wide):
    assert wide.iloc[0][TOXICITY] == 0.2
    assert wide.iloc[0][PERPLEXITY] == 20.0


def test_columns_are_the_metrics_with_what_they_were_measured_on(wide):
    metrics = [f"{metric} [openings, judge]" for metric in METRICS]
    assert wide.columns.tolist() == [*KEYS, *metrics, PERPLEXITY]


def test_every_measured_number_stands_in_its_cell(wide):
    source = summary()
    source = source[source["measured_on"].notna() & source["dataset"].notna()]
    found = wide.set_index(KEYS)
    for row in source.itertuples():
        at = "openings, judge" if row.measured_on == "openings" else "polite"
        key = tuple(getattr(row, name) for name in KEYS)
        value = found.loc[key, f"{row.metric} [{at}]"]
        assert value == row.value or (pd.isna(value) and pd.isna(row.value))


def test_rows_keep_the_order_of_the_summary(wide):
    assert wide["dataset"].tolist()[1:] == ["rude"] * 8 + ["mean"] * 8


def test_missing_number_is_a_dash_in_markdown_and_empty_in_csv(wide):
    lines = to_markdown(wide).splitlines()
    assert sum(line.endswith("| - |") for line in lines) == 4
    text = wide.to_csv(index=False)
    assert pd.read_csv(io.StringIO(text))[PERPLEXITY].isna().sum() == 4


def test_markdown_says_how_much_was_measured_and_shows_the_metrics_that_are_read(wide):
    first, blank, head, rule, base, *_ = to_markdown(wide).splitlines()
    assert first == "[openings, judge]: 30 prompts, 5 continuations each."
    assert blank == ""
    names = [name.strip() for name in head.strip("|").split("|")]
    assert names[: len(KEYS)] == KEYS
    assert names[len(KEYS) :] == [
        TOXICITY,
        "toxic_share_above_0.5 [openings, judge]",
        "num_failed [openings, judge]",
        PERPLEXITY,
    ]
    assert rule.count("---") == len(names)
    assert base == "| small | - | base | - | - | 0 | 0.2 | 0.1 | 0 | 20 |"


def test_every_markdown_row_has_a_cell_per_column(wide):
    lines = to_markdown(wide).splitlines()[2:]
    assert len(lines) == len(wide) + 2
    assert len({line.count("|") for line in lines}) == 1


def test_second_scorer_and_corpus_get_columns_of_their_own():
    frame = summary(datasets=("rude",), seeds=("1",))
    more = frame[frame["measured_on"].notna()].copy()
    more["value"] += 1
    more["scorer"] = more["scorer"].replace("judge", "second")
    more["measured_on"] = more["measured_on"].replace("polite", "novels")
    table = main_table(pd.concat([frame, more], ignore_index=True))
    assert len(table) == 1 + 4
    second = table["toxicity_mean [openings, second]"]
    assert second.tolist() == (table[TOXICITY] + 1).tolist()
    assert table["perplexity_per_token [novels]"].iloc[0] == 21.0


def test_tabulate_writes_both_files_the_same_each_time(tmp_path):
    summary().to_parquet(tmp_path / "summary.parquet")
    found = []
    for _ in range(2):
        tabulate(tmp_path / "summary.parquet", tmp_path / "main.csv", tmp_path / "main.md")
        found.append([(tmp_path / f"main.{kind}").read_bytes() for kind in ("csv", "md")])
    assert found[0] == found[1]
    again = pd.read_csv(tmp_path / "main.csv")
    assert again[TOXICITY].tolist() == main_table(summary())[TOXICITY].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "main.csv", "main.md", "summary.parquet",
    ]  # fmt: skip

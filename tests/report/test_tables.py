"""The main table: a row per edit, seed and scale, the base first, nothing lost on the way."""

import io
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from plan.studies import load_config, prompts, study
from report.frames import FLUENCY, METRICS, WHY, limited, summary

from detoxmerge.report.formats import to_html, to_latex, to_markdown, write_table
from detoxmerge.report.inputs import Inputs
from detoxmerge.report.tables.main import (
    COST_SCALE,
    COSTS,
    KEYS,
    counts,
    main_table,
    metrics_by_name,
    to_cells,
)

TOXICITY = "toxicity_mean [openings, judge]"
PERPLEXITY = "perplexity_per_token [polite]"


@pytest.fixture(scope="module")
def wide():
    return main_table(summary())


def write(summary, folder, config=None):
    """The four files of the table, by their kind."""
    summary.to_parquet(folder / "summary.parquet")
    files = {kind: folder / f"main.{kind}" for kind in ("csv", "md", "tex", "html")}
    inputs = Inputs({"summary": [folder / "summary.parquet"]}, config=config or study())
    write_table("main", inputs, *files.values())
    return files


def cells_of(table):
    return to_cells(table, metrics_by_name(load_config(study())))


def markdown(table):
    """The Markdown file, of a table of `main_table`."""
    return counts(table) + to_markdown(cells_of(table))


@pytest.fixture(scope="module")
def final():
    """The same study with a final stage: one rule chose 0.5 everywhere, the other none."""
    frame = summary(datasets=("rude",), seeds=("1",))
    chosen = frame[(frame["stage"] == "sweep") & frame["scale"].isin([0.0, 0.5])].copy()
    chosen["selector"] = ["budget" if isinstance(d, str) else None for d in chosen["dataset"]]
    judged = chosen["metric"] == "toxicity_mean"
    chosen["low"] = (chosen["value"] - 0.01).where(judged)
    chosen["high"] = (chosen["value"] + 0.01).where(judged)
    chosen["stage"] = "final"
    choices = [
        {"selector": "budget", "scale": 0.5, "value": 0.5},
        {"selector": "matched", "scale": None, "value": None},
    ]
    rows = frame[frame["n"].notna()].drop_duplicates("setting")
    selected = pd.concat(
        [
            rows.assign(**choice, stage="selection", metric="selected_scale", measured_on=None)
            for choice in choices
        ]
    )
    return pd.concat([frame, chosen, selected], ignore_index=True)


def test_a_final_stage_takes_the_place_of_the_sweep(final):
    table = main_table(final)
    assert table["method"].tolist() == ["base"] + ["merge"] * 4
    assert table["selector"].tolist()[1:] == ["budget", "matched"] * 2
    assert table[TOXICITY].notna().tolist() == [True, True, False, True, False]


def test_a_rule_that_nothing_satisfies_is_a_row_that_says_so(final):
    lines = [line for line in markdown(main_table(final)).splitlines() if "matched" in line]
    assert len(lines) == 2
    assert all(line.count("| - ") >= 4 for line in lines)


def test_intervals_stand_beside_their_number(final):
    text = markdown(main_table(final))
    assert "| 0.2 [0.19, 0.21] |" in text
    table = main_table(final)
    assert table["toxicity_mean low [openings, judge]"].iloc[0] == pytest.approx(0.19)


def test_latex_has_a_line_per_row_and_nothing_that_tex_would_read_as_a_command(final):
    text = to_latex(cells_of(main_table(final)))
    assert text.count(r"\\") == 1 + 5
    assert r"toxicity\_mean [openings, judge]" in text
    assert "n=4" in text


def test_html_has_every_cell_whole_and_nothing_that_a_browser_would_read_as_a_tag(final):
    cells = pd.concat([cells_of(main_table(final))] * 30)
    cells["note"] = "a < b" + ", and so on" * 20
    text = to_html(cells, "30 prompts < 40")
    assert "<p>30 prompts &lt; 40</p>" in text
    assert not re.search("src|href|url|import", text)
    table = text[text.index("<table") :].replace("<wbr/>", "").replace("<br/>", " ")
    head, *rows = ElementTree.fromstring(table).iter("tr")
    assert [cell.text for cell in head] == cells.columns.tolist()
    assert [[cell.text for cell in row] for row in rows] == cells.to_numpy().tolist()


def test_table_has_a_row_per_edit_seed_and_scale_and_one_of_the_base(wide):
    assert len(wide) == 1 + 2 * 2 * 2 * 2
    assert not wide.duplicated(KEYS).any()
    assert wide.iloc[0][["method", "scale"]].tolist() == ["base", 0.0]


def test_scale_that_was_left_out_is_a_row_that_says_so():
    frame = limited(summary(datasets=("rude",)), "2")
    table = main_table(frame[frame["setting"].ne("n=1")])
    assert table["left_out"].fillna("").tolist() == ["", "", "", "", WHY]
    assert table.iloc[-1][["seed", "scale"]].tolist() == ["2", 1.0]
    assert table[TOXICITY].notna().tolist() == [True] * 4 + [False]
    assert table[PERPLEXITY].notna().all()
    head, _, *rows = [line for line in markdown(table).splitlines() if line.startswith("|")]
    cells = dict(zip(head.split(" | "), rows[-1].split(" | "), strict=True))
    assert cells["left_out"] == WHY
    assert cells[TOXICITY] == "-"
    assert "left_out" not in main_table(summary())


def test_row_of_the_base_has_its_numbers(wide):
    assert wide.iloc[0][TOXICITY] == 0.2
    assert wide.iloc[0][PERPLEXITY] == 20.0


def test_columns_are_the_metrics_with_what_they_were_measured_on(wide):
    metrics = [f"{metric} [openings, judge]" for metric in METRICS]
    fluency = [f"{metric} [openings, own base]" for metric in FLUENCY]
    assert wide.columns.tolist() == [*KEYS, *metrics, *fluency, PERPLEXITY]


def test_every_measured_number_stands_in_its_cell(wide):
    source = summary()
    source = source[source["measured_on"].notna() & source["dataset"].notna()]
    by_key = wide.set_index(KEYS)
    for row in source.itertuples():
        at = f"openings, {row.scorer}" if row.measured_on == "openings" else "polite"
        key = tuple(getattr(row, name) for name in KEYS)
        value = by_key.loc[key, f"{row.metric} [{at}]"]
        assert value == row.value or (pd.isna(value) and pd.isna(row.value))


def test_rows_keep_the_order_of_the_summary(wide):
    assert wide["dataset"].tolist()[1:] == ["rude"] * 8 + ["mean"] * 8


def test_missing_number_is_a_dash_in_markdown_and_empty_in_csv(wide):
    lines = markdown(wide).splitlines()
    assert sum(line.endswith("| - |") for line in lines) == 4
    text = wide.to_csv(index=False)
    assert pd.read_csv(io.StringIO(text))[PERPLEXITY].isna().sum() == 4


def test_markdown_says_how_much_was_measured_and_shows_the_metrics_that_are_read(wide):
    first, blank, head, rule, base, *_ = markdown(wide).splitlines()
    assert first == "[openings, judge]: 30 prompts, 5 continuations each."
    assert blank == ""
    names = [name.strip() for name in head.strip("|").split("|")]
    keys = [key for key in KEYS if key != "selector"]  # no choice in a sweep
    assert names[: len(keys)] == keys
    assert names[len(keys) :] == [
        TOXICITY,
        "toxic_share_above_0.5 [openings, judge]",
        "num_failed [openings, judge]",
        "conditional_perplexity_median [openings, own base]",
        "dist_2 [openings, own base]",
        "length_words_mean [openings, own base]",
        PERPLEXITY,
    ]
    assert rule.count("---") == len(names)
    assert base == "| small | - | base | - | - | 0 | 0.2 | 0.1 | 0 | 30 | 0.8 | 12 | 20 |"


def test_every_markdown_row_has_a_cell_per_column(wide):
    lines = markdown(wide).splitlines()[2:]
    assert len(lines) == len(wide) + 2
    assert len({line.count("|") for line in lines}) == 1


def test_second_scorer_and_corpus_get_columns_of_their_own():
    frame = summary(datasets=("rude",), seeds=("1",))
    more = frame[frame["measured_on"].notna()].copy()
    more["value"] += 1
    more["scorer"] = more["scorer"].replace({"judge": "second", "own base": "large"})
    more["measured_on"] = more["measured_on"].replace("polite", "novels")
    table = main_table(pd.concat([frame, more], ignore_index=True))
    assert len(table) == 1 + 4
    second = table["toxicity_mean [openings, second]"]
    assert second.tolist() == (table[TOXICITY] + 1).tolist()
    assert table["perplexity_per_token [novels]"].iloc[0] == 21.0


def with_costs(frame):
    """A summary and what its edits cost; nobody knows the training time of N = 1."""
    edits = frame[frame["n"].notna()].drop_duplicates(["dataset", "setting", "seed"])
    rows = [frame]
    for metric, value in zip(COSTS, (60.0, 3.0, 1.5, 90.0, 0.25), strict=True):
        cost = edits.assign(stage="cost", selector=None, scale=2.0, metric=metric, value=value)
        cost[["measured_on", "scorer", "low", "high"]] = None
        if metric == "training_seconds":
            cost["value"] = cost["value"].where(cost["n"] > 1)
        rows.append(cost)
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize("stage", ["sweep", "final"])
def test_what_an_edit_costs_stands_in_all_its_rows_of_every_form(final, tmp_path, stage):
    """Also where a rule found no scale, and not in the base model's."""
    frame = with_costs(summary() if stage == "sweep" else final)
    plain = main_table(frame[frame["stage"] != "cost"])
    table = main_table(frame)
    pd.testing.assert_frame_equal(table[plain.columns], plain)
    added = [name for name in table if name not in plain]
    assert added == [*COSTS, COST_SCALE]
    assert table.loc[table["method"] == "base", added].isna().all(axis=None)
    edits = table[table["method"] != "base"]
    assert (edits["extra_forward_passes_per_token"] == 3.0).all()
    assert (edits[COST_SCALE] == 2.0).all()
    assert edits["training_seconds"].isna().tolist() == (edits["setting"] == "n=1").tolist()
    files = write(frame, tmp_path)
    for file in files.values():
        text = file.read_text().replace("<wbr/>", "").replace("\\_", "_")
        assert all(name in text for name in added), file
    *_, last = files["md"].read_text().splitlines()
    assert last.endswith("| 60 | 3 | 1.5 | 90 | 0.25 | 2 |")


def test_tabulate_writes_all_files_the_same_each_time(tmp_path):
    written = []
    for _ in range(2):
        written.append([file.read_bytes() for file in write(summary(), tmp_path).values()])
    assert written[0] == written[1]
    again = pd.read_csv(tmp_path / "main.csv")
    assert again[TOXICITY].tolist() == main_table(summary())[TOXICITY].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "main.csv", "main.html", "main.md", "main.tex", "summary.parquet",
    ]  # fmt: skip


def test_a_second_generation_seed_stands_in_the_csv_alone(tmp_path):
    rows = summary()
    more = rows[rows["measured_on"] == "openings"].assign(measured_on="again")
    again = {"prompts.again": prompts(generate={"seed": 1})}
    config = study(again | {"run.sweep.prompts": ["openings", "again"]})
    csv, *others = write(pd.concat([rows, more]), tmp_path, config).values()
    assert "toxicity_mean [again, judge]" in pd.read_csv(csv)
    for file in others:
        text = file.read_text()
        assert "openings, judge" in text
        assert "again" not in text

"""The figures of the parameter change: each curve, its null, and what is missing."""

import numpy as np
import pandas as pd
import pytest
from report import manifests
from report.needs import inputs

from detoxmerge.measure.nulls import unchanged_share_at
from detoxmerge.report import change_nulls
from detoxmerge.report.change_nulls import RANDOM, SELECTED, SHARD, SINGLE, STYLES, VECTOR
from detoxmerge.report.drawing import write_figure
from detoxmerge.report.figures import almost_unchanged, parameter_change
from detoxmerge.report.shares import power

NOTHING_SELECTED = pd.DataFrame(
    columns=["stage", "model", "dataset", "method", "setting", "seed", "selector", "value"]
)


@pytest.fixture
def study(tmp_path):
    """Manifests of two data sets, three Ns and two seeds."""
    return manifests.write(tmp_path)


def densities(changes, shards):
    return parameter_change.table(inputs(changes=changes, shard_statistics=shards))


def unchanged(changes, shards, summary=NOTHING_SELECTED):
    needed = inputs(changes=changes, shard_statistics=shards, summary=summary)
    return almost_unchanged.table(needed)


def of(data, **at):
    for key, value in at.items():
        data = data[data[key] == value]
    return data


def legend(figure):
    (table,) = figure.subfigs[-1].legends
    return [text.get_text() for text in table.get_texts()]


def test_densities_are_shares_per_decade_of_the_vector_and_its_nulls(study):
    table = densities(*study)
    for n, curves in {1: {VECTOR, RANDOM}, 5: {VECTOR, RANDOM, SHARD, SINGLE}}.items():
        part = of(table, n=n)
        assert set(part["curve"]) == curves
        for _, one in part.groupby(["edits", "seed", "curve"]):
            assert len(one) == 140
            whole = 1 if one["curve"].iloc[0] != RANDOM else 1000 / 1001  # a tensor of norm 0
            assert one["value"].sum() * 0.1 == pytest.approx(whole, abs=1e-6)


def middle(data):
    """Mean log10 |delta| of a density."""
    return np.average(np.log10(data["x"]), weights=data["value"])


def test_densities_of_the_nulls_have_the_size_that_they_claim(study):
    part = of(densities(*study), edits="rude, merge", seed="1", n=5)
    vector, shard, single, random = (
        middle(of(part, curve=curve)) for curve in (VECTOR, SHARD, SINGLE, RANDOM)
    )
    assert shard == pytest.approx(vector + np.log10(2), abs=0.01)
    assert single == pytest.approx(vector, abs=0.05)  # both are half-normal
    assert random == pytest.approx(vector, abs=0.05)


def test_parameter_change_has_a_row_per_data_set_and_a_panel_per_n(study):
    data = densities(*study)
    figure = parameter_change.draw(data)
    assert [part.get_suptitle() for part in figure.subfigs[:-1]] == ["rude, merge", "mean, merge"]
    assert [axis.get_title() for axis in figure.axes] == 2 * ["N = 1", "N = 2", "N = 5"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"|Δ| at scale 1"}
    assert legend(figure) == [VECTOR, RANDOM, SHARD, SINGLE]
    styles = {line.get_linestyle() for line in figure.axes[2].get_lines()}
    assert len(styles) == 4  # told apart without colour
    line = figure.axes[2].get_lines()[0]
    mean = of(data, edits="rude, merge", n=5, curve=VECTOR).groupby("x")["value"].mean()
    assert line.get_ydata().tolist() == mean.tolist()


def test_unchanged_shares_and_nulls_are_those_of_the_manifests(study):
    table = unchanged(*study)
    rows = of(table, edits="mean, merge", seed="2", threshold=2e-5).set_index(["n", "curve"])
    single, merged = (manifests.change(n, "2", "mean") for n in (1, 5))
    assert rows.loc[(5, VECTOR), "share"] == merged["almost_unchanged_share"]["below_2e-05"]
    assert rows.loc[(5, RANDOM), "share"] == 0.05
    assert rows.loc[(5, SHARD), ["share", "low", "high"]].tolist() == pytest.approx(
        [0.02, 0.018, 0.022]
    )
    scale = merged["l2_norm"] / single["l2_norm"]
    assert scale < 0.5
    assert rows.loc[(5, SINGLE), "share"] == unchanged_share_at(single, scale, 2e-5)
    exact = (scale * manifests.sizes(1, "2") < 2e-5).mean()
    assert rows.loc[(5, SINGLE), "share"] == pytest.approx(exact, abs=0.01)
    assert SELECTED not in set(table["curve"])


def test_single_vector_is_its_own_shard(study):
    rows = of(unchanged(*study), n=1, seed="1", edits="rude, merge", threshold=1e-5)
    shares = rows.set_index("curve")["share"]
    assert shares[SHARD] == shares[VECTOR]
    assert shares[SINGLE] == pytest.approx(shares[VECTOR], abs=0.01)


def test_selected_scale_adds_its_line_where_it_is_given(study):
    row = {"stage": "selection", "model": "small", "dataset": "rude", "method": "merge"}
    row |= {"setting": "n=1", "seed": "1", "selector": "budget", "value": 0.4}
    table = unchanged(*study, summary=pd.DataFrame([row]))
    rows = of(table, curve=SELECTED, threshold=1e-5)
    assert set(rows["edits"]) == {"rude, merge"}
    assert set(rows["seed"]) == {"1"}
    exact = (0.4 * manifests.sizes(1, "1") < 1e-5).mean()
    assert rows["share"].tolist() == pytest.approx([exact] * 3, abs=0.01)
    assert SELECTED in legend(almost_unchanged.draw(table))


def test_almost_unchanged_has_a_panel_per_threshold_with_means_and_ranges(study):
    data = unchanged(*study)
    figure = almost_unchanged.draw(data)
    assert len(figure.axes) == 2 * 4
    first = figure.axes[1]
    assert first.get_title() == "|Δ| < $10^{-5}$"
    assert [tick.get_text() for tick in first.get_xticklabels()] == ["1", "2", "5"]
    assert legend(figure) == [c for c in STYLES if c != SELECTED]
    part = of(data, edits="rude, merge", threshold=1e-5, curve=VECTOR)
    (line,) = (line for line in first.get_lines() if line.get_label() == VECTOR)
    assert line.get_ydata().tolist() == part.groupby("n")["share"].mean().tolist()
    assert len(first.collections) >= 1  # the range over shards


def test_study_without_n_1_lacks_its_nulls_and_draws_the_rest(tmp_path):
    study = manifests.write(tmp_path, ns=(2, 5))
    assert set(unchanged(*study)["curve"]) == {VECTOR, RANDOM, SHARD}
    almost_unchanged.draw(unchanged(*study))
    parameter_change.draw(densities(*study))


def test_study_of_n_1_alone_is_drawn(tmp_path):
    study = manifests.write(tmp_path, ns=(1,), datasets=("rude",))
    assert study[1] == []
    almost_unchanged.draw(unchanged(*study))
    parameter_change.draw(densities(*study))


def test_recipes_are_kept_apart(monkeypatch, tmp_path):
    change = manifests.change(5, "1", setting="n=5--recipe=small")
    change["edit"]["params"]["recipe"] = "small"
    other, small = manifests.shards(5, "1"), manifests.shards(5, "1", recipe="small")
    small["curves"]["all"][0]["almost_unchanged_share"]["below_1e-05"]["mean"] = 0.7
    monkeypatch.setattr(change_nulls, "read_json", lambda path: contents[path])
    contents = dict(zip([tmp_path / name for name in "abc"], (change, other, small), strict=True))
    table = unchanged([tmp_path / "a"], [tmp_path / "b", tmp_path / "c"])
    assert of(table, curve=SHARD, threshold=1e-5)["share"].tolist() == [0.7]
    assert set(table["edits"]) == {"rude, merge (recipe=small)"}


@pytest.mark.parametrize(("size", "curves"), [(1.0, {SINGLE}), (0.0, set())])
def test_every_operator_stands_beside_the_one_single_vector(monkeypatch, tmp_path, size, curves):
    """Some refuse N = 1, and a vector of zeros has no size to bring another one to."""
    single = manifests.change(1, "1")
    merged = manifests.change(5, "1", setting="n=5--operator=snr")
    merged["edit"]["params"] |= {"operator": "snr"}
    merged["l2_norm"] *= size
    contents = {tmp_path / "a": single, tmp_path / "b": merged}
    monkeypatch.setattr(change_nulls, "read_json", lambda path: contents[path])
    table = of(unchanged([*contents], []), n=5)
    assert set(table["curve"]) == {VECTOR, RANDOM} | curves


def test_edit_of_a_method_that_merges_nothing_is_left_out(monkeypatch, tmp_path):
    change = manifests.change(1, "1")
    change["edit"] |= {"method": "profs", "params": {"n": 2}}  # its name alone means nothing
    monkeypatch.setattr(change_nulls, "read_json", lambda path: change)
    assert densities([tmp_path], []).empty
    assert unchanged([tmp_path], []).empty


@pytest.mark.parametrize(
    ("x", "text"), [(1e-6, "$10^{-6}$"), (2e-5, r"$2\cdot 10^{-5}$"), (1.0, "$10^{0}$")]
)
def test_power(x, text):
    assert power(x) == text


def test_same_data_give_the_same_files(study, tmp_path):
    data = unchanged(*study)
    written = []
    for name in ("a", "b"):
        files = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "pdf", "csv")}
        write_figure(almost_unchanged.draw(data), data, **files)
        written.append([path.read_bytes() for path in files.values()])
    assert written[0] == written[1]
    assert len(pd.read_csv(tmp_path / "a.csv")) == len(data)


def test_the_first_selector_that_chose_says_at_which_scale_an_edit_is_used() -> None:
    rows = [
        {"selector": "budget", "setting": "n=1", "value": None},
        {"selector": "matched", "setting": "n=1", "value": 0.5},
        {"selector": "budget", "setting": "n=4", "value": 1.0},
        {"selector": "matched", "setting": "n=4", "value": 2.0},
    ]
    frame = pd.DataFrame(rows).assign(
        stage="selection", model="small", dataset="rude", method="merge", seed="1"
    )
    assert almost_unchanged.selected_scales(frame, "small") == {
        "rude/merge/n=1/seed1": 0.5,
        "rude/merge/n=4/seed1": 1.0,
    }
    assert almost_unchanged.selected_scales(frame, "other") == {}

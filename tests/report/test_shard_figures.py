"""The figures of the shards: curves over k, maps of signal and cosines, and training losses."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from report import manifests
from report.needs import inputs

from detoxmerge.report import heat_maps
from detoxmerge.report.figures import shard_cosines, shard_snr, shard_subsets, training_loss


def subsets(sets):
    return shard_subsets.table(inputs(shard_statistics=sets))


def signal_to_noise(sets):
    return shard_snr.table(inputs(shard_statistics=sets))


def cosines(sets):
    return shard_cosines.table(inputs(shard_statistics=sets))


def losses(tunes, files):
    return training_loss.table(inputs(losses=files, grid=SimpleNamespace(fine_tunes=tunes)))


@pytest.fixture
def sets(tmp_path):
    """shards.json of two data sets, two Ns and two seeds."""
    return manifests.write(tmp_path, ns=(2, 5))[1]


def titles(figure):
    """Names of the rows, and titles of the panels."""
    rows = [part.get_suptitle() for part in figure.subfigs[:-1]]
    return rows, [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_subsets_are_the_curves_of_the_manifests(sets):
    table = subsets(sets)
    part = table[(table["set"] == "rude") & (table["seed"] == "1") & (table["threshold"] == 1e-5)]
    part = part[part["parameters"] == "all"]
    mean = part[part["curve"] == shard_subsets.MEAN].set_index(["n", "k"])
    assert len(mean) == 2 + 5
    assert mean.loc[(5, 3), ["share", "low", "high"]].tolist() == pytest.approx(
        [0.06, 0.054, 0.066]
    )
    random = part[part["curve"] == shard_subsets.RANDOM].set_index(["n", "k"])
    assert random.loc[(5, 3), "share"] == 0.03


def test_shard_subsets_has_a_row_per_set_and_a_line_per_n(sets):
    figure = shard_subsets.draw(subsets(sets))
    rows, panels = titles(figure)
    assert rows[:2] == ["rude, parameters: all", "rude, parameters: without embeddings"]
    assert len(rows) == 4
    assert panels[:2] == ["|Δ| < $10^{-6}$", "|Δ| < $10^{-5}$"]
    (legend,) = figure.subfigs[-1].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["N = 2", "N = 5", shard_subsets.RANDOM]
    by_n = [line for line in figure.axes[1].get_lines() if line.get_label() == "N = 5"]
    assert by_n[0].get_ydata().tolist() == pytest.approx([0.02 * k for k in range(1, 6)])
    assert len(figure.axes[1].collections) == 4  # ranges of two Ns, shards and noise


def test_subset_without_elements_is_a_gap(sets):
    content = json.loads(sets[0].read_text())
    content["curves"]["all"][0]["almost_unchanged_share"]["below_1e-06"] = None
    sets[0].write_text(json.dumps(content))
    table = subsets(sets)
    assert table["share"].isna().sum() == 1
    shard_subsets.draw(table)


def test_signal_to_noise_is_that_of_layers_and_modules(sets):
    table = signal_to_noise(sets)
    assert len(table) == 2 * 2 * 2 * len(manifests.TENSORS)
    rows = table[(table["set"] == "mean") & (table["n"] == 5) & (table["seed"] == "1")]
    assert rows["layer"].isna().tolist() == [True, False, False, True]
    assert rows["snr"].tolist() == [0.5, 0.25, 0.0, -0.25]


def test_snr_map_has_a_panel_per_data_set_and_adds_the_seeds(sets):
    content = json.loads(sets[0].read_text())  # rude, N = 2, the first of two seeds
    content["groups"][1] |= {"signal_energy": 3.0, "noise_energy": 12.0}
    sets[0].write_text(json.dumps(content))
    figure = shard_snr.draw(signal_to_noise(sets))
    rows, panels = titles(figure)
    assert rows == ["N = 2", "N = 5"]
    assert panels == 2 * ["rude", "mean"]
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["token embedding", "norm", "mlp"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "1", "–"]
    (image,) = axis.get_images()
    cells = image.get_array()
    assert isinstance(image.norm, LogNorm)
    assert cells[2, 0] == pytest.approx((3 + 1) / (12 + 4))
    # no such tensor, and ratios at or below 0, have no colour; the latter show their number
    assert cells.mask.tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    texts = {(t.get_position()): t.get_text() for t in axis.texts}
    assert texts == {(2, 0): "0.5", (2, 1): "-0.25", (0, 2): "0.25", (1, 2): "0"}


def test_large_map_marks_what_has_no_ratio(monkeypatch, sets):
    monkeypatch.setattr(heat_maps, "MAX_NUMBERS", 5)
    figure = shard_snr.draw(signal_to_noise(sets))
    assert {t.get_position(): t.get_text() for t in figure.axes[0].texts} == {
        (2, 1): "−",
        (1, 2): "−",
    }


@pytest.mark.parametrize("noise", [0.0, 1e-15])
def test_layer_without_noise_is_a_gap(sets, noise):
    for path in sets:
        content = json.loads(path.read_text())
        content["groups"][0] |= {"noise_energy": noise, "snr": None}
        path.write_text(json.dumps(content))
    figure = shard_snr.draw(signal_to_noise(sets))
    assert figure.axes[0].get_images()[0].get_array().mask[0].all()


def test_map_without_any_signal_is_drawn(sets):
    data = signal_to_noise(sets).assign(signal_energy=-1.0)
    assert shard_snr.draw(data).axes[0].get_images()[0].get_array().mask.all()


def test_cosines_are_all_below_the_diagonal_and_without_embeddings_above(sets):
    table = cosines(sets)
    assert len(table) == 2 * 2 * (2 + 5 * 4)
    below = table["shard_a"] > table["shard_b"]
    assert set(table["cosine"][below]) == {0.2}
    assert set(table["cosine"][~below]) == {0.3}
    figure = shard_cosines.draw(table)
    rows, panels = titles(figure)
    assert rows == ["rude", "mean"]
    assert panels == 2 * ["N = 2", "N = 5"]
    cells = figure.axes[1].get_images()[0].get_array()
    assert cells.mask.tolist() == np.eye(5, dtype=bool).tolist()
    assert (cells[3, 1], cells[1, 3]) == pytest.approx((0.2, 0.3))


def test_cosine_with_a_zero_vector_is_a_gap(sets):
    content = json.loads(sets[0].read_text())
    content["cosines"]["all"][1][0] = None
    sets[0].write_text(json.dumps(content))
    assert cosines(sets)["cosine"].isna().sum() == 1


def test_losses_are_those_of_the_files(tmp_path):
    table = losses(*manifests.losses(tmp_path))
    assert table.columns.tolist() == ["set", "n", "seed", "shard", "step", "epoch", "loss"]
    assert len(table) == 4 + 5 + 5 + 4
    last = table[(table["n"] == 3) & (table["shard"] == 2)]
    assert last["loss"].tolist() == [6, 5, 4, 3]


def test_training_loss_has_a_line_per_shard_and_their_mean(tmp_path):
    figure = training_loss.draw(losses(*manifests.losses(tmp_path)))
    rows, panels = titles(figure)
    assert (rows, panels) == (["rude"], ["N = 1", "N = 3"])
    assert [len(axis.get_lines()) for axis in figure.axes] == [1, 4]
    mean = figure.axes[1].get_lines()[-1]
    assert mean.get_xdata().tolist() == [0, 1, 2, 3]  # where all shards have a loss
    assert mean.get_ydata().tolist() == [5, 4, 3, 2]


def test_sets_of_different_n_leave_gaps(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, n, recipe in zip(paths, (2, 3), ("default", "small"), strict=True):
        path.write_text(json.dumps(manifests.shards(n, "1", recipe=recipe)))
    for figure, data in (
        (shard_subsets, subsets(paths)),
        (shard_snr, signal_to_noise(paths)),
        (shard_cosines, cosines(paths)),
    ):
        rows, _ = titles(figure.draw(data))
        assert len(rows) == (4 if figure is shard_subsets else 2)


def test_recipe_is_named_unless_it_is_the_default(tmp_path):
    path = tmp_path / "shards.json"
    path.write_text(json.dumps(manifests.shards(2, "1", recipe="small")))
    assert set(cosines([path])["set"]) == {"rude (recipe=small)"}
    assert pd.unique(subsets([path])["set"]).tolist() == ["rude (recipe=small)"]

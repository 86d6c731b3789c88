"""One look per method and N."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from detoxmerge.plan.registry import METHODS
from detoxmerge.report.styles import line_style

USED = (1, 2, 5, 10, 20)


def grey(colour: object) -> float:
    """Luminance, 0..1 (ITU-R BT.601)."""
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_an_n_looks_the_same_whatever_stands_beside_it():
    assert line_style("merge", 4) == line_style("merge", 4.0)
    looks = [line_style("merge", n) for n in USED]
    assert len({look["marker"] for look in looks}) == len(USED)


def test_more_shards_are_lighter_and_told_apart_in_grey():
    shades = [grey(line_style("merge", n)["color"]) for n in USED]
    assert all(b - a > 0.05 for a, b in itertools.pairwise(shades))
    assert shades[-1] < 0.8


def test_many_shards_still_show():
    assert line_style("merge", 1000)["color"] == line_style("merge", 32)["color"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_methods_without_an_n_differ(missing, monkeypatch):
    method = SimpleNamespace(Params=SimpleNamespace(model_fields={"rate": None}))
    for name in ("ascent", "steering"):
        monkeypatch.setitem(METHODS, name, method)
    looks = [line_style(name, missing) for name in ("ascent", "steering")]
    assert looks[0]["color"] != looks[1]["color"]
    assert looks[0]["marker"] != looks[1]["marker"]

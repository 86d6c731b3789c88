"""Probes and directions of steering, against small computations by hand."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.optimize import minimize

from detoxmerge.edit.steering.probes import (
    directions,
    fit_logistic,
    probe_accuracy,
    write_vectors,
)

RANDOM = np.random.default_rng(0)


def penalised(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """The loss in other words: cross-entropy in nats, and half the squared weights."""
    p = 1 / (1 + np.exp(-(x @ at[:-1] + at[-1])))
    cross = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()
    return cross + 0.5 * (at[:-1] ** 2).sum()


@pytest.mark.parametrize("gap", [0.0, 1.0, 20.0])
def test_logistic_regression_is_at_the_minimum_of_its_loss(gap: float) -> None:
    x = RANDOM.standard_normal((12, 3))
    y = np.repeat([1.0, 0.0], 6)
    x[:6] += gap / 10
    w, b = fit_logistic(x, y)
    best = minimize(penalised, np.zeros(4), args=(x, y), method="Nelder-Mead", tol=1e-10)
    best = minimize(penalised, best.x, args=(x, y), method="Nelder-Mead", tol=1e-12)
    assert np.append(w, b) == pytest.approx(best.x, abs=1e-4)


def test_logistic_regression_of_two_points_on_a_line() -> None:
    """x = +-a: b = 0, and w solves w = 2 a / (1 + exp(w a))."""
    w, b = fit_logistic(np.array([[2.0], [-2.0]]), np.array([1.0, 0.0]))
    assert b == pytest.approx(0, abs=1e-7)
    assert w[0] == pytest.approx(4 / (1 + np.exp(2 * w[0])), abs=1e-7)


def test_logistic_regression_bears_far_points() -> None:
    w, b = fit_logistic(np.array([[1e4], [-1e4], [9e3]]), np.array([1.0, 0.0, 1.0]))
    assert np.isfinite([*w, b]).all()


def test_a_probe_is_fitted_on_the_first_pairs_and_tested_on_the_others() -> None:
    """One layer, two chunks of two: the first tells all, the second the test pairs wrongly."""
    toxic, nontoxic = np.zeros((10, 1, 4)), np.zeros((10, 1, 4))
    toxic[:, 0, :2], nontoxic[:, 0, :2] = 1, -1
    toxic[:8, 0, 2:], nontoxic[:8, 0, 2:] = 1, -1
    toxic[8:, 0, 2:], nontoxic[8:, 0, 2:] = -1, 1
    assert probe_accuracy(toxic, nontoxic, 2, 0.8).tolist() == [[1.0, 0.0]]
    # of which half are for the fit, and of the others three fifths are like those
    assert probe_accuracy(toxic, nontoxic, 2, 0.5).tolist() == [[1.0, 0.6]]
    toxic[4:, 0, 2:], nontoxic[4:, 0, 2:] = -1, 1
    assert probe_accuracy(toxic, nontoxic, 2, 0.4).tolist() == [[1.0, 0.0]]


def test_a_probe_without_knowledge_is_right_on_one_class() -> None:
    """Equal texts: w = b = 0, and 0 is not above 0, so all are called non-toxic."""
    same = np.ones((5, 2, 4))
    assert probe_accuracy(same, same, 2, 0.8).tolist() == [[0.5, 0.5]] * 2


def test_chunks_are_neighbours_and_each_has_its_own_accuracy() -> None:
    toxic, nontoxic = RANDOM.standard_normal((2, 4, 1, 5))
    found = directions(toxic, nontoxic, np.array([[0.25, 1.0]]), "paper")[0]
    z = (nontoxic - toxic).mean(axis=0)[0]
    assert found == pytest.approx(z * [0.25, 0.25, 0.25, 1.0, 1.0])  # 5 = 3 + 2


def test_the_released_direction_by_hand() -> None:
    toxic, nontoxic = RANDOM.standard_normal((2, 3, 2, 4))
    accuracy = np.array([[0.5, 1.0], [0.0, 0.25]])
    found = directions(toxic, nontoxic, accuracy, "released")
    for layer, weights in enumerate(([1.5, 1.5, 2, 2], [1, 1, 1.25, 1.25])):
        d = sum(toxic[j, layer] - nontoxic[j, layer] for j in range(3)) * weights
        assert found[layer] == pytest.approx(-d / np.sqrt((d**2).sum()))


@pytest.mark.parametrize("rule", ["released", "paper"])
def test_no_difference_gives_no_direction(rule: str) -> None:
    same = np.ones((3, 2, 4))
    assert not directions(same, same, np.ones((2, 2)), rule).any()


def test_vectors_are_written_in_fp32_with_their_norm(tmp_path: Path) -> None:
    vectors = {"direction.1": np.array([3.0, 0.0]), "direction.0": np.array([0.0, 4.0])}
    fields = write_vectors(tmp_path / "hooks.safetensors", vectors)
    found = load_file(tmp_path / "hooks.safetensors")
    assert {name: v.tolist() for name, v in found.items()} == {
        "direction.0": [0, 4],
        "direction.1": [3, 0],
    }
    assert found["direction.0"].dtype == np.float32
    data = (tmp_path / "hooks.safetensors").read_bytes()
    checksum = hashlib.sha256(data).hexdigest()
    assert fields == {"file": "hooks.safetensors", "sha256": checksum, "l2_norm": 5.0}

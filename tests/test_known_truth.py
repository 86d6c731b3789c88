"""From shards to the headline where the truth is known: tau_i = signal + noise_i of known size.

A hundred studies lie side by side, a tensor each: the same signal, independent Gaussian noise. N
shards and a single vector are written, merged and measured by the library, and what it finds is
compared with closed forms. A mean over the studies may miss by four of its standard errors.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from report.curves import measured
from report.test_change_figures import unchanged
from safetensors.numpy import load_file, save_file
from scipy.stats import binom, norm

from detoxmerge.edit.build import make_edit
from detoxmerge.edit.methods import merge
from detoxmerge.measure.change import THRESHOLDS, parameter_change
from detoxmerge.measure.gram import sign_agreement, signal_and_noise
from detoxmerge.measure.shard_statistics import shard_statistics
from detoxmerge.plan.edits import Edit
from detoxmerge.report.change_nulls import RANDOM, SHARD, SINGLE, VECTOR
from detoxmerge.report.comparison import LEVELS, compare
from detoxmerge.storage.artefacts import read_json, sha256, write_manifest
from detoxmerge.train.job import Job

STUDIES, N, SHAPE, SIGMA = 100, 5, (64, 64), 2e-5
NAMES = [f"study{i:02}.weight" for i in range(STUDIES)]
SIZE = SHAPE[0] * SHAPE[1]
NOISE = SIZE * SIGMA**2  # energy of one shard's
COVERED = int(binom.ppf(0.001, STUDIES, 0.95))  # 95 % intervals cover more rarely 1 time in 1,000

# what is toxic: in a quarter of the entries, with half of the noise's energy
RANDOM_ENTRIES = np.random.default_rng(0).standard_normal((2, SIZE))
TOXIC = np.sqrt(2) * SIGMA * RANDOM_ENTRIES[0] * (RANDOM_ENTRIES[1] < norm.ppf(0.25))
SCALES = np.linspace(0, 1, 6)
FALL, COST = 0.3, 0.25  # of toxicity, and in nats per token, of a single vector at scale 1


def fine_tune(folder: Path, vectors: np.ndarray) -> Path:
    """Manifest of one shard's task vector; `vectors` are (STUDIES, SIZE)."""
    folder.mkdir()
    delta = folder / "delta.safetensors"
    tensors = vectors.astype(np.float32).reshape(STUDIES, *SHAPE)
    save_file(dict(zip(NAMES, tensors, strict=True)), delta)
    files = {delta.name: sha256(delta)}
    write_manifest(folder / "meta.json", protocol={}, inputs=[], files=files)
    return folder / "meta.json"


def edited(folder: Path, base: Path, shards: list[Path]) -> tuple[Path, np.ndarray]:
    """`change.json` of the merged edit, and by what it moves the weights at scale 1."""
    n, out = len(shards), folder / "edit.json"
    edit = Edit("m", "d", "merge", f"n={n}", "1", merge.Params(n=n))
    make_edit(edit, {}, base, shards, Job(out))
    delta, change = out.with_name("delta.safetensors"), out.with_name("change.json")
    parameter_change(out, delta, {}, change, change.with_suffix(".parquet"))
    tensors = load_file(delta)
    moves = np.stack([tensors[name].ravel() for name in NAMES]).astype(np.float64)
    return change, read_json(out)["sign"] * moves


def pipeline(folder: Path, signal: np.ndarray) -> SimpleNamespace:
    """What the library makes and measures of N shards and of a single vector."""
    noise = SIGMA * np.random.default_rng(1).standard_normal((N + 1, STUDIES, SIZE))
    tunes = [fine_tune(folder / f"shard{i}", signal + one) for i, one in enumerate(noise)]
    base, shards = folder / "base.json", tunes[:N]
    write_manifest(base, protocol={}, inputs=[], files={}, verb="none")
    edits = edited(folder / "merged", base, shards), edited(folder / "single", base, tunes[N:])
    changes, moves = zip(*edits, strict=True)
    out, table = folder / "shards.json", folder / "shards.parquet"
    deltas = [tune.with_name("delta.safetensors") for tune in shards]
    of = {"dataset": "d", "recipe": "default", "n": N, "seed": "1"}
    shard_statistics(shards, deltas, {"max_subsets": 10, "seed": 42}, of, out, table)
    found, shares = read_json(out), unchanged(list(changes), [out])
    return SimpleNamespace(
        signal=signal,
        noise=(noise[:N].mean(axis=0), noise[N]),  # of the merged and the single vector
        moves=moves,  # of both
        whole=found["groups"][0],
        curve=found["curves"]["all"],
        studies=pd.read_parquet(table),
        shares=shares[shares["n"] == N].set_index(["curve", "threshold"])["share"],
    )


@pytest.fixture(scope="module")
def signal(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return pipeline(tmp_path_factory.mktemp("signal"), TOXIC)


@pytest.fixture(scope="module")
def pure_noise(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return pipeline(tmp_path_factory.mktemp("noise"), np.zeros(SIZE))


@pytest.fixture(params=["signal", "pure_noise"])
def made(request: pytest.FixtureRequest) -> SimpleNamespace:
    return request.getfixturevalue(request.param)


def assert_unbiased(estimates: pd.Series, true: float) -> None:
    """One estimate per study."""
    assert estimates.mean() == pytest.approx(true, abs=4 * estimates.sem())


def test_signal_noise_and_cosines_are_recovered(made: SimpleNamespace) -> None:
    energy = float((made.signal**2).sum())
    true = {
        "mean_squared_norm": energy + NOISE,
        "signal_energy": energy,
        "noise_energy": NOISE,
        "snr": energy / NOISE,
        "mean_cosine": energy / (energy + NOISE),
    }
    grams = [gram.reshape(N, N) for gram in made.studies["gram"]]
    found = pd.DataFrame([signal_and_noise(gram) for gram in grams])
    for name, value in true.items():
        assert_unbiased(found[name], value)
    assert_unbiased(found["mean_vector_l2_norm"] ** 2, energy + NOISE / N)
    for name in ("snr", "mean_cosine"):  # of all studies together, with the error of their mean
        assert made.whole[name] == pytest.approx(true[name], abs=4 * found[name].sem())


def error(share: float) -> float:
    """Four standard errors of a share of all entries, and one entry."""
    entries = STUDIES * SIZE
    return 4 * np.sqrt(share * (1 - share) / entries) + 1 / entries


def test_signs_agree_as_often_as_the_noise_lets_them(made: SimpleNamespace) -> None:
    positive = norm.cdf(made.signal / SIGMA)
    consensus = (positive**N + (1 - positive) ** N).mean()
    found = [sign_agreement(counts) for counts in made.studies["agreement"]]
    assert_unbiased(pd.Series([one["full_consensus_share"] for one in found]), consensus)
    whole = made.whole["sign_agreement"]
    for j, count, null in zip(
        whole["num_same_sign"], whole["counts"], whole["null_shares"], strict=True
    ):
        share = (binom.pmf(j, N, positive) + binom.pmf(N - j, N, positive)).mean()
        assert count / (STUDIES * SIZE) == pytest.approx(share, abs=error(share))
        assert (share == pytest.approx(null)) == (not made.signal.any())


def below(threshold: float, signal: np.ndarray, sigma: float) -> float:
    """P(|x| < threshold), x ~ N(signal, sigma^2), mean over the entries."""
    shares = norm.cdf(threshold, signal, sigma) - norm.cdf(-threshold, signal, sigma)
    return float(shares.mean())


def test_unchanged_shares_and_their_nulls_are_those_of_the_normal_distribution(
    made: SimpleNamespace,
) -> None:
    power, sigma = (made.signal**2).mean(), SIGMA / np.sqrt(N)
    merged, single = np.sqrt(power + sigma**2), np.sqrt(power + SIGMA**2)  # rms
    for t in THRESHOLDS:
        true = {
            VECTOR: below(t, made.signal, sigma),
            SHARD: below(t, made.signal, SIGMA),
            SINGLE: below(t * single / merged, made.signal, SIGMA),
            RANDOM: below(t, np.zeros(1), merged),
        }
        for curve, share in true.items():
            assert made.shares[curve, t] == pytest.approx(share, abs=error(share))


def test_only_a_signal_leaves_more_unchanged_than_the_norm_does(
    signal: SimpleNamespace, pure_noise: SimpleNamespace
) -> None:
    excess = [made.shares[VECTOR] - made.shares[SINGLE] for made in (signal, pure_noise)]
    assert excess[0][1e-5] > 0.1
    assert excess[1].abs().max() < np.sqrt(2) * error(0.5)


def test_norms_and_unchanged_shares_follow_the_number_of_shards(made: SimpleNamespace) -> None:
    for point in made.curve:
        sigma = SIGMA / np.sqrt(point["k"])
        rms = np.sqrt((made.signal**2).mean() + sigma**2)
        assert point["l2_norm"]["mean"] == pytest.approx(rms * np.sqrt(STUDIES * SIZE), rel=0.005)
        for t in THRESHOLDS:
            true = {
                "almost_unchanged_share": below(t, made.signal, sigma),
                "norm_matched_random_share": below(t, np.zeros(1), rms),
            }
            for kind, share in true.items():
                found = point[kind][f"below_{t:g}"]["mean"]
                assert found == pytest.approx(share, abs=error(share))


def along(vectors: np.ndarray) -> np.ndarray:
    """How many times TOXIC is in each vector, (..., SIZE) -> (...)."""
    return vectors @ TOXIC / (TOXIC**2).sum()


def rest(vectors: np.ndarray) -> np.ndarray:
    """Energy of what is not along TOXIC, as a multiple of one shard's noise."""
    return ((vectors - along(vectors)[..., None] * TOXIC) ** 2).sum(axis=-1) / NOISE


def detoxified(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True toxicity and NLL: the one falls against TOXIC, all else costs."""
    return 0.5 + FALL * along(theta), 3 + COST * rest(theta)


def shaken(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likewise, where any change of the weights lowers toxicity, and costs as much."""
    return 0.5 - FALL * rest(theta), 3 + COST * rest(theta)


def compared(made: SimpleNamespace, true: Callable[[np.ndarray], tuple]) -> pd.DataFrame:
    """The merged against the single edit, measured on prompts and windows; a row per study."""
    rows = []
    for i, moves in enumerate(zip(*made.moves, strict=True)):
        curves = measured(i, SCALES, *(true(SCALES[:, None] * move) for move in moves))
        rows.append(compare(*curves, seed=i, replicates=400).overall)
    return pd.DataFrame(rows)


def reduction(falls: np.ndarray, costs: np.ndarray) -> float:
    """The true one over LEVELS, for toxicity linear and NLL quadratic in the scale.

    Args:
        falls: of toxicity at scale 1, of the merged and the single edit.
        costs: in nats per token at scale 1, likewise.
    """
    levels = np.arange(1, LEVELS + 1) / LEVELS * falls.min()
    merged, single = np.expm1(costs[:, None] * (levels / falls[:, None]) ** 2).sum(axis=1)
    return 1 - merged / single


def test_the_reduction_is_recovered_and_its_interval_covers_it(signal: SimpleNamespace) -> None:
    found = compared(signal, detoxified)
    noise = np.stack(signal.noise, axis=1)  # (STUDIES, 2, SIZE)
    falls, costs = FALL * (1 + along(noise)), COST * rest(noise)
    true = np.array([reduction(*study) for study in zip(falls, costs, strict=True)])
    expected = reduction(np.full(2, FALL), COST / np.array([N, 1]))
    assert expected == pytest.approx(1 - 1 / N, abs=0.02)  # not equal: PPL is convex in the NLL
    assert_unbiased(found["value"], expected)
    assert (found["value"] - true).abs().median() < 0.01
    assert found["low"].le(true).mul(found["high"].ge(true)).sum() >= COVERED
    assert found["low"].min() > 0  # and it is told from nothing


def claims(found: pd.DataFrame) -> int:
    """How many have a value, and no interval that covers zero."""
    zero = found["low"].le(0) & found["high"].ge(0)
    return int((found["value"].notna() & ~zero).sum())


def test_nothing_is_claimed_where_nothing_was_learned(pure_noise: SimpleNamespace) -> None:
    assert claims(compared(pure_noise, detoxified)) <= STUDIES - COVERED


def test_nothing_is_claimed_where_the_merged_vector_is_only_shorter(
    pure_noise: SimpleNamespace,
) -> None:
    """At the same norm both edits are as toxic and as dear."""
    found = compared(pure_noise, shaken)
    assert_unbiased(found["value"], 0)
    assert found["value"].isna().sum() == 0
    assert claims(found) <= STUDIES - COVERED

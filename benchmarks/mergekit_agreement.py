"""`detoxmerge merge` against mergekit on pico models: writes the tables of docs/mergekit.md.

mergekit lives in an environment of its own. Run from the root, with BIN its folder of programs:
PYTHONPATH=workflow/scripts:tests python benchmarks/mergekit_agreement.py \\
    --mergekit BIN/mergekit-yaml
Exits with 1 where what should agree does not.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mergekit_sides import (
    COUNTS,
    MODELS,
    Weights,
    config,
    load,
    make_data,
    run_alone,
    run_mergekit,
    run_ours,
    settings,
)
from page import put, table

PAGE = Path(__file__).parent.parent / "docs" / "mergekit.md"
BY = "benchmarks/mergekit_agreement.py"
TOLERANCE = 2.0**-22  # two units in the last place of fp32 numbers in 1..2, as large as these get
DRAWN = [
    ("dare density=0.5", "dare_linear weight=1 density=0.5 lambda=-1"),
    ("della density=0.5 epsilon=0.15 layout=linear",
     "della_linear weight=1 density=0.5 epsilon=0.15 lambda=-1"),
]  # fmt: skip
SEEDS = range(8)
AGREEMENT = (
    "this project", "mergekit", "data", "largest difference", "of the change's norm",
    "of the weights", "why",
)  # fmt: skip
DRAWS = ("operator", "whose", "kept", "factor of a kept entry", "smallest third", "largest third")


@dataclass(frozen=True)
class Case:
    """One merge on both sides, each as its name and settings."""

    ours: str
    theirs: str
    data: str = "fp32"
    alone: bool = False  # our operator on each tensor as if it were a whole vector
    reason: str = ""  # why they differ; none: they must agree


CASES = [
    Case("mean", "task_arithmetic weight=-1/N lambda=1"),
    Case("mean", "task_arithmetic weight=1/N lambda=-1"),
    Case("mean", "dare_linear weight=1/N density=1 lambda=-1"),
    Case("mean", "task_arithmetic weight=1/N lambda=-1", "grid"),
    Case("sum", "task_arithmetic weight=1 lambda=-1"),
    Case("weighted weights=shares", "task_arithmetic weight=shares lambda=-1"),
    Case("ties density=1", "ties weight=1 lambda=-1"),
    Case("ties density=1", "ties weight=1/N lambda=-1"),
    Case("ties density=0.2", "ties weight=1 density=0.2 lambda=-1", alone=True),
    Case("dare density=1 elect=true", "dare_ties weight=1 density=1 normalize=true lambda=-1"),
    Case("breadcrumbs", "breadcrumbs weight=1/N density=0.9 gamma=0.01 lambda=-1"),
    Case("model_stock scale=-1", "model_stock"),  # which has no factor that could turn it round
    Case("ties density=0.2", "ties weight=1 density=0.2 lambda=-1",
         reason="it trims tensor by tensor, this project the whole vector"),
    Case("ties density=0.2", "ties weight=-1/N density=0.2 lambda=1", alone=True,
         reason="it divides by the sum of the weights, so the minus cancels and it adds"),
    Case("ties density=0.2", "ties weight=-1/N density=0.2 normalize=false lambda=1", alone=True,
         reason="it divides by N, this project by how many agree"),
    Case("dare density=1 elect=true", "dare_ties weight=1/N density=1 lambda=-1",
         reason="likewise: it does not normalise by default"),
    Case("ties density=1", "ties weight=1 lambda=-1", "grid",
         reason="where the values cancel it elects +, this project none"),
    Case("ties density=0.2", "ties weight=1 density=0.2 lambda=-1", "grid", alone=True,
         reason="the same, and of equal magnitudes at the threshold it keeps some, this project "
         "all"),
    Case("breadcrumbs", "breadcrumbs weight=1/N density=0.9 gamma=0.01 lambda=-1", "grid",
         reason="of equal magnitudes at a threshold it keeps some, this project all"),
    Case("mean", "task_arithmetic weight=1/N lambda=-1", "bf16",
         reason="it computes in bf16"),
    Case("mean", "task_arithmetic weight=1/N lambda=-1 dtype=float32 out_dtype=bfloat16", "bf16",
         reason="the last bit of fp32 sums, here and there rounded to another bf16 number"),
]  # fmt: skip


def compare(ours: Weights, theirs: Weights, base: Weights) -> tuple[float, float, float]:
    """The largest difference; its norm as share of our change's; the share of weights it is in."""
    flat = [np.concatenate([w[name].ravel() for name in base]) for w in (ours, theirs, base)]
    change, gap = flat[0] - flat[2], flat[0] - flat[1]
    norm = np.linalg.norm
    return float(np.abs(gap).max()), float(norm(gap) / norm(change)), float((gap != 0).mean())


def agreement(folder: Path, mergekit: Path) -> tuple[list[tuple[object, ...]], bool]:
    """A row per case, and whether all agree that must."""
    runs = [(c, m, n, folder / c.data / m) for c in CASES for m in MODELS for n in COUNTS]
    outs = [folder / "theirs" / str(i) for i in range(len(runs))]
    jobs = [
        (config(c.theirs, at, n), out, 0) for (c, _, n, at), out in zip(runs, outs, strict=True)
    ]
    run_mergekit(mergekit, jobs)
    found: dict[Case, list[tuple[float, float, float]]] = {case: [] for case in CASES}
    for i, (case, _, n, at) in enumerate(runs):
        theirs, base = load(outs[i]), load(at / "base")
        operator, given = settings(case.ours, n)
        out = folder / "ours" / str(i)
        alone = case.alone
        ours = run_alone(operator, given, at, n) if alone else run_ours(operator, given, at, n, out)
        found[case].append(compare(ours, theirs, base))
    rows, fine = [], True
    for case in CASES:
        most, share, places = map(max, zip(*found[case], strict=True))
        ours = f"`{case.ours}`" + (", tensor by tensor" if case.alone else "")
        figures = f"{most:.1e}", f"{share:.1e}", f"{100 * places:.2g} %"
        rows.append((ours, f"`{case.theirs}`", case.data, *figures, case.reason or "agree"))
        if not case.reason and most > TOLERANCE:
            print(f"{case.ours} and {case.theirs} differ by {most}", file=sys.stderr)
            fine = False
    return rows, fine


def drawn(folder: Path, mergekit: Path) -> list[tuple[object, ...]]:
    """What the random operators do to one vector: a row for each and side."""
    at = folder / "fp32" / "llama"
    base, moved = load(at / "base"), load(at / "tune0")
    delta = {n: moved[n] - base[n] for n in base if base[n].ndim > 1}
    rows = []
    for ours, theirs in DRAWN:
        outs = [folder / "drawn" / theirs.split()[0] / str(seed) for seed in SEEDS]
        run_mergekit(mergekit, [(config(theirs, at, 1), outs[s], s) for s in SEEDS])
        operator, given = settings(ours, 1)
        both = {theirs: [load(out) for out in outs], ours: []}
        for seed in SEEDS:
            out = folder / "drawn" / operator / str(seed)
            both[ours].append(run_ours(operator, given | {"operator_seed": seed}, at, 1, out))
        for side, merged in both.items():
            changes = [{n: base[n] - one[n] for n in delta} for one in merged]
            rows.append(
                (f"`{side}`", "mergekit" if side == theirs else "this", *kept(delta, changes))
            )
    return rows


def kept(delta: Weights, changes: list[Weights]) -> tuple[str, ...]:
    """The share kept; the factor of what is kept; what comes out of small and large entries."""
    share, factors, sums = [], [], np.zeros((2, 2))
    for change in changes:
        for name, before in delta.items():
            moved = np.abs(before) > 1e-3  # so that the rounding of the weights is not seen
            factor = change[name][moved] / before[moved]
            share.append((factor != 0).mean())
            factors.append(factor[factor != 0])
            rank = np.argsort(np.argsort(np.abs(before), axis=1), axis=1) / before.shape[1]
            for i, part in enumerate((rank < 1 / 3, rank >= 2 / 3)):
                sums[i] += np.abs(change[name][part]).sum(), np.abs(before[part]).sum()
    small, large = sums[:, 0] / sums[:, 1]
    every = np.concatenate(factors)
    span = f"{every.min():.2f} to {every.max():.2f}"
    return f"{100 * np.mean(share):.0f} %", span, f"{small:.2f}", f"{large:.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mergekit", type=Path, required=True, help="its mergekit-yaml")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        make_data(Path(place))
        rows, fine = agreement(Path(place), asked.mergekit)
        put(PAGE, "agreement", table(AGREEMENT, rows), BY)
        put(PAGE, "draws", table(DRAWS, drawn(Path(place), asked.mergekit)), BY)
    sys.exit(0 if fine else 1)

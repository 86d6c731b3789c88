"""What the tests have to know of each operator: one entry, which all of their tables come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from merge import dense

Params = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One operator.

    Attributes:
        reference: gives the merged vector of N vectors and the operator's parameters.
        five: sets of parameters under which five vectors are compared with the reference.
        four: parameters under which four vectors can be merged, whatever is known of their texts.
        one: parameters under which one vector is merged to itself; None if there are none.
        ordered: whether the order of the vectors matters.
    """

    reference: Callable[..., dense.Vector]
    five: Sequence[Params] = ({},)
    four: Params = field(default_factory=dict)
    one: Params | None = None
    ordered: bool = False


def case_of(operator: str) -> Case:
    """The entry of an operator."""
    if operator not in CASES:
        raise LookupError(
            f"operator '{operator}' has no entry in CASES of tests/merge/operator_cases.py; add "
            "one with a dense reference, which may be written there or in dense.py"
        )
    return CASES[operator]


CASES: dict[str, Case] = {
    "mean": Case(dense.each(lambda values, name: values.mean(axis=0)), one={}),
    "sum": Case(dense.each(lambda values, name: values.sum(axis=0)), one={}),
    "weighted": Case(
        dense.each(dense.weighted),
        five=[{"weights": [0.5, 0.25, 0.15, 0.1, 0.0]}],
        four={"weights": [0.5, 0.25, 0.125, 0.125]},
        one={"weights": [1.0]},
        ordered=True,
    ),
    "median": Case(dense.each(lambda values, name: np.median(values, axis=0)), one={}),
    "trimmed_mean": Case(
        dense.each(dense.trimmed_mean), five=[{}, {"trim": 0.4}], four={"trim": 0.25}
    ),
    "ties": Case(
        dense.ties,
        five=[{}, {"density": 0.5}, {"density": 0.001}, {"density": 1.0}],
        four={"density": 0.4},
        one={"density": 1.0},
    ),
    "dare": Case(
        dense.each(dense.dare),
        five=[{}, {"density": 0.9, "operator_seed": 7}, {"elect": True}],
        one={"density": 1.0},
        ordered=True,
    ),
    "della": Case(
        dense.each(dense.della),
        five=[
            {"layout": "linear"},
            {"layout": "conv1d"},
            {"layout": "conv1d", "density": 0.6, "epsilon": 0.4, "operator_seed": 1},
        ],
        four={"layout": "conv1d"},
        one={"layout": "linear", "density": 1.0, "epsilon": 0.0},
        ordered=True,
    ),
    "breadcrumbs": Case(
        dense.each(dense.breadcrumbs),
        five=[{}, {"density": 0.3, "gamma": 0.2}],
        one={"density": 1.0, "gamma": 0.0},
    ),
    "negmerge": Case(
        dense.each(dense.negmerge), five=[{}, {"consensus": 0.6}, {"consensus": 0.2}], one={}
    ),
    "magmax": Case(dense.each(dense.magmax), one={}),
    "tall_consensus": Case(
        dense.each(dense.tall_consensus),
        five=[
            {},
            {"mask_lambda": 0.6, "min_shards": 1},
            {"mask_lambda": 0.4, "min_shards": 3},
        ],
        four={"mask_lambda": 0.3},
        one={"min_shards": 1},
    ),
    "model_stock": Case(dense.each(dense.model_stock)),
    "snr": Case(dense.each(dense.snr), five=[{}, {"threshold": 2.0}]),
    "random": Case(dense.each(dense.random), five=[{}, {"operator_seed": 3}]),
}

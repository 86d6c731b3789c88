"""What each method asks for and refuses."""

from types import SimpleNamespace

import pytest

from detoxmerge.edit.methods import leave_one_out
from detoxmerge.plan.methods import METHODS, replicates


def test_leave_one_out_takes_all_shards_but_one() -> None:
    at = SimpleNamespace(shard=lambda recipe, n, shard: f"{recipe}/n{n}/{shard}")
    params = leave_one_out.Params(n=4, without=2, recipe="toy")
    assert leave_one_out.inputs(params, at) == ["toy/n4/0", "toy/n4/1", "toy/n4/3"]
    with pytest.raises(ValueError, match=r"without: 4 is none of the shards 0\.\.3"):
        leave_one_out.Params(n=4, without=4)


def test_a_replicate_names_a_method() -> None:
    assert replicates() == ["leave_one_out"]
    assert {METHODS[name].REPLICATE_OF for name in replicates()} <= set(METHODS)

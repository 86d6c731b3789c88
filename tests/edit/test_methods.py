"""What each method asks for and refuses."""

from types import SimpleNamespace

import pytest

from detoxmerge.edit.methods import leave_one_out, merge
from detoxmerge.plan.registry import METHODS, OPERATORS, replicates


def test_leave_one_out_takes_all_shards_but_one() -> None:
    at = SimpleNamespace(shard=lambda recipe, n, shard: f"{recipe}/n{n}/{shard}")
    params = leave_one_out.Params(n=4, without=2, recipe="toy")
    assert leave_one_out.inputs(params, at) == ["toy/n4/0", "toy/n4/1", "toy/n4/3"]
    with pytest.raises(ValueError, match=r"without: 4 is not among the shards 0\.\.3"):
        leave_one_out.Params(n=4, without=4)


def test_a_replicate_names_a_method() -> None:
    assert replicates() == ["leave_one_out"]
    assert {METHODS[name].REPLICATE_OF for name in replicates()} <= set(METHODS)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("merge", "n operator lines_alpha lines_beta exclude recipe"),
        ("leave_one_out", "n without operator recipe"),
        ("dexperts", "expert recipe base_top_p model"),
        ("expert_anti_expert", "alpha num_shards recipe"),
        ("filtering", "mode recipe prompts scorer threshold"),
        ("finetune_nontoxic", "recipe rows sample_seed"),
    ],
)
def test_parameters_stay_in_the_order_of_the_paths(name: str, fields: str) -> None:
    """The setting's path names them in this order: another one would move every result."""
    assert list(METHODS[name].Params.model_fields) == fields.split()


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_params_of_the_method_are_those_of_the_operator_between_its_own(name: str) -> None:
    cls = merge.params_of({"operator": name})
    fields = list(cls.model_fields)
    own = list(OPERATORS[name].Params.model_fields)
    common = list(merge.Params.model_fields)
    assert not set(own) & set(common)
    assert fields == common[:2] + own + common[2:]
    assert issubclass(cls, OPERATORS[name].Params)


def test_the_single_task_vector_of_a_merge_keeps_what_all_operators_have() -> None:
    params = merge.params_of({"operator": "ties"})
    found = merge.single_of(params(n=5, operator="ties", density=0.5, recipe="x", exclude="wte"))
    assert found == merge.Params(n=1, recipe="x", exclude=["wte"])

"""Values as path segments: one spelling per value, one value per spelling, nothing unsafe."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from detoxmerge.plan.slug import SETTING, any_of, edit_pattern, setting_slug, slug


class Params(BaseModel):
    """Like a method's."""

    n: int
    rate: float = 0.5
    recipe: str = "default"
    layers: list[int] = [1]
    tied: bool = False


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (0, "0"),
        (-3, "-3"),
        (0.5, "0.5"),
        (1.0, "1"),
        (1e-5, "1e-05"),
        (0.1 + 0.05, "0.15"),
        (-0.0, "0"),
        (True, "true"),
        (False, "false"),
        ("gpt2-large", "gpt2-large"),
        ("phi-1.5", "phi-1.5"),
        ([1, 2], "1+2"),
        ((0.5, "a"), "0.5+a"),
    ],
)
def test_value_has_one_spelling(value, text):
    assert slug(value) == text


@pytest.mark.parametrize("value", ["", "A", "a/b", "a=b", "a,b", "a b", "..", "-a", "ä", "a\n"])
def test_text_that_cannot_stand_in_a_path_is_refused(value):
    with pytest.raises(ValueError, match="cannot stand in a path"):
        slug(value)


@settings(max_examples=100, deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e6))
@example(0.1 + 0.2)
def test_float_comes_back_from_its_spelling_to_ten_digits(value):
    assert float(slug(value)) == pytest.approx(value, rel=1e-9)
    assert slug(float(slug(value))) == slug(value)
    assert not set(slug(value)) & set("/,=")


def test_setting_names_only_what_differs_from_its_default():
    assert setting_slug(Params(n=4)) == "n=4"
    assert setting_slug(Params(n=4, rate=0.5)) == "n=4"
    assert setting_slug(Params(n=4, rate=1e-5, recipe="small")) == "n=4--rate=1e-05--recipe=small"


def test_setting_is_in_the_order_of_the_parameters_not_of_the_config():
    assert setting_slug(Params(tied=True, layers=[2, 3], n=1)) == "n=1--layers=2+3--tied=true"


def test_required_parameter_is_always_named():
    class OneDefault(BaseModel):
        n: int = 1

    assert setting_slug(OneDefault()) == "default"
    assert setting_slug(OneDefault(n=2)) == "n=2"
    assert setting_slug(Params(n=1)) == "n=1"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 99),
    st.floats(0, 1),
    st.sampled_from(["default", "small", "phi-1.5", "a_b", "0"]),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.booleans(),
)
def test_every_setting_fits_its_wildcard(n, rate, recipe, layers, tied):
    params = Params(n=n, rate=rate, recipe=recipe, layers=layers, tied=tied)
    assert re.fullmatch(SETTING, setting_slug(params))


def test_any_of_matches_exactly_the_names():
    pattern = any_of(["phi-1.5", "gpt2"])
    assert re.fullmatch(pattern, "phi-1.5")
    assert re.fullmatch(pattern, "gpt2")
    assert not re.fullmatch(pattern, "phi-1x5")
    assert not re.fullmatch(pattern, "gpt2-large")


def test_any_of_nothing_matches_nothing():
    assert not re.search(any_of([]), "")
    assert not re.search(any_of([]), "gpt2")


@pytest.mark.parametrize(
    ("edit", "fits"),
    [
        ("rude/merge/n=4/seed42", True),
        ("rude/merge/default/seed0", True),
        ("rude/merge/n=4--recipe=small/seed42", True),
        ("-/merge/n=4/seed-", True),
        ("rude/merge/n=4/seed042", False),
        ("rude/merge/n=4/seed", False),
        ("rude/merge/n=4", False),
        ("rude/other/n=4/seed42", False),
        ("polite/merge/n=4/seed42", False),
        ("rude/merge/n=4/x/seed42", False),
        ("rude/merge/n/seed42", False),
        ("base", False),
    ],
)
def test_edit_pattern_fits_the_edits_and_nothing_else(edit, fits):
    pattern = edit_pattern(["rude"], ["merge"])
    assert bool(re.fullmatch(pattern, edit)) is fits
    assert re.compile(pattern).groups == 0

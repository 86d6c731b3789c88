"""Numbers that cannot work: each key by itself, and keys of different entries together.

Every number of the config is tried, wherever the config model has one: none ends in a traceback,
and none is taken that its range excludes.
"""

import copy
import math
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from plan.studies import HASH, comments, prompts, refusal, study
from pydantic import BaseModel

from detoxmerge.errors import UserError
from detoxmerge.plan.checks.sizes import require_context
from detoxmerge.plan.config import Config
from detoxmerge.plan.grid import Grid
from detoxmerge.plan.load import load_config
from detoxmerge.plan.registry import METHODS, OPERATORS, params_of

NEVER = [math.nan, math.inf, -math.inf, "1", "1e-5", "x", "", True, {}, 10**400, -1, -1.0]
SELECTOR = {"selectors.fix": {"rule": "fixed", "scale": 0.5}, "run.selectors": ["fix"]}


def plain(annotation: Any) -> list[Any]:
    """The types of an annotation, without Annotated and without unions."""
    if typing.get_origin(annotation) is Annotated:
        return plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in plain(part)]
    return [annotation]


def numbers(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Places of all numbers below a model; `0` in a list, `*` in a mapping."""
    for name, field in model.model_fields.items():
        yield from numbers_of(field.annotation, (*path, name))


def numbers_of(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for kind in plain(annotation):
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from numbers(kind, path)
        elif origin in (list, dict):
            yield from numbers_of(inner[-1], (*path, "0" if origin is list else "*"))
        elif kind in (int, float):
            yield path


PLACES = sorted({path for path in numbers(Config) if path[0] != "methods" and "where" not in path})


def placed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The smallest study with a value at a place; what is missing on the way is made."""
    raw = study(SELECTOR)
    raw["run"]["method_scales"] = {"merge": [0.5]}
    here: Any = raw
    for key, after in zip(path, (*path[1:], None), strict=True):
        if key == "*":
            key = next(iter(here), "own")
        key = 0 if key == "0" else key
        if after is None:
            here[key] = value
        elif isinstance(here, dict) and here.get(key) is None:
            here[key] = [{}] if after == "0" else {}
        here = here[key]
    return raw


def said(raw: dict[str, Any]) -> str:
    """What `load_config` says of a study; empty if it takes it."""
    try:
        load_config(raw)
    except SystemExit as refused:
        return str(refused.code)
    return ""


@pytest.mark.parametrize("path", PLACES, ids=".".join)
def test_every_number_of_the_config_has_a_range(path: tuple[str, ...]) -> None:
    for value in NEVER:
        if path[-1] == "checkpoint_minutes" and value == 10**400:
            continue
        found = said(placed(path, value))
        assert found.startswith("The config is not valid:\n"), f"{value!r} is taken"
        assert max(map(len, found.splitlines())) < 1000


def test_many_places_are_tried() -> None:
    assert len(PLACES) > 60
    assert {path[0] for path in PLACES} >= {"models", "recipes", "prompts", "scorers", "run"}


ENTRIES: dict[str, dict[str, Any]] = {
    "merge": {"n": 2},
    "merge_given": {"n": 1},
    "leave_one_out": {"n": 4, "without": 0},
    "filtering": {"mode": "corpus_threshold"},
    "destein": {"prompts": "seeds", "scorer": "judge"},
    "best_of_n": {"scorer": "other"},
}
SETTINGS = [(method, ENTRIES.get(method, {})) for method in METHODS] + [
    ("merge", {"n": 4, "operator": name} | ({"layout": "linear"} if name == "della" else {}))
    for name in OPERATORS
]


@pytest.mark.parametrize(("method", "entry"), SETTINGS)
def test_every_number_of_a_method_has_a_range(method: str, entry: dict[str, Any]) -> None:
    for name, field in params_of(method, entry).model_fields.items():
        if not {int, float} & set(plain(field.annotation)):
            continue
        for value in NEVER:
            if value is True and bool in plain(field.annotation):
                continue
            raw = study({"methods": {method: entry | {name: value}}, "run.methods": [method]})
            raw["prompts"]["seeds"] = copy.deepcopy(raw["prompts"]["openings"])
            raw["scorers"]["other"] = {"detoxify": "original"}
            assert said(raw).startswith("The config is not valid:\n"), (name, value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("prompts.openings.generate.new_tokens", 0, "greater than or equal to 1"),
        ("prompts.openings.generate.samples", 0, "greater than or equal to 1"),
        ("prompts.openings.generate.samples", 10**9, "less than or equal to 1000000"),
        ("prompts.openings.generate.temperature", 1e-40, "greater than or equal to 0.000001"),
        ("prompts.openings.generate.top_k", 2**63, "`top_k` must be below 2**63"),
        ("corpora.polite.window_tokens", 1, "greater than or equal to 2"),
        ("corpora.polite.stride_tokens", 0, "greater than or equal to 1"),
        ("split.seed", 2**63, "`seed` must be below 2**63, about 9.2e18, not 9223372036854775808"),
        ("methods.merge", {"n": 1, "operator": "random", "operator_seed": 2**64}, "below 2**63"),
        ("run.scales", [1e39], "must be a number of fp32, at most 3.4e+38, not 1e+39"),
        ("statistics.replicates", 10**9, "less than or equal to 100000"),
        ("recipes.default.weight_decay", 1e6, "weight_decay 1e+06 times learning_rate 1e-05 must"),
        ("models.small.pretrain.weight_decay", 600.0, "times learning_rate 0.002 must be below 1"),
        ("models.small.pretrain.layers", 10**6, "less than or equal to 1000"),
        ("scorers.judge.thresholds", [1.0], "less than 1"),
        ("scorers.judge.thresholds", [0.5, 0.2, 0.5], "`thresholds` lists 0.5 twice"),
        ("datasets.rude.sample", {"rows": 21, "seed": 1}, "sample.rows 21 is more than generated"),
        ("datasets.rude", {"path": []}, "at least 1 item"),
        ("datasets.rude", {"path": ""}, "at least 1 character"),
        ("models.small", {"path": ""}, "at least 1 character"),
        ("models.small", {"hub": "", "revision": HASH}, "at least 1 character"),
        ("methods.merge", {"n": 1, "lines_alpha": 1e300}, "less than or equal to 1000000"),
    ],
)
def test_a_number_that_cannot_work_is_refused(place: str, value: Any, words: str) -> None:
    assert words in refusal({place: value})


# numbers of different entries


def test_more_shards_than_texts_are_refused_where_the_config_tells_how_many_there_are() -> None:
    few = {"datasets.rude": comments(sample={"rows": 3, "seed": 1})}
    load_config(study(few | {"methods.merge.n": [1, 3]}))
    found = refusal(few | {"methods.merge.n": [1, 3, 4]})
    assert found == "methods.merge: 4 shards of datasets.rude, which has 3 texts at most; lower n"
    assert "21 shards of datasets.rude, which has 20" in refusal({"methods.merge.n": 21})
    chosen = {"run.methods": ["ext_sub"], "methods.ext_sub": {"num_shards": 30}}
    assert "methods.ext_sub: 30 shards of datasets.rude" in refusal(chosen)
    assert "less than or equal to 10000" in refusal(
        chosen | {"methods.ext_sub": {"num_shards": 10**9}}
    )


@pytest.mark.parametrize(
    ("method", "entry", "words"),
    [
        ("profs", {"pairs": 11}, "11 pairs take 22 texts, and datasets.rude has 20 at most"),
        ("profs", {"pairs": 3, "rank": 4}, "rank 4 of 3 pairs; lower rank, or raise pairs"),
        ("profs", {"pairs": 9, "from_share": 0.9, "to_share": 0.95}, "no layer of the 4 of"),
        ("finetune_nontoxic", {"rows": 21}, "rows 21 are more than the 20 of datasets.rude"),
        ("destein", {"prompts": "openings", "scorer": "judge", "count": 6}, "count 6 takes as"),
        (
            "destein",
            {"prompts": "openings", "scorer": "judge", "count": 4, "tokens": 128},
            "tokens 128 are not below the context 128 of models.small",
        ),
    ],
)
def test_a_method_that_asks_for_more_than_there_is_is_refused(
    method: str, entry: dict[str, Any], words: str
) -> None:
    stage = {"prompts": ["other"], "corpora": ["polite"], "scorers": ["judge"]}
    other = prompts(part="test") | {"generated": {"kind": "prompts", "rows": 9, "seed": 3}}
    found = refusal(
        {
            "run.methods": [method],
            "methods": {method: entry},
            "prompts.openings": prompts(part="validation"),
            "prompts.other": other,
            "run.sweep": stage,
        }
    )
    assert words in found


def test_best_of_n_of_more_samples_than_can_be_drawn_is_refused() -> None:
    changes = {"run.methods": ["best_of_n"], "methods.best_of_n": {"scorer": "other"}}
    changes |= {"scorers.other": {"detoxify": "original"}}
    for scale in (21.0, 5000.0, 1e30):
        found = refusal(changes | {"run.method_scales": {"best_of_n": [1.0, scale]}})
        assert found.startswith(f"methods.best_of_n: the scale is log2 N, and {scale:g} is more")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("corpora.polite.window_tokens", 129, ".window_tokens: 129 is more than models.small can"),
        ("corpora.polite", comments(), ".stride_tokens: 512 is more than the window, the 128"),
        ("prompts.openings.generate", {"new_tokens": 128}, ".new_tokens: 128 leave no room for"),
    ],
)
def test_what_a_model_cannot_read_is_refused_where_the_config_states_its_context(
    place: str, value: Any, words: str
) -> None:
    entry = ".".join(place.split(".")[:2])
    assert refusal({place: value}).startswith(f"{entry}{'.generate' * ('new' in words)}{words}")


def test_what_a_model_cannot_read_is_refused_once_its_context_is_known() -> None:
    hub = {"models.small": {"hub": "a/b", "revision": HASH}}
    grid = Grid(load_config(study(hub | {"corpora.polite.window_tokens": 64})))
    require_context(grid, "small", 64)
    require_context(grid, "small", None)
    require_context(grid, "a judge", 1)
    with pytest.raises(UserError, match=r"window_tokens: 64 is more than models.small can read"):
        require_context(grid, "small", 63)
    with pytest.raises(UserError, match=r"new_tokens: 20 leave no room .* the 20 tokens"):
        require_context(grid, "small", 20)
    none = Grid(load_config(study(hub | {"corpora.polite": comments()})))
    require_context(none, "small", 512)
    with pytest.raises(UserError, match=r"stride_tokens: 512 is more than the window, the 256"):
        require_context(none, "small", 256)
    with pytest.raises(UserError, match=r"states no context length; set window_tokens"):
        require_context(none, "small", None)

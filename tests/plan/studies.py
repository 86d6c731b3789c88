"""The smallest valid config, and what `load_config` says of one that was changed."""

from typing import Any

import pytest

from detoxmerge.plan.load import load_config

HASH = "0123456789abcdef0123456789abcdef01234567"


def comments(**more: Any) -> dict[str, Any]:
    """A source that needs no file and no network."""
    return {"generated": {"kind": "comments", "rows": 20, "seed": 1}} | more


def prompts(**more: Any) -> dict[str, Any]:
    """Likewise, of prompts."""
    return {"generated": {"kind": "prompts", "rows": 5, "seed": 2}} | more


def study(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A valid config that needs no file and no network, with some values replaced.

    Args:
        changes: dotted place -> new value; mappings that are missing on the way are made.
    """
    raw: dict[str, Any] = {
        "results": "results",
        "device": "cpu",
        "models": {"small": {"pretrain": {"texts": [comments()]}}},
        "datasets": {"rude": comments()},
        "recipes": {"default": {"epochs": 1}},
        "prompts": {"openings": prompts()},
        "corpora": {"polite": comments(window_tokens=32, stride_tokens=16)},
        "scorers": {"judge": {"train": {"texts": [comments()], "test": {"own": comments()}}}},
        "methods": {"merge": {"n": [1, 2]}},
        "run": {
            "models": ["small"],
            "datasets": ["rude"],
            "methods": ["merge"],
            "seeds": [42],
            "scales": [0.5, 1.0],
            "sweep": {"prompts": ["openings"], "corpora": ["polite"], "scorers": ["judge"]},
        },
    }
    for place, value in (changes or {}).items():
        *folders, key = place.split(".")
        here = raw
        for folder in folders:
            here = here.setdefault(folder, {})
        here[key] = value
    return raw


def refusals(raw: dict[str, Any]) -> list[str]:
    """The sentences with which a config is refused; they come by SystemExit below a head line."""
    with pytest.raises(SystemExit) as refused:
        load_config(raw)
    head, *sentences = str(refused.value.code).splitlines()
    assert head == "The config is not valid:"
    assert all(sentence.startswith("  ") for sentence in sentences)
    return [sentence.strip() for sentence in sentences]


def refusal(changes: dict[str, Any]) -> str:
    """The one sentence with which the smallest config is refused after these changes."""
    (sentence,) = refusals(study(changes))
    return sentence

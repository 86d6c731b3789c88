"""Catalogue entries as the rules hand them on: plain values with their defaults."""

from typing import Any

from detoxmerge.plan.catalogue import Corpus, Dataset, Prompts
from detoxmerge.plan.entries import protocol

HASH = "0123456789abcdef0123456789abcdef01234567"


def dataset(**values: Any) -> dict[str, Any]:
    """Protocol of a data set."""
    return protocol(Dataset(**values))


def prompts(**values: Any) -> dict[str, Any]:
    """Protocol of a prompt set's source."""
    return protocol(Prompts(**values), without=("generate",))


def corpus(**values: Any) -> dict[str, Any]:
    """Protocol of a corpus' source."""
    return protocol(Corpus(**values), without=("window_tokens", "stride_tokens"))

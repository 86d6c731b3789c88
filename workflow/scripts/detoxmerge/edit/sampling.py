"""What an edit asks of sampling beyond its next-token distribution; most ask nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sampling:
    """How continuations of an edited model are drawn.

    Attributes:
        processors: of transformers (`LogitsProcessor`), before those of the protocol.
        candidates: continuations drawn for each one that is kept.
        pick: given the texts of these candidates, the place of the one that is kept; none where
            there is one candidate.
        context_taken: tokens of the model's context that are not left to prompt and continuation.
    """

    processors: tuple[Any, ...] = ()
    candidates: int = 1
    pick: Callable[[list[str]], int] | None = None
    context_taken: int = 0


PLAIN = Sampling()

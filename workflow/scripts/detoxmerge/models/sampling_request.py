"""What an edit needs of sampling beyond its next-token distribution; most need nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LogitsProcessor


@dataclass(frozen=True)
class Sampling:
    """How continuations of an edited model are drawn.

    Attributes:
        processors: come before those of the protocol.
        candidates: continuations drawn for each one that is kept.
        pick: from the texts of the candidates of every continuation, the index of the one that is
            kept of each; None where there is one candidate.
        context_taken: tokens of the model's context that are not left to prompt and continuation.
    """

    processors: tuple[LogitsProcessor, ...] = ()
    candidates: int = 1
    pick: Callable[[list[list[str]]], list[int]] | None = None
    context_taken: int = 0


PLAIN = Sampling()


def candidates_at(scale: float) -> int:
    """N = round(2 ** scale), the continuations that best-of-N draws for each one that is kept.

    Args:
        scale: log2 N.

    Raises:
        ValueError: a scale below 0.
    """
    if scale < 0:
        raise ValueError(f"the scale is log2 N and must be 0 or more, not {scale}")
    return round(2**scale)

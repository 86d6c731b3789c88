"""`batch_size: auto`: what decides how many rows run at a time; no result depends on it.

    rows = budget / bytes of the longest row, at least 1 and at most MOST_ROWS

On a CPU the budget is a constant, so that the same study makes the same batches, and with them the
same last bits, on every machine. On a GPU it is half of the memory that is free: the other half is
for what the estimate of a row leaves out.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .entries import SPEED

CPU_BUDGET = 1e9  # bytes
SAMPLING_COPIES = 5  # fp32 values per logit: as the model gives it, copies, what is drawn from
GPU_SHARE = 0.5  # of the free memory
# rows beyond which hardly anything gets faster: one thread of a CPU writes 1.5 times as many tokens
# with 128 rows as with 64 where the model is small, and no more with 256; a GPU needs some hundred
MOST_ROWS = {"cpu": 128, "cuda": 512}

BatchSize = int | Literal["auto"]


def _known(value: Any) -> Any:
    """One sentence for what is neither; a union of types would give one for each."""
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"must be `auto` or a whole number from 1 on, not {value!r}")
    return value


BatchSizeField = Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_known)]


def batch_size(what: str) -> Any:
    """The field of an entry; `what` is counted, as in ``rows``."""
    return Field(
        "auto",
        description=f"{what} at a time; auto: as many as the memory holds",
        json_schema_extra=SPEED,
    )

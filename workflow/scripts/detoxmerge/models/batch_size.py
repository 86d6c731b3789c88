"""How many rows run at a time: a number, or (`auto`) as many as fill a budget of memory.

A row of t tokens, of which s have logits that are looked at, takes t * `token` + s * `logits` bytes
beyond the model itself. The estimates are meant to be too large by a little. Where memory runs out
all the same, a batch is run again in halves, and later ones stay as small. Rows do not depend on
the others of their batch (but for last bits), so nothing else changes.
"""

import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from transformers import PreTrainedModel

from ..errors import out_of_memory
from ..plan.batch_size import CPU_BUDGET, GPU_SHARE, MOST_ROWS, SAMPLING_COPIES, BatchSize
from .free_memory import free_bytes

T = TypeVar("T")
R = TypeVar("R")
CACHE_COPIES = 2  # a key-value cache is copied when it grows


class RowBytes(NamedTuple):
    """What a row takes, in bytes: for each of its tokens, and for each position with logits."""

    token: float
    logits: float = 0.0


class RowLimit:
    """How many rows run at a time."""

    def __init__(
        self,
        batch_size: BatchSize,
        row_bytes: RowBytes | None = None,
        device: str = "cpu",
    ) -> None:
        """
        Args:
            batch_size: a number of rows, or ``auto``, for which the others count.
            row_bytes: what a row takes.
            device: ``cpu`` or ``cuda``; its free memory is looked up now, so the model is there.
        """
        self._bytes = row_bytes
        self._share = 1.0  # halved whenever memory runs out
        self._logged = False
        if batch_size == "auto":
            if row_bytes is None:
                raise ValueError("`auto` needs to know what a row takes")
            self._most, self._budget = MOST_ROWS[device], budget_bytes(device)
        else:
            self._most, self._budget, self._bytes = batch_size, 0.0, None

    def rows(self, tokens: int, scored: int = 1) -> int:
        """How many rows run together, of which the longest has `tokens`, `scored` with logits."""
        rows = self._most
        if self._bytes is not None:
            each = tokens * self._bytes.token + scored * self._bytes.logits
            rows = min(rows, int(self._budget / max(each, 1)))
        return max(1, int(rows * self._share))

    def batches(
        self, rows: Sequence[T], tokens: Sequence[int], scored: int = 1
    ) -> Iterator[list[T]]:
        """Neighbours in one batch, in their order; each batch is as large as its longest row lets.

        Args:
            rows: of similar length where they are neighbours.
            tokens: the length of each, with what is generated behind it.
            scored: positions of each with logits.
        """
        if rows:
            self.log(max(tokens), scored)
        start = 0
        while start < len(rows):
            end, longest = start + 1, tokens[start]
            while end < len(rows):
                longest = max(longest, tokens[end])
                if end + 1 - start > self.rows(longest, scored):
                    break
                end += 1
            yield list(rows[start:end])
            start = end

    def run(self, function: Callable[[list[T]], Iterable[R]], batch: list[T]) -> list[R]:
        """A result for each row of a batch, by halves where memory runs out.

        Raises:
            What `function` raises; also that memory runs out, if it does for a single row.
        """
        done: list[R] = []
        size = len(batch)
        while len(done) < len(batch):
            part = batch[len(done) : len(done) + size]
            try:
                done += list(function(part))
                continue
            except Exception as error:
                if len(part) == 1 or not out_of_memory(error):
                    raise
            _release()  # not within `except`: the exception holds the tensors of its frames
            size = len(part) // 2
            self._share /= 2
            print(f"memory ran out with {len(part)} rows at a time; going on with {size}")
        return done

    def log(self, tokens: int, scored: int = 1) -> None:
        """Say once how many rows of this length `auto` lets run together."""
        if self._bytes is not None and not self._logged:
            print(
                f"batch_size auto: up to {self.rows(tokens, scored)} rows of {tokens} tokens "
                f"({self._budget / 1e9:.1f} GB)"
            )
        self._logged = True


def sampling_limit(model: PreTrainedModel, batch_size: BatchSize | RowLimit) -> RowLimit:
    """For sampling by a causal LM; `tokens` of a row are those of the prompt and the new ones.

    Args:
        batch_size: a limit is given back as it is.
    """
    if isinstance(batch_size, RowLimit):
        return batch_size
    logits = 4 * SAMPLING_COPIES * _vocabulary(model)
    return RowLimit(batch_size, RowBytes(_token_bytes(model, CACHE_COPIES), logits), _device(model))


def likelihood_limit(model: PreTrainedModel, batch_size: BatchSize) -> RowLimit:
    """For a causal LM that reads rows once; logits stay in its dtype."""
    logits = _element_bytes(model) * _vocabulary(model)
    return RowLimit(batch_size, RowBytes(_token_bytes(model, 1), logits), _device(model))


def scoring_limit(model: torch.nn.Module, batch_size: BatchSize) -> RowLimit:
    """For a classifier of texts; lengths in characters will do, a token has at least one."""
    return RowLimit(batch_size, RowBytes(_token_bytes(model, 0)), _device(model))


def budget_bytes(device: str) -> float:
    """What the rows of a batch may take together; the model is loaded."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        # what PyTorch keeps for later tensors is free as well
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return GPU_SHARE * free
    return _cpu_budget()


@functools.cache  # freed memory stays with the process, so later on there would seem to be less
def _cpu_budget() -> float:
    free = free_bytes()
    if free is None or free >= CPU_BUDGET:
        return CPU_BUDGET
    print(
        f"batch_size auto: only {free / 1e9:.2f} GB of memory are free, so batches are smaller "
        "than elsewhere, and the last bits of numbers may differ"
    )
    return free / 2


def _token_bytes(model: torch.nn.Module, caches: int) -> float:
    """Bytes that a token takes of activations, and of so many key-value caches.

    What the config does not name is taken for what it usually is, from the width.
    """
    config = getattr(model, "config", None)
    config = config.get_text_config() if config is not None else None
    width = _largest(config, "hidden_size") or _embedding_width(model)
    inner = _largest(config, "intermediate_size") or 4 * width
    weights = sum(weight.numel() for weight in model.parameters())
    # a block has 4 matrices of width x width at the least
    layers = _largest(config, "num_hidden_layers") or weights // (4 * width**2) + 1
    heads = _largest(config, "num_attention_heads")
    shared = _largest(config, "num_key_value_heads") or heads
    head = _largest(config, "head_dim") or (heads and width // heads)
    cache = 2 * layers * (shared * head if shared and head else width)
    activations = 16 * width + 5 * inner  # of one block; those of the blocks before it are freed
    return _element_bytes(model) * (caches * cache + activations)


def _largest(config: Any, name: str) -> int | None:
    """A whole number of a config, the largest where each layer has its own."""
    value = getattr(config, name, None)
    numbers = value if isinstance(value, list | tuple) else [value]
    return max((n for n in numbers if isinstance(n, int)), default=None)


def _embedding_width(model: torch.nn.Module) -> int:
    widths = [m.embedding_dim for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    return max(widths, default=1024)


def _element_bytes(model: torch.nn.Module) -> int:
    return max(weight.element_size() for weight in model.parameters())


def _vocabulary(model: PreTrainedModel) -> int:
    return model.get_output_embeddings().weight.shape[0]


def _device(model: torch.nn.Module) -> str:
    return next(model.parameters()).device.type


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

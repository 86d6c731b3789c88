"""The loop that decodes: prompts are read once, then all their continuations grow together.

It runs inside the library's `generate`, which prepares masks, positions and caches as each
architecture wants them. Rows of a cache are only moved by its `reorder_cache`.
"""

import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import (
    Cache,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicLayer
from transformers.generation.utils import ALL_CACHE_NAMES

from .roomy_cache import give_room

Draw = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NONE = -1  # no token was drawn
PREFIX = 16  # tokens that all prompts of a batch begin with, from which on they are read apart
DROP = 8  # ended rows leave the batch when they are at least 1 / DROP of it


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    samples: Sequence[int],
    numbers: torch.Tensor,
    draw: Draw,
    processors: Sequence[LogitsProcessor],
    *,
    pad: int,
    end: int | None,
) -> list[list[int]]:
    """Continue prompts, each as often as is asked.

    Args:
        prompts: P lists of token ids, none of them empty.
        samples: how many continuations each prompt gets, R in all.
        numbers: (R, new tokens), fp64: what `draw` gets for each token; prompt by prompt.
        draw: from scores (rows, vocabulary), fp32, and numbers (rows,) to token ids (rows,).
        processors: change the raw logits before `draw` gets them.
        pad: token that fills a prompt on the left.
        end: token that ends a continuation; None: none does.

    Returns:
        R lists of new token ids, prompt by prompt. One that ended has `end` as its last token.
    """
    width = max(map(len, prompts))
    columns = zip(*(row[:-1] for row in prompts), strict=False)
    prefix = [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, columns)]
    cache = _read_prefix(model, prefix, len(prompts), width + numbers.shape[1])
    # what is not padding: the prefix, if it was read, and the rest of the row; between them is the
    # padding, so that all rows continue at the same position
    head = 0 if cache is None else len(prefix)
    gaps = [width - len(row) for row in prompts]
    ids = torch.tensor(
        [row[:head] + [pad] * gap + row[head:] for row, gap in zip(prompts, gaps, strict=True)]
    )
    mask = torch.ones_like(ids)
    for row, gap in zip(mask, gaps, strict=True):
        row[head : head + gap] = 0
    loop = _Loop(torch.tensor(samples), numbers.to(model.device), draw, end)
    # every causal LM inherits `generate`, PreTrainedModel itself does not
    model.generate(  # type: ignore[operator]
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        **({} if cache is None else {"past_key_values": cache}),
        generation_config=GenerationConfig(max_new_tokens=numbers.shape[1], pad_token_id=pad),
        logits_processor=LogitsProcessorList(processors),
        custom_generate=loop,
    )
    return loop.continuations()


def _read_prefix(model: Any, prefix: list[int], rows: int, tokens: int) -> Cache | None:
    """The cache of a prefix, read once for so many rows; None where padding may not follow it.

    Padding behind a prefix needs a model that is told the positions, and layers that keep every
    token: a state, or a window that is shorter than all `tokens` of a row, would count the padding.
    """
    config = model.config.get_text_config(decoder=True)
    cache = DynamicCache(config=config)
    windows = [getattr(config, name, None) or tokens for name in ("sliding_window", "window_size")]
    if (
        len(prefix) < PREFIX
        or rows == 1
        or min(windows) < tokens
        or any(type(layer) is not DynamicLayer for layer in cache.layers)
        or "position_ids" not in inspect.signature(model.forward).parameters
    ):
        return None
    model(torch.tensor([prefix], device=model.device), past_key_values=cache, use_cache=True)
    if cache.get_seq_length() != len(prefix):  # a model without a cache
        return None
    cache.reorder_cache(torch.zeros(rows, dtype=torch.int64, device=model.device))  # type: ignore[arg-type]
    return cache


class _Loop:
    """What `generate` calls once its inputs are prepared."""

    def __init__(
        self, samples: torch.Tensor, numbers: torch.Tensor, draw: Draw, end: int | None
    ) -> None:
        self.samples, self.numbers, self.draw, self.end = samples, numbers, draw, end
        self.new = torch.full(numbers.shape, NONE, device=numbers.device)

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **options: Any,
    ) -> torch.Tensor:
        """Fill `new`. The arguments are those of the library's own loops."""
        batch = _Batch(model, input_ids, options, logits_processor)
        scores = batch.read(generation_config, self.samples)
        # places of the batch's rows in `new`, and which of them go on
        places = torch.arange(len(self.new), device=input_ids.device)
        going = torch.ones_like(places, dtype=torch.bool)
        steps = self.new.shape[1]
        for step in range(steps):
            tokens = self.draw(scores, self.numbers[places, step])
            self.new[places[going], step] = tokens[going]
            if self.end is not None:
                going &= tokens != self.end
            if step + 1 == steps or not going.any():
                break
            if batch.movable and DROP * int((~going).sum()) >= len(going):
                batch.select(going.nonzero()[:, 0])
                places, tokens, going = places[going], tokens[going], going[going]
            scores = batch.step(tokens)
        return input_ids

    def continuations(self) -> list[list[int]]:
        """What was drawn."""
        return [[token for token in row if token != NONE] for row in self.new.tolist()]


class _Batch:
    """The rows that grow together: their tokens, and what the model needs of them."""

    def __init__(
        self,
        model: Any,
        ids: torch.Tensor,
        options: dict[str, Any],
        processors: LogitsProcessorList,
    ) -> None:
        self.model, self.ids, self.options, self.processors = model, ids, options, processors

    def read(self, config: GenerationConfig, samples: torch.Tensor) -> torch.Tensor:
        """Scores (R, vocabulary) of the first new token; each prompt is read once."""
        steps = config.max_new_tokens or 0
        rows = torch.arange(len(samples)).repeat_interleave(samples).to(self.ids.device)
        given = dict(self.options)
        if self.movable:
            scores = self._scores(self.model._prefill(self.ids, config, self.options))
            if self.movable:
                self.select(rows)
                if isinstance(cache := self._cache(), Cache):
                    give_room(cache, steps)
                return scores[rows]
            self.options = given  # without the cache that the model made
        # each sample reads its prompt itself
        self._take(rows)
        return self._scores(self.model._prefill(self.ids, config, self.options))

    @property
    def movable(self) -> bool:
        """Whether the rows of the model's cache can be moved and repeated.

        The library's own caches and layers can; what an architecture brings of its own may have
        states that `reorder_cache` leaves where they are.
        """
        cache = self._cache()
        parts = [] if cache is None else [cache, *getattr(cache, "layers", [])]
        known = (Cache.__module__, give_room.__module__)
        return all(type(part).__module__ in known for part in parts)

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) of the token after these."""
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
        inputs = self.model.prepare_inputs_for_generation(
            self.ids,
            next_sequence_length=1 if self.options["use_cache"] else None,
            **self.options,
        )
        return self._scores(self.model(**inputs, return_dict=True))

    def _scores(self, output: Any) -> torch.Tensor:
        self.options = self.model._update_model_kwargs_for_generation(output, self.options)
        # a copy: the logits of all positions of a prompt need not stay
        logits = output.logits[:, -1].to(copy=True, dtype=torch.float32)
        return self.processors(self.ids, logits)  # type: ignore[arg-type]  # int64 is what they take

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows, which may repeat, in this order."""
        cache = self._cache()
        if cache is not None:
            cache.reorder_cache(rows)
        self._take(rows)

    def _take(self, rows: torch.Tensor) -> None:
        self.ids = self.ids[rows]
        self.options = {name: _rows(value, rows) for name, value in self.options.items()}

    def _cache(self) -> Any:
        return next((self.options[name] for name in ALL_CACHE_NAMES if name in self.options), None)


def _rows(value: Any, rows: torch.Tensor) -> Any:
    """Rows of what `generate` prepares: (..., rows, positions); what has no rows stays."""
    if isinstance(value, torch.Tensor) and value.dim() > 1:
        return value.index_select(value.dim() - 2, rows)
    return value

"""Next-token logits of the base, combined with those of helpers, by a rule of `combinations`.

The model stays the base's own; a hook replaces the logits of its output. Whatever calls it (the
library's `generate` with its cache, perplexity in pieces) calls the helpers with it. `edit.json`
says which `rule`, with which `settings`, and which `helpers`.
"""

import inspect
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import LogitsProcessor, PreTrainedModel

from ....models.loading import context_of
from ....models.nucleus import outside
from ....models.sampling_request import PLAIN, Sampling
from ....storage.artefacts import read_json
from .. import tensor_bytes
from .combinations import RULES
from .helper_models import Call, State, make_helper

FILES = ()  # beside `edit.json`
ROWS = ("batch_repeat_interleave", "batch_select_indices")


class Verb:
    """Combines logits.

    Attributes:
        base_logits: (rows, vocabulary), fp32: the base's own at the last position of the last
            call; only where `base_top_p` is below 1.
    """

    def __init__(self, edit: Path, model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
        """
        Args:
            edit: `edit.json` with `rule`, `settings`, `helpers` and `base_top_p`.
            model: the base in fp32.
            device: also of the helpers.
            dtype: of the weights, also of the helpers'.
        """
        manifest = read_json(edit)
        self.model, self.base_top_p = model, manifest["base_top_p"]
        self.rule = partial(RULES[manifest["rule"]], **manifest["settings"])
        self.helpers = {
            name: make_helper(described, edit, model, device, dtype)
            for name, described in manifest["helpers"].items()
        }
        self._signature = inspect.signature(model.forward)
        self.scale, self.base_logits = 0.0, torch.empty(0)
        self._hook: RemovableHandle | None = None

    def apply(self, scale: float) -> None:
        """Set the scale of the rule; at 0 there is no hook."""
        self.scale = scale
        if self._hook:
            self._hook.remove()
            self._hook = None
        if scale != 0:
            self._hook = self.model.register_forward_hook(self._combine, with_kwargs=True)

    def sampling(self, scale: float) -> Sampling:
        """The base's nucleus, if the edit keeps to it, and the context that the helpers take."""
        if scale == 0:
            return PLAIN
        limit = context_of(self.model)
        free = [helper.context for helper in self.helpers.values() if helper.context is not None]
        taken = max(0, limit - min(free)) if limit and free else 0
        nucleus = (BaseNucleus(self),) if self.base_top_p < 1 else ()
        return Sampling(processors=nucleus, context_taken=taken)

    def forwards(self, scale: float) -> float:
        """The base's pass, and one per helper and prefix."""
        return 1.0 + (sum(h.passes for h in self.helpers.values()) if scale != 0 else 0)

    def extra_bytes(self) -> int:
        """The helpers', unless a helper is the base itself."""
        others = [h.model for h in self.helpers.values() if h.model is not self.model]
        return tensor_bytes(
            tensor for model in others for tensor in (*model.parameters(), *model.buffers())
        )

    @torch.no_grad()
    def _combine(self, model: PreTrainedModel, args: Any, kwargs: Any, output: Any) -> Any:
        """The hook: `output` with other logits."""
        arguments = self._signature.bind(*args, **kwargs).arguments
        cache = getattr(output, "past_key_values", None)
        call = _call(arguments, output.logits.shape[1], cache)
        states = self._states(cache, call.past)
        z = output.logits.float()
        if self.base_top_p < 1:
            self.base_logits = z[:, -1].clone()
        logits = {name: helper(call, states[name]) for name, helper in self.helpers.items()}
        output.logits = self.rule(z, logits, self.scale)
        return output

    def _states(self, cache: Any, past: int) -> dict[str, State]:
        """What the helpers remember of a batch; it is kept on the base's cache and ends with it."""
        if cache is None or past == 0:
            states = self._new_states()
            if cache is not None:
                cache.helper_states = states
                cache.reorder_cache = MethodType(_reorder, cache)  # a copy's is its own
                # the helpers' caches would not follow if rows of the base's were moved otherwise
                for name in ROWS:
                    setattr(cache, name, _refuse)
            return states
        return getattr(cache, "helper_states", None) or self._new_states()

    def _new_states(self) -> dict[str, State]:
        return {name: State(helper.passes) for name, helper in self.helpers.items()}


class BaseNucleus(LogitsProcessor):
    """Excludes tokens outside of the smallest set that has probability `base_top_p` in the base."""

    def __init__(self, verb: Verb) -> None:
        """
        Args:
            verb: has the base's logits of the last call.
        """
        self.verb = verb

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The combined logits `scores`, (rows, vocabulary), with -inf outside of the nucleus."""
        excluded = outside(self.verb.base_logits, self.verb.base_top_p)
        return scores.masked_fill(excluded, -torch.inf)


def _call(arguments: dict[str, Any], positions: int, cache: Any) -> Call:
    """What helpers need of the base's call."""
    ids, mask = arguments.get("input_ids"), arguments.get("attention_mask")
    keep = arguments.get("logits_to_keep", 0)
    if ids is None or arguments.get("labels") is not None or not isinstance(keep, int):
        raise ValueError(
            "combined logits need input_ids, no labels, and logits_to_keep as a number"
        )
    rows, new = ids.shape
    length = cache.get_seq_length() if cache is not None else new
    if mask is None:
        mask = ids.new_ones(rows, length)
    if mask.shape != (rows, length):
        raise ValueError(f"combined logits need an attention mask of {rows} x {length} tokens")
    return Call(ids, mask.long(), positions, cache is not None)


def _reorder(cache: Any, rows: torch.Tensor) -> None:
    """The cache's own `reorder_cache`, and the same for the helpers' caches."""
    type(cache).reorder_cache(cache, rows)
    for state in cache.helper_states.values():
        state.reorder(rows)


def _refuse(*args: Any) -> None:
    raise NotImplementedError(
        "combined logits: the rows of a cache can only be moved by reorder_cache"
    )

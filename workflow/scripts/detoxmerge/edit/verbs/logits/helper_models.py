"""Helper models, whose next-token logits change those of the base (`verbs.logits`).

A helper sees the same tokens as the base, behind a prefix if it has one, and keeps a key-value
cache of its own. With several prefixes, every row is copied for each; the copies are one batch.

A prefix comes before the row and its padding, but after the begin-of-text token if the row has one:
[begin | prefix | padding | rest of the row]. The prefix's last token then replaces that token in
the row, so that positions stay aligned with the base's.
"""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from ....errors import UserError
from ....models.loading import cast, context_of, load_model
from ....models.places import place_in
from ....storage.artefacts import beside, require_sum
from ....storage.tensors import layout, open_tensors, require_layout


@dataclass(frozen=True)
class Call:
    """What the base was called with.

    Attributes:
        ids: (rows, n) new tokens, int64.
        mask: (rows, past + n), 0 for padding on the left.
        keep: number of last positions whose logits are wanted.
        cached: whether key-value caches are kept for the next call.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    keep: int
    cached: bool

    @property
    def past(self) -> int:
        """Tokens of earlier calls."""
        return self.mask.shape[1] - self.ids.shape[1]


@dataclass
class State:
    """What a helper remembers of one batch; it is kept on the base's cache.

    Attributes:
        passes: J, copies of each row.
        cache: key-value cache of transformers, or None.
        head: (J rows, prefix positions), the mask of the prefix; None before the first call.
    """

    passes: int
    cache: Cache | None = None
    head: torch.Tensor | None = None

    def reorder(self, rows: torch.Tensor) -> None:
        """Keep these rows of the batch, which may repeat, in this order, in all copies."""
        if self.cache is None or self.head is None:
            return
        starts = len(self.head) // self.passes * torch.arange(self.passes, device=rows.device)
        copies = (starts[:, None] + rows).flatten()
        self.cache.reorder_cache(copies)  # type: ignore[arg-type]  # int64 is what it takes
        self.head = self.head[copies]


class Helper:
    """A causal LM, with prefixes or without.

    Attributes:
        passes: J, forward passes for one of the base.
        prefix_tokens: length of the longest prefix.
        context: tokens of the model's context that are left for a text; None: no limit is known.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prefixes: list[list[int]] | None = None,
        begin: int | None = None,
    ) -> None:
        """
        Args:
            model: a causal LM; its `forward` is called directly, so that its hooks do not run.
            prefixes: J lists of tokens, none of them empty; None: no prefix, and J = 1.
            begin: the tokenizer's begin-of-text token, if it has one.
        """
        self.model, self.prefixes, self.begin = model, prefixes or [[]], begin
        self.passes = len(self.prefixes)
        self.prefix_tokens = max(map(len, self.prefixes))
        limit = context_of(model)
        self.context = limit and limit - self.prefix_tokens
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def __call__(self, call: Call, state: State) -> torch.Tensor:
        """Logits (J, rows, `keep`, vocabulary) in the model's dtype; changes the batch's state.

        Raises:
            UserError: prefix and tokens exceed the model's context.
            ValueError: the base's cache was changed since the last call.
        """
        self._require_fit(call.mask.shape[1])
        ids = call.ids.repeat(self.passes, 1)
        if call.past == 0:
            ids, state.head = self._behind_prefix(ids, call.mask.repeat(self.passes, 1))
        elif (
            state.head is None
            or state.cache is None
            or state.cache.get_seq_length() != state.head.shape[1] + call.past
        ):
            raise ValueError("the key-value cache was not made by the edited model, or was cropped")
        mask = torch.cat([state.head, call.mask.repeat(self.passes, 1)], dim=1)
        # a model that numbers the positions itself may count the padding
        options: dict[str, torch.Tensor] = {}
        if self._takes_positions:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -ids.shape[1] :]
        out = self.model.forward(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=state.cache,
            use_cache=call.cached,
            logits_to_keep=call.keep,
            **options,
        )
        state.cache = out.past_key_values if call.cached else None
        return out.logits.unflatten(0, (self.passes, -1))

    def _behind_prefix(
        self, ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The first tokens of J copies of the rows with their prefixes, and the prefixes' mask."""
        width, rows = self.prefix_tokens, mask.shape[0] // self.passes
        if not width:
            return ids, mask[:, :0]
        # prefixes of one width, padded on the left, each once for every row
        padded = [[0] * (width - len(prefix)) + prefix for prefix in self.prefixes]
        real = [[0] * (width - len(prefix)) + [1] * len(prefix) for prefix in self.prefixes]
        prefix, seen = (ids.new_tensor(x).repeat_interleave(rows, dim=0) for x in (padded, real))
        # where a row begins with begin-of-text, the prefix's last token moves into its place
        first = (torch.arange(ids.shape[0], device=ids.device), mask.argmax(dim=1))
        begins = ids[first] == (-1 if self.begin is None else self.begin)
        ids = ids.index_put(first, torch.where(begins, prefix[:, -1], ids[first]))
        seen[begins, -1] = 0
        # and the begin-of-text token moves before the prefix; other rows mask that column
        start = torch.full_like(begins[:, None], self.begin or 0, dtype=ids.dtype)
        head = torch.cat([begins[:, None].long(), seen], dim=1)
        return torch.cat([start, prefix, ids], dim=1), head

    def _require_fit(self, tokens: int) -> None:
        if self.context is not None and tokens > self.context:
            raise UserError(
                f"{tokens} tokens of text behind {self.prefix_tokens} of a prefix exceed a helper "
                f"model's context of {self.context + self.prefix_tokens}; lower window_tokens of "
                "the corpus, or choose shorter prompts or a shorter prefix"
            )


def make_helper(
    described: Mapping[str, Any],
    edit: Path,
    base: PreTrainedModel,
    device: str,
    dtype: torch.dtype,
) -> Helper:
    """A helper from its description in `edit.json`, as `describe` writes it.

    Args:
        described: `prefixes` and `begin`, for the base itself; or `delta`, its `sha256`, `sign`
            and `base`, for a model of its own.
        edit: `edit.json`, to whose folder the paths are relative.
        base: the base model, fp32 and on the CPU.
        device: ``cpu`` or ``cuda``.
        dtype: of the weights.

    Raises:
        UserError: the vector belongs to another model, or is missing, broken or changed.
    """
    if "prefixes" in described:
        return Helper(base, described["prefixes"], described["begin"])
    if described["base"] is None:
        model = copy.deepcopy(base)
    else:
        model = load_model(place_in(beside(edit, described["base"])))
    delta = beside(edit, described["delta"])
    _add(model, delta, described["sign"])
    require_sum(delta, described["sha256"], edit, f"delete {delta}")
    return Helper(cast(model, device, dtype))


@torch.no_grad()
def _add(model: PreTrainedModel, delta: Path, sign: int) -> None:
    """theta_0 + sign * delta, in place, tensor by tensor, fp32."""
    expected = {n: ("F32", tuple(p.shape)) for n, p in model.named_parameters()}
    require_layout(expected, layout(delta), "the helper's base", str(delta))
    with open_tensors(delta) as tensors:
        for name, parameter in model.named_parameters():
            parameter.add_(sign * torch.from_numpy(tensors.get_tensor(name)))

"""Of N = round(2 ** scale) continuations drawn for each one, the least toxic by a scorer is kept.

The model itself is the base at every scale: `forward` knows nothing of what is chosen.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ...models.batch_size import RowLimit
from ...models.sampling_request import PLAIN, Sampling, candidates_at
from ...models.scorers import LoadedScorer, load_scorer
from ...models.scoring import predictor, score_texts
from ...storage.artefacts import beside, read_json
from . import tensor_bytes

FILES = ()  # beside `edit.json`
BATCH = 64  # texts that are scored at a time


class Verb:
    """Chooses among samples."""

    def __init__(self, edit: Path, model: PreTrainedModel, device: str, dtype: torch.dtype) -> None:
        """
        Args:
            edit: `edit.json` with `scorer`, the relative path of a scorer's manifest, and the
                `label` in its protocol.
            model: the base, which stays as it is.
            device: also of the scorer.
            dtype: of the base's weights; the scorer's are fp32.
        """
        manifest = read_json(edit)
        self.scorer, self.device = beside(edit, manifest["scorer"]), device
        self.label = manifest["protocol"]["label"]

    def apply(self, scale: float) -> None:
        """Only refuses a scale below 0: the weights do not depend on it."""
        candidates_at(scale)

    def sampling(self, scale: float) -> Sampling:
        """N candidates, of which `pick` keeps one; plain sampling where N is 1."""
        count = candidates_at(scale)
        return Sampling(candidates=count, pick=self.pick) if count > 1 else PLAIN

    def pick(self, groups: list[list[str]]) -> list[int]:
        """The index of the least toxic candidate in each group.

        Of equal scores the first wins. A candidate without a score is taken only if its whole group
        has none: then it is the first one, and the log says how often.

        Args:
            groups: texts of the candidates of each continuation.

        Raises:
            UserError: the scorer is broken, lacks the label, or scores no text at all.
        """
        texts = [text for group in groups for text in group]
        scores = score_texts(texts, self._predict, RowLimit(BATCH))
        ends = np.cumsum([len(group) for group in groups])
        parts = np.split(scores, ends[:-1])
        unscored = sum(bool(np.isnan(part).all()) for part in parts)
        if unscored:
            print(
                f"{unscored} of {len(groups)} continuations: no candidate has a score; first taken"
            )
        return [int(np.argmin(np.nan_to_num(part, nan=np.inf))) for part in parts]

    def forwards(self, scale: float) -> float:
        """One forward pass per token of each candidate; those of the scorer do not count."""
        return float(candidates_at(scale))

    def extra_bytes(self) -> int:
        """The scorer's."""
        network = self._scorer.model
        return tensor_bytes([*network.parameters(), *network.buffers()])

    @cached_property
    def _scorer(self) -> LoadedScorer:
        return load_scorer(self.scorer, self.device)

    @cached_property
    def _predict(self) -> Any:
        return predictor(self._scorer, self.label, self.scorer.parent.name)

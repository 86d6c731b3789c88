"""The nucleus: the tokens that the library's warper keeps, and draws from exactly those."""

import numpy as np
import pytest
import torch
from transformers import TopPLogitsWarper

from detoxmerge.errors import UserError
from detoxmerge.models import nucleus
from detoxmerge.models.nucleus import draw, outside

IDS = torch.zeros(1, 1, dtype=torch.int64)
VOCABULARY = 3000


def rows(kind: str, count: int, seed: int = 0) -> torch.Tensor:
    """Scores (count, VOCABULARY), fp32."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, VOCABULARY, generator=random)
    if kind == "peaked":
        scores *= 8
    elif kind == "flat":
        scores *= 1e-3
    elif kind == "equal":
        scores[:] = 1.5
    elif kind == "tied":
        scores = (2 * scores).round()
    elif kind == "excluded":
        scores[torch.rand(scores.shape, generator=random) < 0.99] = -torch.inf
    elif kind == "one":
        scores[:, 1:] = -torch.inf
    elif kind == "mixed":  # rows of one batch need different shares
        scores *= torch.logspace(-3, 2, count)[:, None]
    return scores


def by_sorting(scores: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are outside, all of them sorted in fp64; and how near a border is to top_p."""
    p = scores.double().softmax(dim=1)
    # flipped and stable: of equal scores, the later token comes first
    ordered, order = p.flip(1).sort(dim=1, descending=True, stable=True)
    above = ordered.cumsum(dim=1) - ordered
    kept = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, above < top_p).flip(1)
    return ~kept, (above - top_p).abs().min(dim=1).values


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    "kind", ["random", "peaked", "flat", "equal", "tied", "excluded", "one", "mixed"]
)
def test_the_nucleus_is_that_of_a_full_sort_and_of_the_library(kind: str, top_p: float) -> None:
    scores = rows(kind, 40)
    found = outside(scores, top_p)
    wanted, distance = by_sorting(scores, top_p)
    sure = distance > 1e-9  # from rounding
    assert (found == wanted)[sure].all()
    assert sure.double().mean() > 0.9 or kind == "equal"  # where every row has the same sums
    # the library leaves open which of equal scores stay, but not how many
    library = TopPLogitsWarper(top_p)(IDS, scores).sort(dim=1).values
    sure = distance > 1e-6  # the library sums in fp32
    kept = scores.masked_fill(found, -torch.inf).sort(dim=1).values
    assert (kept == library)[sure].all()


def test_of_equal_scores_at_the_border_the_later_ones_stay() -> None:
    scores = torch.log(torch.tensor([[0.2, 0.2, 0.4, 0.2]]))
    assert outside(scores, 0.7).tolist() == [[True, False, False, False]]
    assert outside(scores, 0.55).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("top_p", [0.5, 0.9, 1.0])
def test_tokens_are_drawn_as_often_as_they_are_probable(top_p: float) -> None:
    scores = rows("random", 1)[:, :40] * 2
    kept = scores.masked_fill(outside(scores, top_p), -torch.inf)
    wanted = kept.softmax(dim=1)[0].numpy()
    count = 40_000
    numbers = torch.from_numpy((np.arange(count) + 0.5) / count)  # every share of them alike
    drawn = draw(scores.expand(count, -1), numbers, top_p)
    frequencies = np.bincount(drawn.numpy(), minlength=40) / count
    assert frequencies == pytest.approx(wanted, abs=2 / count)


@pytest.mark.parametrize("top_p", [0.9, 1.0])
@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_no_number_leads_to_an_excluded_token(u: float, top_p: float) -> None:
    scores = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]])
    assert draw(scores, torch.tensor([u], dtype=torch.float64), top_p).item() in (1, 3)


def test_a_row_does_not_depend_on_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, numbers = rows("mixed", 30), torch.rand(30, dtype=torch.float64)
    together = draw(scores, numbers, 0.9)
    alone = [draw(s[None], u[None], 0.9).item() for s, u in zip(scores, numbers, strict=True)]
    assert together.tolist() == alone
    monkeypatch.setattr(nucleus, "SLICE", 7 * VOCABULARY)
    assert draw(scores, numbers, 0.9).equal(together)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_scores_without_probabilities_are_refused(broken: float) -> None:
    scores = rows("random", 3)
    scores[1, 7] = broken
    with pytest.raises(UserError, match="logits are NaN or infinite"):
        draw(scores, torch.full((3,), 0.5, dtype=torch.float64), 0.9)

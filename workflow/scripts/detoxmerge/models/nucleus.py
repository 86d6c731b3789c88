"""Draws tokens from the nucleus, the fewest of the most probable tokens that reach `top_p`.

    w = exp(scores - max);  a token is in the nucleus if the tokens above it have less than top_p of
    the sum of w;  of equal scores the later token comes first
    drawn: the first token of the nucleus, by id, at which its cumulated share exceeds u

The set is that of transformers' `TopPLogitsWarper` (Holtzman et al., ICLR 2020, arXiv 1904.09751),
but the vocabulary is not sorted. Tokens above a share of the whole are picked out; where their sum
does not reach top_p, the share is lowered for that row. Only what was picked out is sorted.
"""

from collections.abc import Iterator

import torch

from ..errors import UserError

SLICE = 1 << 20  # elements at a time: passes over them stay in the processor's cache
SHARES = (1e-3, 6e-5, 4e-6)  # most rows of a language model need no other than the first


def draw(scores: torch.Tensor, numbers: torch.Tensor, top_p: float) -> torch.Tensor:
    """Draw one token for each row.

    Args:
        scores: (rows, vocabulary), fp32; excluded tokens are -inf.
        numbers: (rows,), fp64, in [0, 1).
        top_p: in (0, 1]; 1 draws from all tokens.

    Returns:
        (rows,) int64.

    Raises:
        UserError: a row has no probabilities; comparisons with NaN would choose a token.
    """
    drawn = torch.empty(len(scores), dtype=torch.int64, device=scores.device)
    for rows, ids, weights in _nuclei(scores, top_p):
        cdf = weights.cumsum(dim=1)
        # times the total: rounding must not leave u above the last value
        place = (cdf <= numbers[rows, None] * cdf[:, -1:]).sum(dim=1, keepdim=True)
        drawn[rows] = ids.gather(1, place).squeeze(1)
    return drawn


def outside(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Which tokens are not in the nucleus of their row.

    Args:
        scores: as for `draw`.
        top_p: as for `draw`.

    Returns:
        Like `scores`, bool.

    Raises:
        UserError: as `draw`.
    """
    mask = torch.ones_like(scores, dtype=torch.bool)
    for rows, ids, weights in _nuclei(scores, top_p):
        inside = weights > 0
        mask[rows[:, None].expand_as(ids)[inside], ids[inside]] = False
    return mask


def _nuclei(
    scores: torch.Tensor, top_p: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Nuclei of all rows, some rows at a time.

    Returns:
        Rows (n,); the ids (n, most) of tokens, ascending, among which their nuclei are; and the
        weights, fp64, 0 outside of the nucleus and where a row has fewer.
    """
    step = max(1, SLICE // scores.shape[1])
    for start in range(0, len(scores), step):
        part = scores[start : start + step]
        largest = part.max(dim=1, keepdim=True).values
        total = (part - largest).exp_().sum(dim=1, dtype=torch.float64)
        _require_finite(total)
        rows = torch.arange(len(part), device=part.device)
        for least in _least(top_p, part.shape[1]):
            if least * total.min() > 1:  # not even the largest has this share
                continue
            ids, found = _above(part, largest, rows, least * total)
            weights = (found.double() - largest[rows].double()).exp_()
            enough = top_p * total[rows]
            # the last round has all tokens; rounding must not leave a row over
            reached = (weights.sum(dim=1) >= enough) | (least == 0)
            if not reached.all():
                ids, found, weights, enough = (x[reached] for x in (ids, found, weights, enough))
            if top_p < 1 and len(ids):
                weights *= _reaches(found, weights, enough)
            yield start + rows[reached], ids, weights
            rows = rows[~reached]
            if not len(rows):
                break


def _least(top_p: float, vocabulary: int) -> list[float]:
    """Shares to try: what lies below (1 - top_p) / vocabulary cannot reach 1 - top_p together."""
    return [share for share in SHARES if share > (1 - top_p) / vocabulary and top_p < 1] + [0.0]


def _above(
    scores: torch.Tensor, largest: torch.Tensor, rows: torch.Tensor, least: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of some rows that weigh more than 0 and not less than the row's least, by id.

    Returns:
        Ids and scores (rows, most), -inf where a row has fewer.
    """
    among = scores if len(rows) == len(scores) else scores[rows]
    # scores are compared and not weights, so that equal ones are treated alike
    limit = largest[rows, 0] + least[rows].clamp(min=torch.finfo(torch.float32).tiny).log()
    row, token = (among >= limit[:, None].to(among.dtype)).nonzero().unbind(1)
    counts = torch.bincount(row, minlength=len(rows))
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    ids = token.new_zeros(len(rows), int(counts.max()))
    found = scores.new_full(ids.shape, -torch.inf)
    ids[row, place] = token
    found[row, place] = among[row, token]
    return ids, found


def _reaches(scores: torch.Tensor, weights: torch.Tensor, enough: torch.Tensor) -> torch.Tensor:
    """Like `weights`, bool: the fewest of each row's largest that reach `enough` (rows,)."""
    # flipped: of equal scores, the later token comes first
    order = scores.flip(1).argsort(dim=1, descending=True, stable=True)
    above = weights.flip(1).gather(1, order).cumsum(dim=1).roll(1, dims=1)
    above[:, 0] = 0
    inside = torch.zeros_like(order, dtype=torch.bool)
    return inside.scatter_(1, order, above < enough[:, None]).flip(1)


def _require_finite(total: torch.Tensor) -> None:
    if not torch.isfinite(total).all():
        raise UserError(
            "the model's logits are NaN or infinite at this scale, so nothing can be sampled; "
            "leave the scale out, or make the edit again"
        )

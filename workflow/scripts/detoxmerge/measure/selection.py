"""Rules that choose scales of an edit by what the sweep measured on validation texts, and the one
that leaves scales out of the sweep.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..plan.slug import slug
from ..storage.artefacts import read_json, write_manifest
from ..storage.records import read_payload, scales_left_out
from .metrics import perplexity_per_token, toxicity_mean, value_of
from .payloads import Scores, Windows


class Point(NamedTuple):
    """One scale of an edit; a perplexity beyond the largest float is infinite."""

    scale: str
    toxicity: float
    perplexity: float


def select_scale(sources: Mapping[str, Path], protocol: Mapping[str, Any], out: Path) -> None:
    """Choose scales, and say why.

    Args:
        sources: manifests `toxicity` and `perplexity` of the edit, `base_toxicity` and
            `base_perplexity` of the base model; for the rule `matched` also `matched_toxicity` and
            `matched_choice`.
        protocol: the selector's entry.
        out: manifest: `scales`, as they appear in paths (none where nothing satisfies the rule),
            and `reason`, a sentence. No rule chooses a scale that the sweep left out.
    """
    chosen, reason = _chosen(sources, protocol)
    if left_out := scales_left_out(sources["toxicity"]):
        reason += f" (left out of the sweep: {', '.join(left_out)})"
    write_manifest(
        out,
        protocol=protocol,
        inputs=list(sources.values()),
        files={},
        scales=chosen,
        reason=reason,
    )
    print(f"{', '.join(chosen) or 'no scale'}: {reason}")


def _chosen(sources: Mapping[str, Path], protocol: Mapping[str, Any]) -> tuple[list[str], str]:
    """Scales, and why, by the rule of a selector."""
    curve = _curve(sources["toxicity"], sources["perplexity"])
    (base,) = _curve(sources["base_toxicity"], sources["base_perplexity"])
    if not curve:
        return [], "no scale has a toxicity"
    if protocol["rule"] == "fixed":
        scale = slug(protocol["scale"])
        if scale in scales_left_out(sources["toxicity"]):
            return [], f"scale {scale} has no toxicity"
        return [scale], "as the config says"
    if protocol["rule"] == "pareto":
        return pareto(curve, base), "none is less toxic and as cheap"
    if protocol["rule"] == "matched":
        return _matched(curve, sources, protocol)
    if protocol["rule"] == "ppl-ratio":
        return within(curve, base.perplexity * protocol["ratio"])
    return within(curve, base.perplexity + protocol["budget"])


def left_out(
    scales: Sequence[str], perplexities: Sequence[tuple[Path, Path]], ppl_ratio: float
) -> dict[str, str]:
    """The scales whose perplexity is above a limit on one of the corpora.

    Args:
        scales: as they appear in paths.
        perplexities: manifests of the edit and of the base, per corpus.
        ppl_ratio: highest perplexity over the base's.

    Returns:
        Scale -> why, in the order of the scales; the first corpus that decides it is named.
    """
    reasons: dict[str, str] = {}
    for edit, base in perplexities:
        allowed = _perplexity(base, "0")
        for scale in scales:
            why = excess(_perplexity(edit, scale), allowed, ppl_ratio)
            if why:
                reasons.setdefault(scale, f"{why} on {edit.parent.name}")
    return {scale: reasons[scale] for scale in scales if scale in reasons}


def excess(perplexity: float, base: float, ppl_ratio: float) -> str | None:
    """What is too much of a perplexity, `ppl_ratio 1.83 > 1.5`; None if it is within the limit.

    One that is NaN or infinite, of the edit or of the base, is above every limit.
    """
    if perplexity <= base * ppl_ratio < math.inf:
        return None
    return f"ppl_ratio {perplexity / base:.6g} > {ppl_ratio:g}"


def within(curve: list[Point], limit: float) -> tuple[list[str], str]:
    """The largest scale whose perplexity is at most a limit, if there is one, and the reason.

    Args:
        curve: points by ascending scale.
    """
    cheap = [point for point in curve if point.perplexity <= limit]
    if cheap:
        best = cheap[-1]
        return [best.scale], f"perplexity {best.perplexity:.6g} <= {limit:.6g}"
    least = min(curve, key=lambda point: point.perplexity)
    return [], (
        f"no scale has perplexity <= {limit:.6g}; the lowest is {least.perplexity:.6g}, at "
        f"{least.scale}"
    )


def reaching(curve: list[Point], target: float) -> tuple[list[str], str]:
    """The smallest scale whose mean toxicity is at most a target, if there is one, and the reason.

    Args:
        curve: points by ascending scale.
    """
    reached = [point for point in curve if point.toxicity <= target]
    if reached:
        return [reached[0].scale], f"toxicity {reached[0].toxicity:.4g} <= {target:.4g}"
    least = min(curve, key=lambda point: point.toxicity)
    return [], (
        f"no scale has toxicity <= {target:.4g}; the lowest is {least.toxicity:.4g}, at "
        f"{least.scale}"
    )


def pareto(curve: list[Point], base: Point) -> list[str]:
    """Scales that neither another scale nor the base model beats, in the order of the curve.

    A point is beaten by one that is no worse in toxicity and perplexity, and better in one of them.
    """

    def beaten(point: Point) -> bool:
        return any(
            other.toxicity <= point.toxicity
            and other.perplexity <= point.perplexity
            and (other.toxicity, other.perplexity) != (point.toxicity, point.perplexity)
            for other in (base, *curve)
        )

    return [point.scale for point in curve if not beaten(point)]


def _matched(
    curve: list[Point], sources: Mapping[str, Path], protocol: Mapping[str, Any]
) -> tuple[list[str], str]:
    # the toxicity to be reached is that of another edit, at the scale chosen for it
    choice = read_json(sources["matched_choice"])
    if not choice["scales"]:
        return [], f"{protocol['by']} chose no scale of {protocol['to']}: {choice['reason']}"
    (scale,) = choice["scales"]
    target = _toxicity(sources["matched_toxicity"], scale)
    chosen, reason = reaching(curve, target)
    return chosen, f"{reason}, that of {protocol['to']} at {scale}"


def _curve(toxicity: Path, perplexity: Path) -> list[Point]:
    scales = sorted(read_json(toxicity)["scales"], key=float)
    return [
        Point(scale, _toxicity(toxicity, scale), _perplexity(perplexity, scale)) for scale in scales
    ]


def _toxicity(manifest: Path, scale: str) -> float:
    return value_of(toxicity_mean, Scores(read_payload(manifest, scale)))


def _perplexity(manifest: Path, scale: str) -> float:
    return value_of(perplexity_per_token, Windows(read_payload(manifest, scale)))

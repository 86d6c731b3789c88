"""Rules that choose scales of an edit by what the sweep measured on validation texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..plan.slug import slug
from ..storage.artefacts import read_json, write_manifest
from ..storage.records import read_payload
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
            and `reason`, a sentence.
    """
    curve = _curve(sources["toxicity"], sources["perplexity"])
    (base,) = _curve(sources["base_toxicity"], sources["base_perplexity"])
    if protocol["rule"] == "fixed":
        chosen, reason = [slug(protocol["scale"])], "as the config says"
    elif protocol["rule"] == "pareto":
        chosen, reason = pareto(curve, base), "none is less toxic and as cheap"
    elif protocol["rule"] == "matched":
        chosen, reason = _matched(curve, sources, protocol)
    else:
        by_ratio = protocol["rule"] == "ppl-ratio"
        limit = (
            base.perplexity * protocol["ratio"]
            if by_ratio
            else base.perplexity + protocol["budget"]
        )
        chosen, reason = within(curve, limit)
    write_manifest(
        out,
        protocol=protocol,
        inputs=list(sources.values()),
        files={},
        scales=chosen,
        reason=reason,
    )
    print(f"{', '.join(chosen) or 'no scale'}: {reason}")


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

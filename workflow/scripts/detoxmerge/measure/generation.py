"""Continuations of a prompt set by one edit, at every scale: the model is loaded once."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.texts import read_prompts
from ..edit.edited import EditedModel
from ..models.device import pick_device
from ..models.loading import load_tokenizer
from ..models.sampling import continuations
from ..plan.batch_size import BatchSize
from ..storage.artefacts import certified, sha256, write_text
from ..storage.records import each_scale, record_path
from .selection import left_out


def generate(
    edit: Path,
    base: Path,
    prompts: Path,
    prompt_lines: Path,
    scales: list[str],
    protocol: Mapping[str, Any],
    batch_size: BatchSize,
    device: str,
    out: Path,
    perplexities: Sequence[Path] = (),
    base_perplexities: Sequence[Path] = (),
) -> None:
    """Sample K continuations per prompt at every scale, or at those within a limit of perplexity.

    Args:
        scales: as they appear in paths.
        protocol: `samples`, `new_tokens`, `temperature`, `top_p`, `top_k` (0: off), `prefix`,
            `seed`, `dtype`; with a limit also `within`.
        batch_size: rows at a time; affects only speed.
        device: ``auto``, ``cpu`` or ``cuda``.
        out: manifest; beside it, per scale, JSON lines
            `{"prompt": {"text": ...}, "generations": [{"text": ..., "truncated": ...}, ...]}`.
        perplexities: manifests of the edit, one per corpus of the limit. A scale above it has no
            texts; the manifest's `left_out` says why.
        base_perplexities: those of the base, of the same corpora.

    Raises:
        UserError: a prompt does not fit the model's context, or the prompts or what the edit is
            loaded from were changed or are broken.
    """
    device = pick_device(device)
    texts = read_prompts(certified(prompts, prompt_lines.name))
    loaded: dict[str, Any] = {}  # by the first scale that is missing, if there is one
    sampled_by = {name: value for name, value in protocol.items() if name != "within"}
    beyond = None
    if "within" in protocol:
        pairs = list(zip(perplexities, base_perplexities, strict=True))
        beyond = left_out(scales, pairs, protocol["within"]["ppl_ratio"])
        reasons = ", ".join(f"{scale} ({why})" for scale, why in beyond.items()) or "none"
        print(f"left out {len(beyond)} of {len(scales)} scales: {reasons}", flush=True)

    def measure(scale: str) -> dict[str, Any]:
        if not loaded:
            loaded["edited"] = EditedModel(edit, device=device, dtype=protocol["dtype"])
            loaded["tokenizer"] = load_tokenizer(loaded["edited"].place)
        edited = loaded["edited"]
        model, sampling = edited.at(float(scale)), edited.sampling(float(scale))
        samples = continuations(model, loaded["tokenizer"], texts, sampled_by, batch_size, sampling)
        lines = [
            json.dumps(
                {"prompt": {"text": text}, "generations": [c._asdict() for c in row]},
                ensure_ascii=False,
            )
            for text, row in zip(texts, samples, strict=True)
        ]
        write_text(record_path(out, scale, ".jsonl"), "\n".join(lines) + "\n")
        return {"num_prompts": len(texts), "samples": protocol["samples"]}

    each_scale(
        out,
        [scale for scale in scales if scale not in (beyond or {})],
        # without the limit, so that another one samples only what it adds
        key=lambda _: {"protocol": sampled_by, "edit": sha256(edit), "prompts": sha256(prompts)},
        measure=measure,
        payload=".jsonl",
        protocol=protocol,
        inputs=[*dict.fromkeys([edit, base]), prompts, *perplexities, *base_perplexities],
        left_out=beyond,
    )

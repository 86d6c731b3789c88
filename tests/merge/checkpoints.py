"""Base models, fine-tunes and LoRA adapters on disk, written by their own libraries' formats."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pico
import torch
from safetensors.torch import save_file


def finetunes(
    folder: Path, make: Any = pico.gpt2, count: int = 3, dtype: torch.dtype = torch.float32
) -> tuple[Path, list[Path]]:
    """A base model, and fine-tunes of it whose tensors all differ from its own."""
    base = pico.save(make().to(dtype), folder / "base")
    paths = []
    for i in range(count):
        model = make()
        with torch.no_grad():
            for name, change in pico.noise(model, seed=i + 1, size=0.01).items():
                model.get_parameter(name).add_(change)
        paths.append(folder / f"tune{i}")
        model.to(dtype).save_pretrained(paths[-1])
    return base, paths


def adapter(folder: Path, factors: dict[str, tuple[Any, Any]], **config: Any) -> Path:
    """A LoRA adapter as PEFT saves it.

    Args:
        folder: to write to.
        factors: module -> A (r, in) and B (out, r).
        config: more of its config.
    """
    tensors = {}
    for module, (a, b) in factors.items():
        for name, factor in (("lora_A", a), ("lora_B", b)):
            key = f"base_model.model.{module}.{name}.weight"
            tensors[key] = torch.from_numpy(np.ascontiguousarray(factor)).float()
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    known = {"peft_type": "LORA", "lora_alpha": 8, "fan_in_fan_out": True}
    (folder / "adapter_config.json").write_text(json.dumps(known | config))
    return folder

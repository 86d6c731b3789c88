"""Model folders of random weights in the shapes of GPT-2, written a block at a time."""

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK, POOL = 1 << 20, 1 << 22  # elements
BYTES = {"F32": 4, "BF16": 2}


@dataclass(frozen=True)
class Size:
    """A shape of GPT-2 and how its files store it."""

    layers: int
    width: int
    vocabulary: int
    positions: int
    dtype: str  # as in safetensors

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors; the output layer is the embedding."""
        d = self.width
        found: dict[str, tuple[int, ...]] = {"wte.weight": (self.vocabulary, d)}
        found["wpe.weight"] = (self.positions, d)
        for i in range(self.layers):
            matrices = {"attn.c_attn": 3 * d, "attn.c_proj": d, "mlp.c_fc": 4 * d}
            for name, width in matrices.items():
                found[f"h.{i}.{name}.weight"], found[f"h.{i}.{name}.bias"] = (d, width), (width,)
            found[f"h.{i}.mlp.c_proj.weight"], found[f"h.{i}.mlp.c_proj.bias"] = (4 * d, d), (d,)
            found |= {f"h.{i}.{x}": (d,) for x in ("ln_1.weight", "ln_1.bias")}
            found |= {f"h.{i}.{x}": (d,) for x in ("ln_2.weight", "ln_2.bias")}
        found |= {"ln_f.weight": (d,), "ln_f.bias": (d,)}
        return {f"transformer.{name}": shape for name, shape in found.items()}

    @property
    def num_weights(self) -> int:
        """Of one model."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    @property
    def num_bytes(self) -> int:
        """Of one model's tensors."""
        return self.num_weights * BYTES[self.dtype]

    @property
    def config(self) -> dict[str, object]:
        """What stands in config.json."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": self.layers,
            "n_embd": self.width,
            "n_head": self.width // 64,
            "n_positions": self.positions,
            "n_ctx": self.positions,
            "vocab_size": self.vocabulary,
            "dtype": {"F32": "float32", "BF16": "bfloat16"}[self.dtype],
        }


SIZES = {
    "pico": Size(2, 128, 1000, 128, "F32"),
    "small": Size(12, 768, 50257, 1024, "F32"),  # GPT-2
    "large": Size(48, 1600, 50257, 1024, "BF16"),  # GPT-2 XL
}


def write_model(size: Size, index: int, folder: Path) -> Path:
    """The base, or a fine-tune of it.

    Weights are of the size 0.02, changes of 0.001, one half of them common to all fine-tunes. They
    come from one pool of normal numbers at places that the tensor, the block and the model give.

    Args:
        size: of the model.
        index: 0 for the base, i for the i-th fine-tune.
        folder: to make.

    Returns:
        The file of weights, on the disk, so that it can leave the page cache.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(size.config, indent=1))
    pool = np.random.default_rng(0).standard_normal(POOL + BLOCK, np.float32)
    header, end = {}, 0
    for name, shape in size.shapes.items():
        start, end = end, end + int(np.prod(shape)) * BYTES[size.dtype]
        header[name] = {"dtype": size.dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)
    out = folder / "model.safetensors"
    with open(out, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor, shape in enumerate(size.shapes.values()):
            for start in range(0, int(np.prod(shape)), BLOCK):
                count = min(BLOCK, int(np.prod(shape)) - start)
                file.write(stored(values(pool, index, (tensor, start), count), size.dtype))
        file.flush()
        os.fsync(file.fileno())
    return out


def values(pool: np.ndarray, index: int, place: tuple[int, int], count: int) -> np.ndarray:
    """A block of one model, fp32."""

    def normal(kind: int) -> np.ndarray:
        at = np.random.default_rng([kind, *place]).integers(POOL)
        return pool[at : at + count]

    found = np.float32(0.02) * normal(0)
    if index:
        found += np.float32(0.0007) * normal(1)
        found += np.float32(0.0007) * normal(1 + index)
    return found


def stored(block: np.ndarray, dtype: str) -> memoryview:
    """Bytes of a block in a file."""
    if dtype == "BF16":  # the nearest, ties away from 0: good enough here
        block = ((block.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)
    return block.data.cast("B")

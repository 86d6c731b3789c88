"""One edit of each kind around a base model of random weights, by hand: no method is run."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from detoxmerge.data.generated import comments
from detoxmerge.storage.artefacts import sha256, write_json, write_manifest

# GPT-2 small, and one for a quick run; beside each, the shape of a BERT that scores (BERT base)
SIZES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "small": (
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
    "tiny": (
        {"n_embd": 128, "n_layer": 4, "n_head": 4, "vocab_size": 5000},
        {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
}
# tokens of the prefixes of PREADD and Self-Debias, as GPT-2's tokenizer cuts them
PREADD, SELF_DEBIAS = [23], [13, 13, 9, 8, 16, 19]
CANDIDATES_LOG2 = 2.0


@dataclass(frozen=True)
class Edit:
    """What is timed: an edit at a scale."""

    name: str
    path: Path
    scale: float


def make_edits(size: str, folder: Path) -> Iterator[Edit]:
    """Write a base model and its edits.

    Args:
        size: a name in `SIZES`.
        folder: an empty one.

    Yields:
        The base at scale 0, then an edit of each verb that there is, some of several shapes.
    """
    shape, scorer = SIZES[size]
    base = _base(shape, folder)
    yield Edit("base", base, 0.0)
    deltas = [_delta(shape, folder / f"delta{i}.safetensors", i) for i in range(2)]
    models = [
        {"base": None, "delta": os.path.relpath(file, folder / "edit"), "sign": 1}
        | {"sha256": sha256(file)}
        for file in deltas
    ]
    prefixes = [_prefixes(lengths) for lengths in (PREADD, SELF_DEBIAS)]
    contrast = {"rule": "contrast", "settings": {}}
    described: dict[str, tuple[str, float, dict[str, Any]]] = {
        "delta": ("delta", 1.0, {"sign": -1, **_tensors(deltas[0])}),
        "hooks": ("hooks", 0.3, _hooks(shape, folder / "hooks.safetensors")),
        "logits: one model, base's nucleus": (
            "logits", 1.0, {**contrast, "helpers": {"anti": models[0]}, "base_top_p": 0.9},
        ),
        "logits: two models, base's nucleus": (
            "logits", 1.0,
            {**contrast, "helpers": {"anti": models[0], "expert": models[1]}, "base_top_p": 0.9},
        ),
        "logits: one prefix": (
            "logits", 1.0, {**contrast, "helpers": {"anti": prefixes[0]}, "base_top_p": 1},
        ),
        "logits: six prefixes": (
            "logits", 50.0,
            {"rule": "self_debias", "settings": {"epsilon": 0.01}, "base_top_p": 1}
            | {"helpers": {"prompted": prefixes[1]}},
        ),
        "choose: one of 4": (
            "choose", CANDIDATES_LOG2,
            {"scorer": "../scorer.json", "protocol": {"label": "toxicity"}},
        ),
    }  # fmt: skip
    _scorer(scorer, folder)
    for i, (name, (verb, scale, fields)) in enumerate(described.items()):
        if find_spec(f"detoxmerge.edit.verbs.{verb}") is None:
            print(f"WITHOUT {name}: there is no such verb")
            continue
        path = folder / f"edit{i}" / "edit.json"
        write_json(path, {"verb": verb, "base": "../base/edit.json"} | fields)
        yield Edit(name, path, scale)


def _base(shape: dict[str, int], folder: Path) -> Path:
    """A model folder with a tokenizer, and its manifest."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(folder / "model")
    bpe = ByteLevelBPETokenizer()
    texts = [row["text"] for row in comments(1000, 0)]
    bpe.train_from_iterator(texts, 2000, show_progress=False)
    # no end-of-text token: every continuation has the same length
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer).save_pretrained(folder / "model")
    out = folder / "base" / "edit.json"
    place = {"path": str(folder / "model")}
    write_manifest(out, protocol={}, inputs=[], files={}, verb="none", model=place)
    return out


def _delta(shape: dict[str, int], file: Path, seed: int) -> Path:
    """A small random change of every weight."""
    with torch.device("meta"):
        parameters = dict(GPT2LMHeadModel(GPT2Config(**shape)).named_parameters())
    random = np.random.default_rng(seed)
    tensors = {
        name: np.float32(1e-3) * random.standard_normal(tuple(p.shape), dtype=np.float32)
        for name, p in parameters.items()
    }
    save_file(tensors, file)
    return file


def _hooks(shape: dict[str, int], file: Path) -> dict[str, Any]:
    """A random direction for what every attention gives."""
    random = np.random.default_rng(2)
    modules = {f"transformer.h.{i}.attn": f"v{i}" for i in range(shape["n_layer"])}
    vectors = {
        name: random.standard_normal(shape["n_embd"], dtype=np.float32) for name in modules.values()
    }
    save_file(vectors, file)
    return {"rule": "rotate", "modules": modules, **_tensors(file)}


def _tensors(file: Path) -> dict[str, Any]:
    """What an edit's manifest says of its tensors, which lie a folder above it."""
    name = f"../{file.name}"
    return {"tensors": {"file": name}, "files": {name: sha256(file)}}


def _prefixes(lengths: list[int]) -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {"prefixes": [random.integers(1, 1000, n).tolist() for n in lengths], "begin": None}


def _scorer(shape: dict[str, int], folder: Path) -> None:
    """An untrained BERT in Detoxify's format, and its manifest."""
    words, place = BertWordPieceTokenizer(lowercase=True), folder / "tokenizer"
    words.train_from_iterator([row["text"] for row in comments(1000, 0)], show_progress=False)
    place.mkdir()
    words.save_model(str(place))
    write_json(place / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    wide = {"intermediate_size": 4 * shape["hidden_size"], "vocab_size": words.get_vocab_size()}
    config = BertConfig(**shape, **wide, num_labels=1)
    config.save_pretrained(place)
    arch = {
        "model_type": str(place),
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": 1,
    }
    state = BertForSequenceClassification(config).state_dict()
    classes = {"arch": {"args": arch}, "dataset": {"args": {"classes": ["toxicity"]}}}
    torch.save({"state_dict": state, "config": classes}, folder / "scorer.ckpt")
    write_manifest(
        folder / "scorer.json",
        protocol={},
        inputs=[],
        files={"scorer.ckpt": sha256(folder / "scorer.ckpt")},
        checkpoint=str(folder / "scorer.ckpt"),
        tokenizer={"path": str(place)},
    )

"""A subspace between two sets of activations, and its projection out of weights, for ProFS."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from ...errors import UserError
from ...models.activations import pooled
from ...models.architectures import modules_of
from ...models.device import pick_device
from ...models.loading import context_of, load_model, load_tokenizer, move
from ...models.places import place_in
from ...storage.artefacts import certified
from ...storage.writing import write_tensors
from ...train.job import Job

if TYPE_CHECKING:
    from ..methods.profs import Params


def fit(inputs: list[Path], params: "Params", job: Job) -> dict[str, Any]:
    """`build` of `methods.profs`: write the difference of the projected weights.

    Raises:
        UserError: too few texts for the pairs or the rank, no layer in the shares, or an
            architecture that is not known.
    """
    base, data = inputs
    place = place_in(base)
    model, tokenizer = move(load_model(place), pick_device(job.device)), load_tokenizer(place)
    blocks, values = modules_of(model, "blocks"), modules_of(model, "values")
    layers = edited_layers(len(blocks), params.from_share, params.to_share)
    _require_rank(params, model.config.hidden_size)
    limit = min(params.max_tokens, context_of(model) or params.max_tokens)

    def hidden(part: str) -> np.ndarray:
        """(pairs, layers, d): means over the positions of a text."""
        texts = choose_texts(certified(data, f"{part}.parquet"), params.pairs, params.pair_seed)
        rows = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        if not all(rows):
            raise UserError(f"a text of {data.parent.name} has no tokens; leave it out by `where`")
        return pooled(model, rows, [blocks[layer] for layer in layers])

    preferred, toxic = hidden("nontoxic"), hidden("toxic")
    subspaces = {
        f"{values[layer]}.weight": subspace(preferred[:, i], toxic[:, i], params.rank)
        for i, layer in enumerate(layers)
    }
    is_row = not isinstance(model.get_submodule(values[0]), torch.nn.Linear)
    tensors = write_projection(model, subspaces, is_row, job.out / "delta.safetensors")
    return {
        "sign": 1,
        "tensors": tensors,
        "layers": layers,
        "max_tokens": limit,
    }


def edited_layers(count: int, from_share: float, to_share: float) -> list[int]:
    """Layers round(from_share * count) to round(to_share * count) - 1, 0-based.

    Raises:
        UserError: there are none.
    """
    layers = list(range(round(from_share * count), round(to_share * count)))
    if not layers:
        raise UserError(
            f"no layer of {count} lies between the shares {from_share} and {to_share}; lower "
            "from_share or raise to_share in methods.profs"
        )
    return layers


def choose_texts(table: Path, count: int, seed: int) -> list[str]:
    """A seeded choice of texts (numpy's PCG64), without replacement, in random order.

    Raises:
        UserError: there are fewer.
    """
    texts = pd.read_parquet(table, columns=["text"])["text"]
    if len(texts) < count:
        raise UserError(
            f"{table.parent.name} has {len(texts)} texts in {table.name}, fewer than pairs = "
            f"{count}; lower pairs in methods.profs, or keep more of the data set"
        )
    return texts.iloc[np.random.default_rng(seed).permutation(len(texts))[:count]].tolist()


def subspace(preferred: np.ndarray, other: np.ndarray, rank: int) -> np.ndarray:
    """The dimensions in which two sets of activations differ, without what all texts share.

    The first right-singular vectors of (preferred - other)/2 (I - u u^T), where u is the first one
    of `preferred`.

    Args:
        preferred: (pairs, d), fp64.
        other: likewise.
        rank: at most min(pairs, d - 1).

    Returns:
        (rank, d), orthonormal rows, orthogonal to u.

    Raises:
        UserError: they differ in fewer dimensions, up to rounding; the rest would be arbitrary.
    """
    shared = np.linalg.svd(preferred, full_matrices=False)[2][0]
    difference = (preferred - other) / 2
    difference -= np.outer(difference @ shared, shared)
    _, sizes, vectors = np.linalg.svd(difference, full_matrices=False)
    if sizes[rank - 1] <= 1e-12 * np.linalg.norm(preferred):
        raise UserError(
            f"the toxic and non-toxic texts differ in fewer than rank = {rank} dimensions of their "
            "activations; lower rank, or take more and other texts"
        )
    return vectors[:rank]


def projected(weight: np.ndarray, vectors: np.ndarray, is_row: bool) -> np.ndarray:
    """What projecting a subspace out of a matrix's outputs changes: -W P, P = sum v v^T.

    Args:
        weight: (in, out) where `is_row`, as in GPT-2's Conv1D; else (out, in), as in nn.Linear.
        vectors: (rank, out), orthonormal rows.
        is_row: whether a value vector is a row.

    Returns:
        Like `weight`, fp64.
    """
    weight = weight.astype(np.float64)
    if is_row:
        return -(weight @ vectors.T) @ vectors
    return -vectors.T @ (vectors @ weight)


def write_projection(
    model: PreTrainedModel, subspaces: dict[str, np.ndarray], is_row: bool, out: Path
) -> dict[str, Any]:
    """Write a delta that is 0 except in some weights; returns the edit's `tensors`.

    Args:
        model: the base, fp32.
        subspaces: parameter -> (rank, out), what is projected out of it.
        is_row: as in `projected`.
        out: fp32, by the names of `named_parameters`, sorted.
    """
    parameters, square = dict(sorted(model.named_parameters())), 0.0
    with write_tensors(out, {name: tuple(p.shape) for name, p in parameters.items()}) as writer:
        for name, parameter in parameters.items():
            if name in subspaces:
                weight = parameter.detach().cpu().numpy()
                block = projected(weight, subspaces[name], is_row).astype(np.float32)
            else:
                block = np.zeros(tuple(parameter.shape), np.float32)
            square += float(np.square(block, dtype=np.float64).sum())
            writer.write(block)
    return {"file": out.name, "sha256": writer.sha256, "l2_norm": float(np.sqrt(square))}


def _require_rank(params: "Params", width: int) -> None:
    most = min(params.pairs, width - 1)
    if params.rank > most:
        raise UserError(
            f"rank {params.rank} exceeds {most}, the dimensions that {params.pairs} pairs of "
            f"activations of width {width} span; lower rank in methods.profs, or take more pairs"
        )

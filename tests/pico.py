"""Pico models for tests: built on the spot, in well under a second, never downloaded."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from detoxmerge.data.generated import comments
from detoxmerge.storage.artefacts import sha256, write_manifest

CONTEXT = 64


def texts(count: int = 40, seed: int = 0) -> list[str]:
    """Comments of the embedded generator."""
    return [row["text"] for row in comments(count, seed)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens with an end-of-text token and no pad token."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts(), 300, special_tokens=["<end>"], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<end>", eos_token="<end>"
    )


def gpt2(width: int = 16, seed: int = 0, dropout: float = 0.1) -> GPT2LMHeadModel:
    """Two layers, tied embeddings, random weights that are not tiny."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=300,
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.2,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )
    return GPT2LMHeadModel(config).eval()


def llama(seed: int = 0) -> LlamaForCausalLM:
    """Two layers, untied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def save(model: Any, folder: Path) -> Path:
    """An ordinary model folder with its tokenizer."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def base(model: Any, folder: Path) -> Path:
    """The manifest of a base model, as `fetch_model` writes it."""
    place = {"path": str(save(model, folder / "model"))}
    out = folder / "base" / "edit.json"
    write_manifest(out, protocol={}, inputs=[], files={}, verb="none", model=place)
    return out


def delta_edit(base_manifest: Path, delta: dict[str, torch.Tensor], folder: Path) -> Path:
    """An edit of verb `delta`, sign -1."""
    from detoxmerge.storage.writing import write_tensors

    file = folder / "delta.safetensors"
    names = sorted(delta)
    with write_tensors(file, {n: tuple(delta[n].shape) for n in names}) as writer:
        for name in names:
            writer.write(delta[name].numpy())
    fields = {"file": file.name, "sha256": sha256(file), "l2_norm": 0.0}
    out = folder / "edit.json"
    write_manifest(
        out,
        protocol={},
        inputs=[base_manifest],
        files={file.name: fields["sha256"]},
        base=str(base_manifest),
        verb="delta",
        sign=-1,
        tensors=fields,
        dataset="d",
        method="merge",
        setting="n=1",
        params={"n": 1},
        seed="1",
    )
    return out


def noise(model: Any, seed: int = 1, size: float = 0.1) -> dict[str, torch.Tensor]:
    """A random vector over a model's parameters, fp32."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(p.shape, generator=generator)
        for name, p in model.named_parameters()
    }

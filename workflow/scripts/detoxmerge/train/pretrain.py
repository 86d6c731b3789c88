"""A small GPT-2-shaped base model with its own tokenizer, trained where there is no hub."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed

from ..data.sources import origin, read_rows, require_text
from ..errors import UserError
from ..storage.artefacts import sha256, write_manifest
from .job import Job
from .resumable import IGNORED, LOSS, train, write_loss

END = "<|endoftext|>"


def pretrain_base(alias: str, protocol: Mapping[str, Any], job: Job) -> None:
    """Train tokenizer and model, and save them as an ordinary model folder.

    Texts are shuffled by the seed, joined with an end-of-text token between them, and cut into
    rows of `context` tokens; each step sees `batch_size` rows.

    Args:
        alias: the model's name in the config.
        protocol: the `pretrain` entry, which has the seed.
        job: its folder gets the model's files and `loss.csv`.

    Raises:
        UserError: the texts cannot be read, or are too few for one row.
        BudgetUsed: the time does not suffice; the next call goes on from a checkpoint.
    """
    job = replace(job, seed=protocol["seed"])
    texts, origins = _texts(alias, protocol)
    tokenizer = _train_tokenizer(texts, protocol)
    rows = _rows(texts, tokenizer, protocol, alias)
    set_seed(job.seed)
    model = GPT2LMHeadModel(_shape(tokenizer, protocol))
    history = train(
        model,
        rows,
        _collate,
        job,
        by_length=False,
        precision=protocol["precision"],
        max_steps=protocol["steps"],
        learning_rate=protocol["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=protocol["warmup_share"],
        weight_decay=protocol["weight_decay"],
        per_device_train_batch_size=protocol["batch_size"],
    )
    # saved aside, then moved: a kill leaves no half folder
    folder, finished = job.out, job.out / "finished"
    model.save_pretrained(finished)
    tokenizer.save_pretrained(finished)
    names = sorted(file.name for file in finished.iterdir())
    for name in names:
        os.replace(finished / name, folder / name)
    finished.rmdir()
    write_loss(history, folder / LOSS)
    write_manifest(
        job.manifest,
        protocol=protocol,
        inputs=[],
        files={name: sha256(folder / name) for name in (*names, LOSS)},
        origin=origins,
        num_texts=len(texts),
        num_tokens=len(rows) * protocol["context"],
        num_parameters=model.num_parameters(),
        last_loss=float(history["loss"].iloc[-1]),
    )
    shutil.rmtree(job.work)
    print(f"{alias}: {model.num_parameters() / 1e6:.2f} million parameters, {len(rows)} rows")


def _texts(alias: str, protocol: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    texts: list[str] = []
    for i, source in enumerate(protocol["texts"]):
        name = f"models.{alias}.pretrain.texts.{i}"
        raw, _ = read_rows(source, name, [source["text"]])
        rows, _ = require_text(raw, source["text"], name)
        texts += rows[source["text"]].tolist()
    return texts, [origin(source) for source in protocol["texts"]]


def _train_tokenizer(texts: list[str], protocol: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=protocol["vocabulary"], special_tokens=[END], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=END,
        eos_token=END,
        model_max_length=protocol["context"],
    )


def _rows(
    texts: list[str], tokenizer: PreTrainedTokenizerFast, protocol: Mapping[str, Any], alias: str
) -> list[dict[str, list[int]]]:
    """Rows of `context` tokens; the rest at the end is dropped."""
    order = torch.randperm(
        len(texts), generator=torch.Generator().manual_seed(protocol["seed"])
    ).tolist()
    encoded = tokenizer([texts[i] for i in order], verbose=False)["input_ids"]
    stream = [token for ids in encoded for token in [*ids, tokenizer.eos_token_id]]
    context = protocol["context"]
    starts = range(0, len(stream) - context + 1, context)
    if not starts:
        raise UserError(
            f"models.{alias}.pretrain: {len(stream)} tokens do not fill a row of {context}; give "
            "more texts or a smaller context"
        )
    return [{"input_ids": stream[start : start + context]} for start in starts]


def _shape(tokenizer: PreTrainedTokenizerFast, protocol: Mapping[str, Any]) -> GPT2Config:
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=protocol["context"],
        n_embd=protocol["width"],
        n_layer=protocol["layers"],
        n_head=protocol["heads"],
        resid_pdrop=protocol["dropout"],
        embd_pdrop=protocol["dropout"],
        attn_pdrop=protocol["dropout"],
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["input_ids"] for row in rows])
    labels = ids.clone()
    labels[:, 0] = IGNORED  # as in finetune.Collate
    return {"input_ids": ids, "labels": labels}

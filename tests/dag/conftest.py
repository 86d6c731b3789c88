"""The toy study, really run once, and a copy of it for each test."""

import json
import os
import shutil
from pathlib import Path

import pytest
from dag.house import House

HERE = Path(__file__).parent
CONTEXT = 64


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The finished toy study; nobody may change it."""
    house = House.build(tmp_path_factory.mktemp("toy") / "house")
    shutil.copy(HERE / "toy.yaml", house.folder)
    build_model(house.path("models/pico"))
    write_comments(house.path("raw/comments.jsonl"), rows=120, seed=2)
    house.run()
    return house


@pytest.fixture
def house(finished, tmp_path):
    """A copy of the finished toy study."""
    return finished.copy(tmp_path / "house")


@pytest.fixture
def empty_house(tmp_path):
    """The workflow without results and without toy config."""
    return House.build(tmp_path / "house")


def write_comments(path, rows, seed):
    """Generated comments as JSON lines, with filler to a little over 1 MB."""
    from detoxmerge.data.generated import comments

    path.parent.mkdir(exist_ok=True)
    filler = "x" * (1_100_000 // rows)
    lines = [json.dumps(row | {"filler": filler}) for row in comments(rows, seed)]
    path.write_text("\n".join(lines) + "\n")
    assert path.stat().st_size > 1_000_000


def build_model(folder):
    """A GPT-2 of two layers with a byte-level BPE tokenizer, in a Hugging Face folder."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from detoxmerge.data.generated import comments

    words = ByteLevelBPETokenizer()
    texts = [row["text"] for row in comments(120, seed=1)]
    words.train_from_iterator(
        texts, vocab_size=300, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer, eos_token="<|end|>", model_max_length=CONTEXT
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(tokenizer),
                n_positions=CONTEXT,
                n_embd=16,
                n_layer=2,
                n_head=2,
                bos_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    model.save_pretrained(folder)

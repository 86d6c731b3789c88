"""Local checkpoints: a text is cut at what the model can read, whatever the tokenizer states."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from detoxmerge.models.batch_size import RowLimit
from detoxmerge.models.scorers.checkpoint import load, most_tokens
from detoxmerge.models.scoring import predictor, score_texts
from detoxmerge.storage.artefacts import write_json

POSITIONS = 24
WORDS = ["[UNK]", "[PAD]", *(f"w{i}" for i in range(30))]
# architecture -> tokens that it can read: RoBERTa and its kin leave out as many positions as the
# number of the pad token, and one
READ = {
    "Bert": POSITIONS,
    "Albert": POSITIONS,
    "DistilBert": POSITIONS,
    "Electra": POSITIONS,
    "Roberta": POSITIONS - 2,
    "XLMRoberta": POSITIONS - 2,
    "MPNet": POSITIONS - 2,
}


def checkpoint(folder: Path, kind: str, stated: int | None) -> dict[str, Any]:
    """Fields of the manifest of a tiny classifier whose tokenizer states this length."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    settings |= {"pad_token": "[PAD]"}
    length = {} if stated is None else {"model_max_length": stated}
    write_json(folder / "tokenizer_config.json", settings | length)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "dim": 16}
    shape |= {"n_layers": 1, "n_heads": 2, "hidden_dim": 32, "intermediate_size": 32}
    shape |= {"embedding_size": 16, "vocab_size": len(WORDS), "pad_token_id": 1}
    config = getattr(transformers, f"{kind}Config")(max_position_embeddings=POSITIONS, **shape)
    config.save_pretrained(folder)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config)
    arch = {"model_type": kind, "model_name": type(model).__name__, "num_classes": 2}
    arch |= {"tokenizer_name": "PreTrainedTokenizerFast"}
    content = {"arch": {"args": arch}, "dataset": {"args": {"classes": ["toxicity", "insult"]}}}
    torch.save({"config": content, "state_dict": model.state_dict()}, folder / "own.ckpt")
    return {"checkpoint": str(folder / "own.ckpt"), "tokenizer": {"path": str(folder)}}


@pytest.mark.parametrize("stated", [None, 10**6, POSITIONS, POSITIONS + 1])
@pytest.mark.parametrize("kind", list(READ))
def test_texts_are_cut_at_the_models_positions(
    tmp_path: Path, kind: str, stated: int | None
) -> None:
    scorer = load(checkpoint(tmp_path, kind, stated), "cpu")
    limit = READ[kind]
    assert most_tokens(scorer.model) == limit
    words = [f"w{i % 30}" for i in range(200)]
    texts = [" ".join(words), " ".join(words[:limit]), "w1"]
    scores = score_texts(texts, predictor(scorer, "toxicity", "own"), RowLimit(2))
    assert scores[0] == scores[1] > 0  # NaN is neither
    assert len(scorer.tokenizer(texts[0], truncation=True)["input_ids"]) == limit
    # and not a token earlier than it must be: the model reads no more
    scorer.tokenizer.model_max_length = limit + 1
    with pytest.raises((IndexError, RuntimeError)):
        scorer.predict(texts[:1])


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_shorter_length_of_the_tokenizer_stays(tmp_path: Path, kind: str) -> None:
    scorer = load(checkpoint(tmp_path, kind, 9), "cpu")
    assert scorer.tokenizer.model_max_length == 9


def test_a_model_without_a_limit_is_left_alone() -> None:
    config = transformers.XLNetConfig(d_model=16, n_layer=1, n_head=2, d_inner=32, vocab_size=32)
    assert config.max_position_embeddings == -1
    assert most_tokens(transformers.XLNetForSequenceClassification(config)) is None

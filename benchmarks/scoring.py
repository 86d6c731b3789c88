"""How fast continuations are scored: texts per second against Detoxify.predict in plain batches.

Plain batches are texts in their order, padded to the longest of each batch. Both sides use the same
weights and batch size, by turns in one run. The BERT base has random weights; --minilm adds an
encoder of six layers from a folder, whose tokenizer then serves both. Writes a table of
docs/speed.md. Takes under 2 minutes on one core. Run from the root:
OMP_NUM_THREADS=1 PYTHONPATH=workflow/scripts python benchmarks/scoring.py --texts FILE.jsonl
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from merge_page import machine
from page import put, table
from processes import wait_until_idle
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification

from detoxmerge.data.generated import prompts
from detoxmerge.models.batch_size import RowLimit
from detoxmerge.models.classifier import Classifier
from detoxmerge.models.scorers.checkpoint import load
from detoxmerge.models.scoring import predictor, score_texts
from detoxmerge.storage.artefacts import write_json
from detoxmerge.storage.records import read_generations

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
BY = "benchmarks/scoring.py"
QUIET, PATIENCE = 0.1, 5  # the share of the CPUs that others may have; seconds to wait for it
INTRODUCTION = (
    "# Speed\n\nWhat was timed, against a peer, in one run. Ratios are medians of paired rounds.\n"
)
LABEL = "toxicity"
Score = Callable[[list[str]], np.ndarray]


def scorers(minilm: Path | None, texts: list[str], device: str) -> Iterator[tuple[str, Classifier]]:
    """BERT base and, if there is a folder, MiniLM, loaded as the workflow does."""
    with tempfile.TemporaryDirectory() as folder:
        place = minilm or _words(texts, Path(folder) / "words")
        torch.manual_seed(0)
        vocabulary = len(transformers.AutoTokenizer.from_pretrained(place))
        shape = BertConfig(num_labels=1, vocab_size=vocabulary)
        yield "BERT base", _loaded(BertForSequenceClassification(shape), place, folder, device)
        if minilm:
            model = BertForSequenceClassification.from_pretrained(minilm, num_labels=1)
            yield "MiniLM, 6 layers", _loaded(model, minilm, folder, device)


def _words(texts: list[str], folder: Path) -> Path:
    """A tokenizer's folder, of the words of the texts."""
    words = BertWordPieceTokenizer(lowercase=True)
    words.train_from_iterator(texts, show_progress=False)
    folder.mkdir()
    words.save_model(str(folder))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    return folder


def _loaded(model: Any, words: Path, folder: str, device: str) -> Classifier:
    place = Path(tempfile.mkdtemp(dir=folder))
    names = ("vocab.txt", "tokenizer.json", "tokenizer_config.json")
    for file in (words / name for name in names):
        if file.exists():
            shutil.copy(file, place)
    model.config.save_pretrained(place)
    arch = {"model_type": str(place), "model_name": type(model).__name__, "num_classes": 1}
    arch["tokenizer_name"] = "BertTokenizer"
    content = {"arch": {"args": arch}, "dataset": {"args": {"classes": [LABEL]}}}
    torch.save({"state_dict": model.state_dict(), "config": content}, place / "scorer.ckpt")
    fields = {"checkpoint": str(place / "scorer.ckpt"), "tokenizer": {"path": str(place)}}
    return load(fields, device)


def sides(scorer: Classifier, batch_size: int) -> dict[str, Score]:
    """What is compared."""
    predict = predictor(scorer, LABEL, "scorer")

    def plain(texts: list[str]) -> np.ndarray:
        batches = (texts[i : i + batch_size] for i in range(0, len(texts), batch_size))
        return np.concatenate([np.atleast_1d(scorer.predict(batch)[LABEL]) for batch in batches])

    return {"plain": plain, "ours": lambda texts: score_texts(texts, predict, RowLimit(batch_size))}


def padded(scorer: Classifier, score: Score, texts: list[str]) -> tuple[float, np.ndarray]:
    """The share of the tokens that are padding, and the scores."""
    count: Counter[str] = Counter()

    def look(_: Any, __: Any, batch: dict[str, torch.Tensor]) -> None:
        mask = batch["attention_mask"]
        count.update(all=mask.numel(), padding=int((mask == 0).sum()))

    hook = scorer.model.register_forward_pre_hook(look, with_kwargs=True)
    scores = score(texts)
    hook.remove()
    return count["padding"] / count["all"], scores


def compare(name: str, scorer: Classifier, texts: list[str], asked: argparse.Namespace) -> tuple:
    """One line of the table."""
    both = sides(scorer, asked.batch_size)
    shares, scores = zip(*(padded(scorer, both[side], texts) for side in both), strict=True)
    rates: dict[str, list[float]] = {side: [] for side in both}
    for i in range(asked.repeats):
        wait_until_idle(QUIET, PATIENCE)
        for side in (*both,) if i % 2 else (*reversed(both),):
            begun = time.perf_counter()
            both[side](texts)
            rates[side].append(len(texts) / (time.perf_counter() - begun))
    ratio = statistics.median(o / p for o, p in zip(rates["ours"], rates["plain"], strict=True))
    repeated = 1 - len(set(texts)) / len(texts)
    speeds = (f"{statistics.median(rates[side]):.1f}" for side in both)
    percent = (f"{100 * share:.1f} %" for share in shares)
    line = (name, len(texts), f"{100 * repeated:.1f} %", *speeds, f"{ratio:.2f}", *percent)
    print(*line, f"differ by {np.abs(scores[0] - scores[1]).max():.1e}", sep=" | ", flush=True)
    return (*line, f"{np.abs(scores[0] - scores[1]).max():.0e}")


def continuations(files: list[Path]) -> list[str]:
    """The texts of the files, or generated ones."""
    if not files:
        return [row["text"] for row in prompts(2000, 1)]
    return [text for file in files for text in read_generations(file)["text"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="generations-*.jsonl")
    parser.add_argument("--minilm", type=Path, help="folder of the encoder all-MiniLM-L6")
    parser.add_argument("--large", type=int, default=160, help="texts for BERT base")
    parser.add_argument("--small", type=int, default=1280, help="texts for MiniLM")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    texts = continuations(asked.texts)
    lines = [
        compare(name, scorer, texts[: asked.large if name == "BERT base" else asked.small], asked)
        for name, scorer in scorers(asked.minilm, texts, asked.device)
    ]
    head = (
        "scorer", "texts", "repeats among them", "Detoxify.predict, texts/s", "ours, texts/s",
        "times", "padding, Detoxify.predict", "padding, ours", "largest difference",
    )  # fmt: skip
    source = "continuations from a file" if asked.texts else "generated prompts"
    said = f"{source}, {asked.batch_size} at a time, {torch.get_num_threads()} threads, "
    said += f"median of {asked.repeats} rounds, {asked.device}"
    if not PAGE.exists():
        PAGE.write_text(INTRODUCTION)
    said += ". Both sides run the same model in fp32: ours saves the padding and the repeats."
    content = f"## Scoring toxicity\n\n{machine(None)}\n\n{said}\n\n{table(head, lines)}"
    put(PAGE, "scoring", content, BY)

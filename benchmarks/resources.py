"""Peak memory of fine-tuning and measuring on a CPU, at two model sizes: writes resources.csv.

Run from the root: PYTHONPATH=workflow/scripts python benchmarks/resources.py
tests/plan/test_resources.py holds plan/resources.py against the figures.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SIZES = {
    "pico": {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 1000},
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257},
}
BATCH, TOKENS = 16, 128
JOB = """
import json, resource, sys
from pathlib import Path
job, folder, batch, tokens = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
if job == "finetune":
    from detoxmerge.plan.training import Recipe
    from detoxmerge.plan.entries import protocol
    from detoxmerge.train.finetune import finetune_shard
    from detoxmerge.train.job import Job
    recipe = protocol(Recipe(epochs=1, batch_size=batch, max_tokens=tokens))
    finetune_shard(
        base=folder / "edit.json", dataset=folder / "dataset.json", toxic=folder / "toxic.parquet",
        partition=folder / "partition.json", shard=0,
        job=Job(folder / "out/meta.json", seed=1, recipe=recipe, checkpoint_minutes=0.0))
else:
    import torch
    from detoxmerge.models.loading import load_model
    model = load_model(json.loads((folder / "edit.json").read_text())["model"])
    with torch.no_grad():
        model.load_state_dict({k: v + 0 for k, v in model.state_dict().items()})
        model(torch.zeros(batch, tokens, dtype=torch.long), logits_to_keep=1)
print("max_rss_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
"""


def build(folder: Path, shape: dict[str, int]) -> int:
    """A model of random weights with a tokenizer, and twelve batches of texts; gives P."""
    import pandas as pd
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from detoxmerge.data.generated import comments
    from detoxmerge.models.loading import fetch_model
    from detoxmerge.storage.artefacts import sha256, write_json, write_manifest

    texts = [row["text"] for row in comments(4000, 1)]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=900, show_progress=False)
    model = GPT2LMHeadModel(GPT2Config(**shape, n_positions=TOKENS))
    model.save_pretrained(folder / "model")
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer).save_pretrained(folder / "model")
    fetch_model("m", {"path": str(folder / "model"), "hub": None}, None, folder / "edit.json")
    rows = 11 * BATCH  # a checkpoint at step 10
    joined = [" ".join(texts[20 * i : 20 * i + 20]) for i in range(rows)]
    pd.DataFrame({"text": joined, "score": 0.9}).to_parquet(folder / "toxic.parquet")
    files = {"toxic.parquet": sha256(folder / "toxic.parquet")}
    write_manifest(folder / "dataset.json", protocol={}, inputs=[], files=files)
    shards = [list(range(rows))]
    write_json(folder / "partition.json", {"protocol": {}, "inputs": {}, "shards": shards})
    return json.loads((folder / "edit.json").read_text())["num_parameters_stored"]


def measure(job: str, model: str) -> dict[str, object]:
    """One row of the table, from a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        weights = build(Path(place), SIZES[model])
        command = [sys.executable, "-c", JOB, job, place, str(BATCH), str(TOKENS)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        "job": job,
        "model": model,
        "num_weights": weights,
        "vocabulary": SIZES[model]["vocab_size"],
        "batch": BATCH,
        "tokens": TOKENS,
        "max_rss_mb": round(float(said.split("max_rss_mb")[1])),
    }


def asked_mb(row: dict[str, object]) -> float:
    """What the formulas would ask for on a CPU."""
    from detoxmerge.plan.memory import finetune_mb, measure_mb
    from detoxmerge.plan.training import Recipe

    weights, batch, tokens = (int(row[key]) for key in ("num_weights", "batch", "tokens"))
    if row["job"] == "measure":
        return measure_mb("cpu", weights, batch, tokens)
    recipe = Recipe(batch_size=batch, max_tokens=tokens)
    return finetune_mb("cpu", weights, recipe, int(row["vocabulary"]))


if __name__ == "__main__":
    rows = [measure(job, model) for job in ("finetune", "measure") for model in SIZES]
    with open(HERE / "resources.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        weights = f"{int(row['num_weights']) / 1e6:.2f} M"
        size = f"{row['batch']} x {row['tokens']}"
        asked = f"{asked_mb(row):.0f}"
        cells = (f"{row['job']} on a CPU", weights, size, row["max_rss_mb"], asked)
        print("| " + " | ".join(map(str, cells)) + " |")

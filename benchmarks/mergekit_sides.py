"""The two sides of mergekit_agreement.py: models to merge, and a merge by each project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pico
import torch
from merge.vectors import merge
from safetensors.torch import load_file, save_file

MODELS = {"gpt2": pico.gpt2, "llama": pico.llama}
COUNTS = (3, 5)
SHARES = {1: [1.0], 3: [0.5, 0.3, 0.2], 5: [0.4, 0.2, 0.2, 0.1, 0.1]}  # where weights are not equal
# all merges in one process: mergekit takes seconds to start
RUN = """
import json, sys
from mergekit.scripts.run_yaml import main
for config, out, seed in json.load(sys.stdin):
    main([config, out, "--quiet", "--random-seed", str(seed)], standalone_mode=False)
"""
Weights = dict[str, np.ndarray]


def make_data(folder: Path) -> None:
    """For each kind of data and model a base and the fine-tunes, as model folders.

    fp32: random, with a common part; one row of each matrix does not move. grid: base and changes
    are small multiples of 2**-10, so that all is exact and much is equal. bf16: as fp32, changes a
    tenth as large, rounded.
    """
    for name, build in MODELS.items():
        model = pico.save(build(), folder / "model" / name)
        base = {n: t.double() for n, t in load_file(model / "model.safetensors").items()}
        gridded = {n: torch.round(t * 1024) / 1024 for n, t in base.items()}
        rng = np.random.default_rng(0)
        common = {n: rng.standard_normal(t.shape) for n, t in base.items()}
        places = ["base", *(f"tune{i}" for i in range(max(COUNTS)))]
        for place in places:
            change = {n: c + rng.standard_normal(c.shape) for n, c in common.items()}
            change = {n: torch.from_numpy(c) * (place != "base") for n, c in change.items()}
            for part in change.values():
                part[: part.ndim - 1] = 0
            moved = {n: t + 0.01 * change[n] for n, t in base.items()}
            exact = {n: t + torch.round(2 * change[n]) / 1024 for n, t in gridded.items()}
            save(model, moved, folder / "fp32" / name / place, torch.float32)
            save(model, exact, folder / "grid" / name / place, torch.float32)
            small = {n: t + 0.001 * change[n] for n, t in base.items()}
            save(model, small, folder / "bf16" / name / place, torch.bfloat16)


def save(model: Path, weights: dict[str, torch.Tensor], out: Path, dtype: torch.dtype) -> None:
    """A model folder with other weights."""
    shutil.copytree(model, out)
    weights = {name: t.to(dtype) for name, t in weights.items()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})


def load(folder: Path) -> Weights:
    """All weights of a model folder, fp64."""
    return {n: t.double().numpy() for n, t in load_file(folder / "model.safetensors").items()}


def settings(text: str, n: int) -> tuple[str, dict[str, Any]]:
    """Of "name key=value ..." the name, and the values for n fine-tunes."""
    name, *rest = text.split()
    known = {"shares": SHARES[n], "1/N": 1 / n, "-1/N": -1 / n}
    known |= {word: word for word in ("float32", "bfloat16", "linear")}
    pairs = (part.split("=") for part in rest)
    return name, {k: known[v] if v in known else json.loads(v) for k, v in pairs}


def config(theirs: str, folder: Path, n: int) -> dict[str, Any]:
    """What mergekit is to do with the first n fine-tunes of a folder."""
    method, given = settings(theirs, n)
    weights = given.pop("weight", None)
    weights = weights if isinstance(weights, list) else [weights] * n
    models = [{"model": str(folder / f"tune{i}")} for i in range(n)]
    for model, weight in zip(models, weights, strict=True):
        if weight is not None:
            model["parameters"] = {"weight": weight}
    outer = {k: given.pop(k) for k in ("dtype", "out_dtype") if k in given}
    base = {"merge_method": method, "base_model": str(folder / "base"), "models": models}
    return base | outer | ({"parameters": given} if given else {})


def run_mergekit(mergekit: Path, jobs: list[tuple[dict[str, Any], Path, int]]) -> None:
    """Merge by mergekit: configs, output folders and seeds."""
    listed = []
    for job, out, seed in jobs:
        written = out.with_suffix(".yaml")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps(job))  # which is YAML, too
        listed.append((str(written), str(out), seed))
    python, env = mergekit.with_name("python"), os.environ | {"HF_HUB_OFFLINE": "1"}
    env.pop("PYTHONPATH", None)
    subprocess.run([python, "-c", RUN], input=json.dumps(listed), text=True, check=True, env=env)


def run_ours(operator: str, given: dict[str, Any], folder: Path, n: int, out: Path) -> Weights:
    """Merge by this project."""
    command = [sys.executable, "-m", "detoxmerge", "merge", "--base", str(folder / "base")]
    command += [x for i in range(n) for x in ("--fine-tune", str(folder / f"tune{i}"))]
    given = given | {"scale": given.get("scale", 1)}
    command += ["--operator", operator, f"--scale={given.pop('scale')}", "--out", str(out)]
    command += [x for k, v in given.items() for x in ("--set", f"{k}={json.dumps(v)}")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load(out)


def run_alone(operator: str, given: dict[str, Any], folder: Path, n: int) -> Weights:
    """The same, each tensor as if it were a whole vector."""
    base, fine_tunes = load(folder / "base"), [load(folder / f"tune{i}") for i in range(n)]
    found = {}
    for name, tensor in base.items():
        moved = [{name: (fine_tune[name] - tensor).astype(np.float32)} for fine_tune in fine_tunes]
        found[name] = (tensor - merge(moved, operator, given)[name]).astype(np.float32)
    return found

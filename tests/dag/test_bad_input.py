"""What a user gets for bad input, through the real command line.

One sentence on the screen and in the rule's log, a non-zero exit, no Python traceback, nothing
half-written. Errors of the config itself are in tests/plan/test_config.py and test_plan.py.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dag.house import House
from safetensors.numpy import load_file, save_file

from detoxmerge.storage.artefacts import read_json, sha256, write_sealed

pytestmark = pytest.mark.dag

EDIT = "comments/merge/n=1--recipe=toy/seed42"
DELTA = f"models/pico/{EDIT}/delta.safetensors"
SHARD = "models/pico/comments/shards/toy/n4/shard2/seed42"


def refused(house: House, target: str, words: str, *args: str) -> str:
    """Run one target, and check that it ends as a user's error should; gives the screen.

    Args:
        house: with the fault in it.
        target: below the results folder.
        words: a regular expression that one line of screen and log must match.
        args: of the command line.
    """
    before = {path for path in house.results.rglob("*") if path.is_file()}
    done = house.snakemake("--cores", "1", *args, "--", f"results/toy/{target}")
    screen = done.stdout
    assert done.returncode != 0, screen
    assert "Traceback" not in screen, screen
    assert any(re.search(words, line) for line in screen.splitlines()), screen
    new = {path for path in house.results.rglob("*") if path.is_file()} - before
    assert not [path for path in new if path.name.endswith(".part")]
    assert not (house.results / target).exists()
    logs = [log.read_text(errors="replace") for log in house.results.glob("logs/**/*.log")]
    assert any(re.search(f"^error: .*{words}", log, re.M) for log in logs)
    return screen


def forget(house: House, *names: str) -> None:
    """Delete files of the results, so that their rules run again."""
    for name in names:
        (house.results / name).unlink()


def test_n_larger_than_the_toxic_set(house: House) -> None:
    with house.config() as config:
        config["methods"]["merge"]["n"] = [1, 5000]
    words = r"comments has \d+ toxic texts, fewer than n = 5000 shards; lower n"
    refused(house, "data/datasets/comments/partition-n5000.json", words)


def test_a_toxic_set_that_is_empty_after_filtering(house: House) -> None:
    with house.config() as config:
        config["datasets"]["comments"]["where"] = {"tone": "polite"}
    words = r"none of \d+ scored texts has toxicity > 0\.8 \(the highest is .*lower toxic_above"
    forget(house, "data/datasets/comments/dataset.json")
    refused(house, "data/datasets/comments/dataset.json", words)


def test_a_field_that_the_file_does_not_have(house: House) -> None:
    with house.config() as config:
        config["datasets"]["comments"]["score"] = "toxicty"
    forget(house, "data/datasets/comments/dataset.json")
    words = "no field 'toxicty'; did you mean 'toxicity'?"
    refused(house, "data/datasets/comments/dataset.json", re.escape(words))


def test_a_raw_file_that_was_cut(house: House) -> None:
    raw = house.path("raw/comments.jsonl")
    raw.write_bytes(raw.read_bytes()[:-5000])
    forget(house, "data/datasets/comments/dataset.json")
    words = r"comments\.jsonl cannot be read .*is it complete\?"
    refused(house, "data/datasets/comments/dataset.json", words)


def test_a_model_without_safetensors(house: House) -> None:
    weights = house.path("models/pico/model.safetensors")
    weights.rename(weights.with_name("pytorch_model.bin"))
    forget(house, "models/pico/base/edit.json")
    words = r"has no \.safetensors file, .*save_pretrained"
    refused(house, "models/pico/base/edit.json", words)


def test_a_model_whose_download_was_truncated(house: House) -> None:
    weights = house.path("models/pico/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    forget(house, "models/pico/base/edit.json")
    words = r"model\.safetensors is truncated or no safetensors file"
    refused(house, "models/pico/base/edit.json", words)


def test_a_window_beyond_the_models_context_is_found_with_the_model(house: House) -> None:
    with house.config() as config:
        config["corpora"]["polite"]["window_tokens"] = 4096
    forget(house, "models/pico/base/edit.json")
    words = r"corpora\.polite\.window_tokens: 4096 is more than models\.pico can read, \d+ tokens"
    refused(house, "models/pico/base/edit.json", words)


def test_a_given_fine_tune_whose_download_was_truncated(house: House) -> None:
    shutil.copytree(house.path("models/pico"), house.path("given"))
    weights = house.path("given/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with house.config() as config:
        config["models"]["pico"]["fine_tunes"] = ["given"]
        config["methods"]["merge_given"] = {"n": 1}
        config["run"]["methods"] = ["merge", "merge_given"]
    words = r"models\.pico\.fine_tunes\.0: given/model\.safetensors is truncated"
    refused(house, "models/pico/-/merge_given/n=1/seed-/edit.json", words)
    words = "models.pico.fine_tunes has no entry 1; add it there"
    target = "results/toy/models/pico/-/finetunes/given1/meta.json"
    assert words in house.snakemake("--dry-run", "--", target).stdout


def test_a_shard_with_nan(house: House) -> None:
    file = house.results / SHARD / "delta.safetensors"
    tensors = load_file(file)
    tensors["transformer.ln_f.weight"][3] = np.nan
    save_file(tensors, file)
    meta = read_json(file.with_name("meta.json"))  # as if the training had written it
    files = meta["files"] | {file.name: sha256(file)}
    write_sealed(file.with_name("meta.json"), meta | {"files": files})
    merged = "models/pico/comments/merge/n=4--recipe=toy/seed42/edit.json"
    forget(house, merged)
    words = r"n4/shard2/.*'transformer\.ln_f\.weight' holds 1 values that are NaN or infinite"
    refused(house, merged, words)


def test_a_delta_with_other_numbers(house: House) -> None:
    """Size and date are those of the whole file."""
    file = house.results / DELTA
    times, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 0x80
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    target = f"evals/pico/{EDIT}/polite/perplexity.json"
    forget(house, target, target.replace(".json", "-scale1.json"))
    words = rf"delta\.safetensors is not what results/toy/models/pico/{re.escape(EDIT)}/edit\.json "
    refused(house, target, rf"{words}says: .* delete .*edit\.json and run again")


def test_a_truncated_delta(house: House) -> None:
    file = house.results / DELTA
    file.write_bytes(file.read_bytes()[:-64])
    target = f"evals/pico/{EDIT}/polite/perplexity.json"
    shutil.rmtree((house.results / target).parent)
    refused(house, target, r"delta\.safetensors is truncated or no safetensors file")


def test_a_delta_of_another_model(house: House) -> None:
    file = house.results / DELTA
    tensors = load_file(file)
    tensors["transformer.h.0.attn.c_attn.bias"] = np.zeros(96, np.float32)
    save_file(tensors, file)
    target = f"evals/pico/{EDIT}/openings/generations.json"
    shutil.rmtree((house.results / target).parent)
    words = r"'transformer\.h\.0\.attn\.c_attn\.bias' is F32 \[48\] in .* and F32 \[96\] in .*delta"
    refused(house, target, words)


def test_a_gpu_where_there_is_none(house: House) -> None:
    if shutil.which("nvidia-smi") and not subprocess.run(["nvidia-smi", "-L"]).returncode:
        pytest.skip("this machine has a GPU")
    target = f"evals/pico/{EDIT}/polite/perplexity.json"
    forget(house, target)
    words = "`device: cuda` was asked for, and PyTorch sees no GPU"
    refused(house, target, words, "--config", "device=cuda")


SMALL_DISK = """
import subprocess, sys
mounted, size, *command = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "none", mounted], check=True)
sys.exit(subprocess.run(command).returncode)
"""


def on_small_disk(folder: Path, size: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a small disk mounted on a folder, in a mount namespace of its own."""
    inside = [sys.executable, "-c", SMALL_DISK, str(folder), size, *command]
    return subprocess.run(
        ["unshare", "--mount", "--map-root-user", *inside],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "workflow/scripts")},
    )


JOB = """
import sys, types
from pathlib import Path
from detoxmerge.session import session
mounted = Path(sys.argv[1])
job = types.SimpleNamespace(rule="merge_edit", log=[sys.argv[2]])
with session(job):
    from detoxmerge.merge.merging import merge_deltas
    (mounted / "old.safetensors").write_text("kept")
    try:
        merge_deltas([Path(sys.argv[3])], "mean", mounted / "out.safetensors")
    finally:
        print("left:", sorted(p.name for p in mounted.iterdir()))
"""


def test_no_space_left_on_the_disk(tmp_path: Path) -> None:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if on_small_disk(mounted, "1m", "true").returncode:
        pytest.skip("this system does not let a test mount a small disk")
    save_file({"w": np.zeros(1_000_000, np.float32)}, tmp_path / "shard.safetensors")
    log = tmp_path / "job.log"
    job = [sys.executable, "-c", JOB, str(mounted), str(log), str(tmp_path / "shard.safetensors")]
    done = on_small_disk(mounted, "1m", *job)
    assert done.returncode == 2, done.stderr
    assert "merge_edit: no space left on the disk" in done.stderr
    assert "free some space and start again" in done.stderr
    assert "Traceback" not in done.stderr + log.read_text()
    assert "left: ['old.safetensors']" in log.read_text()


def test_hub_that_cannot_be_reached(house: House) -> None:
    """The sentence names what was asked, and the local path that may stand in its place."""
    with house.config() as config:
        revision = "0" * 40
        config["models"]["pico"] = {"hub": "nobody/nothing", "revision": revision}
    forget(house, "models/pico/base/edit.json")
    words = rf"model nobody/nothing at revision {revision} could not be fetched .*`path`"
    refused(house, "models/pico/base/edit.json", words)


@pytest.mark.parametrize("results", ["config", "profiles/default", ".", "workflow/x", "Snakefile"])
def test_results_over_the_projects_own_files_are_never_planned(
    empty_house: House, results: str
) -> None:
    def files() -> dict[Path, bytes]:
        found = (path for path in empty_house.folder.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found if ".snakemake" not in path.parts}

    before = files()
    done = empty_house.snakemake(
        "--configfile", "config/demo.yaml", "--config", f"results={results}", "--dry-run"
    )
    assert done.returncode != 0, done.stdout
    assert f"results: '{results}' is " in done.stdout
    assert "rule summarise" not in done.stdout
    assert "Traceback" not in done.stdout
    assert files() == before

"""The command, as a user starts it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from merge.checkpoints import finetunes

from detoxmerge import arguments, cli
from detoxmerge.plan.registry import OPERATORS

LIBRARY = str(Path(cli.__file__).parents[1])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detoxmerge", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": LIBRARY, "HF_HUB_OFFLINE": "1"},
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Status, standard output and standard error of the command, run in this process."""
    try:
        cli.main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    return status, *capsys.readouterr()


def test_a_merge_from_the_command_line(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path)
    given = [word for fine_tune in fine_tunes for word in ("--fine-tune", fine_tune)]
    out = tmp_path / "out"
    done = run("merge", "--base", base, *given, "--operator", "ties", "--set", "density=0.5",
               "--scale", "0.5", "--lines", "0.2", "--exclude", "wte", "--out", out)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{out}: ties of 3, scale 0.5" in done.stdout
    record = json.loads((out / "detoxmerge.json").read_text())
    assert record["params"] == {"density": 0.5}
    assert record["lines"] == [0.2, None]
    assert record["exclude"] == ["transformer.wte.weight"]
    names = {"config.json", "detoxmerge.json", "generation_config.json", "model.safetensors"}
    assert {f.name for f in out.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}


@pytest.mark.parametrize(
    "text", ["-1", "-0.5", "-.5", "-1.", "-1e-3", "-1E5", "-1e+3", "-2.5e-1", "-1_0.0"]
)
def test_negative_numbers_are_values_in_every_form(text: str) -> None:
    given = ["merge", "--base", "b", "--fine-tune", "f", "--out", "o"]

    def parsed(*words: str) -> Any:
        return arguments.parse([*given, *words])

    number = float(text)
    for words in (["--scale", text], [f"--scale={text}"], ["--sca", text]):
        assert parsed(*words).scale == number
    for lines in (["--lines", text, text], [f"--lines={text}", text]):
        assert parsed("--scale", text, *lines).lines == [number, number]
        assert parsed(*lines, "--scale", text).lines == [number, number]
    assert parsed("--lines", "0.5", text, "--scale", "1").lines == [0.5, number]
    # a text that looks like a number stays as it is
    assert parsed("--exclude", "-1", "--scale", text).exclude == ["-1"]


def test_the_option_of_earlier_versions_is_still_taken() -> None:
    given = ["merge", "--base", "b", "--scale", "1", "--out", "o"]
    parsed = arguments.parse([*given, "--shard", "one", "--fine-tune", "two", "--shard=three"])
    assert parsed.fine_tunes == ["one", "two", "three"]


def test_a_negative_number_is_merged_by(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path, count=1)
    done = run("merge", "--base", base, "--fine-tune", fine_tunes[0], "--out", tmp_path / "out",
               "--scale", "-1e-3", "--lines", "-1e-1", "0.5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "detoxmerge.json").read_text())
    assert (record["scale"], record["lines"]) == (-1e-3, [-0.1, 0.5])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "-1,5"], "argument --scale: '-1,5' is no number, such as 0.5, -1 or -1e-3"),
        (["--scale", "-x"], "argument --scale: '-x' is no number"),
        (["--scale", ""], "argument --scale: '' is no number"),
        (["--scale", "--dtype"], "argument --scale: expected one argument"),
        (["--scale", "1", "--lines", "0", "-1e"], "argument --lines: '-1e' is no number"),
        (["--scale", "1", "--workers", "1.5"], "--workers: '1.5' is no whole number, such as 4"),
        (["--scale", "1", "--dtype", "fp32"], "argument --dtype: invalid choice: 'fp32'"),
        (["--scale", "1", "--lines", "0", "--lines", "1"], "--lines is given twice; leave one"),
    ],
)
def test_what_is_no_number_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    status, _, error = call(
        capsys, "merge", "--base", "b", "--fine-tune", "f", "--out", "o", *words
    )
    assert status == 2
    assert message in error.splitlines()[-1]


def test_an_output_that_cannot_be_made_is_refused_before_anything_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_folder", lambda *_: pytest.fail("fetched"))
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    given = ["merge", "--base", "some/model", "--fine-tune", "some/tune", "--scale", "1", "--out"]
    for out, message in (
        ("", "--out '': is empty; is a variable of the shell not set?"),
        (tmp_path, f"--out {tmp_path} exists already; name a folder that does not"),
        (tmp_path / "file", "exists already"),
        (tmp_path / "dangling", "exists already"),
        (tmp_path / "file/out", f"{tmp_path / 'file'} is a file, so no folder can be made in it"),
    ):
        status, _, error = call(capsys, *given, out)
        assert (status, message in error, error.count("\n")) == (2, True, 1), error


def test_what_was_left_behind_is_said(tmp_path: Path) -> None:
    base, (fine_tune,) = finetunes(tmp_path, count=1)
    (base / "README.md").write_text("words")
    (base / "optimizer.pt").touch()
    out = tmp_path / "out"
    done = run("merge", "--base", base, "--fine-tune", fine_tune, "--scale", "1", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "left behind of the base's folder: README.md, optimizer.pt\n" in done.stdout
    record = json.loads((out / "detoxmerge.json").read_text())
    assert record["left_behind"] == ["README.md", "optimizer.pt"]


def test_only_what_is_asked_for_is_imported(tmp_path: Path) -> None:
    base, fine_tunes = finetunes(tmp_path, count=1)
    merge = (
        "import sys; from detoxmerge.cli import main; main(sys.argv[1:]);"
        "print(*(name.rpartition('.')[2] for name in sys.modules if '.operators.' in name));"
        "print(*{'torch', 'scipy', 'pandas', 'yaml', 'tqdm'} & set(sys.modules))"
    )
    given = [
        "--base",
        base,
        "--fine-tune",
        fine_tunes[0],
        "--scale",
        "1",
        "--out",
        tmp_path / "out",
    ]
    output = subprocess.run(
        [sys.executable, "-c", merge, "merge", *given], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": LIBRARY},
    ).stdout  # fmt: skip
    assert output.splitlines()[-2:] == ["mean", ""]


def test_help_tells_of_every_operator_and_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = call(capsys, "merge", "--help")
    assert status == 0
    for name, module in OPERATORS.items():
        assert f"\n  {name} " in text
        assert all(f"{field}: " in text for field in module.Params.model_fields)


def test_help_keeps_long_names_apart_from_what_they_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "winsorized_mean_of_the_middle_values"
    monkeypatch.setattr(
        arguments, "OPERATORS", {"mean": OPERATORS["mean"], name: OPERATORS["ties"]}
    )
    _, text, _ = call(capsys, "merge", "--help")
    assert f"\n  {name} TIES: trim, elect" in text
    assert f"\n  {'mean':{len(name)}} The mean, entry by entry" in text
    column = " " * (2 + len(name) + 1)
    assert f"\n{column}density: " in text
    assert max(map(len, text.splitlines())) <= arguments.HELP_WIDTH


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--operator", "tiess"], "--operator tiess: unknown operator; did you mean 'ties'?"),
        (["--operator", "ties", "--set", "densty=1"], "--set densty: unknown parameter; did you"),
        (["--operator", "ties", "--set", "density=2"], "--set density: input should be less than"),
        (["--operator", "ties", "--set", "density=1e-1"], "is text to YAML, not a number"),
        (["--operator", "ties", "--set", "density"], "--set density: write KEY=VALUE"),
        (["--operator", "ties", "--set", "density=[1"], "--set density=[1: the value is not YAML"),
        (["--operator", "della"], "operator della: --set layout: missing; it has no default"),
        (
            ["--operator", "weighted"],
            "number of texts of each fine-tune is not known; give `weights`",
        ),
        (["--exclude", "wtte"], "exclude: no tensor's name contains 'wtte'; did you mean 'wte'?"),
        (["--lines", "1", "2", "3"], "--lines takes ALPHA, or ALPHA and BETA"),
        (["--workers", "0"], "--workers 0: must be 1 or more"),
        (["--workers", "-1"], "--workers -1: must be 1 or more"),
        (["--workers", "99999"], "--workers 99999: must be 1 or more, and 1024 at most"),
        (["--exclude", ""], "--exclude '': is empty; is a variable of the shell not set?"),
        (["--fine-tune", " "], "--fine-tune '': is empty; is a variable of the shell not set?"),
        (["--scale", "-inf"], "--scale -inf: must be a finite number of fp32"),
        (["--scale", "-1e39"], "--scale -1e+39: must be a finite number of fp32"),
        (["--lines", "-inf", "1"], "--lines: the numbers must be finite, and of fp32"),
        (["--operator", ""], "--operator : unknown operator; valid: breadcrumbs"),
        (["--scale", "nan"], "--scale nan: must be a finite number"),
        (["--scale", "1e39"], "--scale 1e+39: must be a finite number of fp32"),
        (["--lines", "nan"], "--lines: the numbers must be finite"),
        (["--operator", "ties", "--set", "density=nan"], "should be a valid number, not 'nan'"),
        (["--operator", "ties", "--set", "density=1", "--set", "density=0.5"], "density is given"),
        (["--fine-tune", "./nowhere"], "--fine-tune ./nowhere: there is no such file or folder"),
        (
            ["--fine-tune", "no-such/model"],
            "--fine-tune no-such/model: there is no such folder here, and",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base, fine_tunes = finetunes(tmp_path, count=1)
    capsys.readouterr()  # what saving them printed
    given = ["--base", base, "--fine-tune", fine_tunes[0], "--out", tmp_path / "out"]
    given += [] if "--scale" in more else ["--scale", "1"]
    status, _, error = call(capsys, "merge", *given, *more)
    assert (status, message in error) == (2, True), error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*out*"))


def test_what_is_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, (fine_tune,) = finetunes(tmp_path, count=1)
    capsys.readouterr()
    given = ["--base", base, "--fine-tune", fine_tune, "--scale", "1", "--out", tmp_path / "out"]
    status, _, error = call(
        capsys, "merge", *given, "--fine-tune", f"{fine_tune}/../{fine_tune.name}"
    )
    assert (status, "is given twice" in error) == (2, True), error
    status, _, error = call(capsys, "merge", *given, "--scale", "2")
    assert (status, "--scale is given twice" in error) == (2, True), error
    assert not list(tmp_path.glob("*out*"))


def test_nobody_has_to_read_what_it_says(tmp_path: Path) -> None:
    base, (fine_tune,) = finetunes(tmp_path, count=1)
    read, write = os.pipe()
    os.close(read)
    given = ["--base", base, "--fine-tune", fine_tune, "--scale", "1", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "detoxmerge", "merge", *given],
        stdout=write, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": LIBRARY},
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("call_that_fails", ["pwrite", "fsync"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    call_that_fails: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, fine_tunes = finetunes(tmp_path, count=1)
    capsys.readouterr()

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call_that_fails, full)
    given = [
        "--base",
        base,
        "--fine-tune",
        fine_tunes[0],
        "--scale",
        "1",
        "--out",
        tmp_path / "out",
    ]
    status, _, error = call(capsys, "merge", *given)
    assert (status, error.startswith("error: no space left on the disk")) == (2, True), error
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ending_a_merge_leaves_nothing(tmp_path: Path, kind: signal.Signals) -> None:
    base, fine_tunes = finetunes(tmp_path, count=1)
    slow = (
        "import sys, time; from detoxmerge import cli; from detoxmerge.merge import merge_model;"
        "merge_model._write_rest = lambda *_: (print('here', flush=True), time.sleep(60));"
        "cli.main(sys.argv[1:])"
    )
    merge = subprocess.Popen(
        [sys.executable, "-c", slow, "merge", "--base", base, "--fine-tune", fine_tunes[0],
         "--scale", "1", "--out", tmp_path / "out"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": LIBRARY},
        preexec_fn=lambda: signal.signal(kind, signal.SIG_DFL),  # a shell's background job has none
    )  # fmt: skip
    assert merge.stdout is not None
    while merge.stdout.readline().strip() != "here":
        time.sleep(0.01)
    assert list(tmp_path.glob(".out*"))
    merge.send_signal(kind)
    assert merge.wait(20) == 128 + kind
    assert not list(tmp_path.glob("*out*"))

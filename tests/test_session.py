"""What a rule's script runs inside: where output goes, and what of an error is shown where.

The body runs in a process of its own, with a stand-in for Snakemake's job object, as scripts do:
without the unbuffered output that a developer's shell may have set.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from detoxmerge.errors import UserError, user_sentence

LIBRARY = Path(__file__).parents[1] / "workflow/scripts"
SCRIPT = """\
import os, subprocess, sys
from types import SimpleNamespace
from detoxmerge.errors import UserError
from detoxmerge.session import session

with session(SimpleNamespace(rule="merge_edit", log=[sys.argv[1]]){online}):
{body}
"""


def run(folder, body, online=""):
    """The finished process of a script with this body, and its log."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(body=indent(dedent(body), "    "), online=online))
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "HF_HUB_OFFLINE")}
    log = folder / "logs" / "deep" / "merge.log"
    done = subprocess.run(
        [sys.executable, str(script), str(log)],
        env=env | {"PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
    )
    return done, log.read_text()


def test_output_goes_to_the_log_also_that_of_other_programs(tmp_path):
    done, log = run(
        tmp_path,
        """
        print("from print", flush=True)
        print("from stderr", file=sys.stderr)
        os.write(1, b"from C\\n")
        subprocess.run(["echo", "from a child"])
        """,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert log.splitlines() == ["from print", "from stderr", "from C", "from a child"]


def test_user_error_is_one_sentence_on_the_screen_and_in_the_log(tmp_path):
    done, log = run(tmp_path, "raise UserError('the shard is gone; make it again')")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip() == "merge_edit: the shard is gone; make it again"
    assert log == "error: the shard is gone; make it again\n"


def test_user_error_deep_inside_has_no_traceback_either(tmp_path):
    done, log = run(
        tmp_path,
        """
        def inner():
            try:
                {}["key"]
            except KeyError as error:
                raise UserError("no such key") from error
        inner()
        """,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + log
    assert "KeyError" not in done.stderr + log


@pytest.mark.parametrize("error", ["UserError('mend this')", "KeyError('a bug')"])
def test_what_was_printed_before_an_error_stands_before_it_in_the_log(tmp_path, error):
    _, log = run(tmp_path, f"print('step one is done')\nraise {error}")
    assert log.startswith("step one is done\n")
    assert len(log.splitlines()) > 1


def test_bug_keeps_its_traceback_on_the_screen_and_in_the_log(tmp_path):
    done, log = run(tmp_path, "print('before', flush=True)\n{}['the missing key']")
    assert done.returncode == 1
    for text in (done.stderr, log):
        assert "Traceback (most recent call last)" in text
        assert "KeyError: 'the missing key'" in text
        assert "script.py" in text
    assert log.startswith("before\n")


def test_full_disk_is_a_sentence_that_names_the_file(tmp_path):
    done, log = run(
        tmp_path,
        f"raise OSError({errno.ENOSPC}, 'No space left on device', '/data/delta.safetensors')",
    )
    assert done.returncode == 2
    assert done.stderr.strip().startswith(
        "merge_edit: no space left on the disk while writing /data/delta.safetensors; "
    )
    assert "free some space and start again" in done.stderr
    assert "Traceback" not in done.stderr + log
    assert log.startswith("error: no space left on the disk")


@pytest.mark.parametrize(("online", "value"), [("", "1"), (", online=True", "None")])
def test_hub_is_offline_unless_the_rule_may_use_it(tmp_path, online, value):
    _, log = run(tmp_path, "print(os.environ.get('HF_HUB_OFFLINE'))", online)
    assert log == f"{value}\n"


def raised(*errors):
    """The last of these errors, each raised while the one before was handled."""
    try:
        raise errors[-1] from raised(*errors[:-1]) if errors[1:] else None
    except BaseException as error:
        return error


def test_full_disk_is_found_behind_the_error_that_hides_it():
    full = OSError(errno.ENOSPC, "No space left on device")
    said = user_sentence(raised(full, ValueError("while saving"), RuntimeError("save failed")))
    assert said.startswith("no space left on the disk; nothing half-written was kept")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError("PytorchStreamWriter failed writing file data/0"),
    ],
)
def test_full_disk_in_the_words_of_other_libraries_is_the_same_sentence(error):
    assert user_sentence(error).startswith("no space left on the disk")


def test_exhausted_gpu_is_a_sentence_with_a_way_out():
    class OutOfMemoryError(RuntimeError):
        """Named like torch's."""

    said = user_sentence(OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nmore lines"))
    assert "CUDA out of memory. Tried 2 GiB" in said
    assert "more lines" not in said
    assert "batch_size" in said
    assert said.startswith("the GPU")


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()]
)
def test_exhausted_memory_of_the_machine_is_a_sentence_too(error):
    assert user_sentence(error).startswith("the machine has too little memory")


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(errno.ENOENT, "No such file"), KeyError("x")]
)
def test_any_other_error_is_ours(error):
    assert user_sentence(error) is None


def test_sentence_of_a_user_error_is_its_own():
    assert user_sentence(UserError("do this")) == "do this"

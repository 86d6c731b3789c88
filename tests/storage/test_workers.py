"""Work by forked processes: in order, and nothing of it left behind, whatever ends it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import detoxmerge
from detoxmerge.errors import UserError
from detoxmerge.storage.workers import by_workers


def test_results_come_in_the_order_of_the_items_whoever_is_slow() -> None:
    def work(item: int) -> tuple[int, int]:
        time.sleep(0.05 if item % 3 == 0 else 0)
        return item * item, os.getpid()

    found = list(by_workers(work, range(20), 3))
    assert [square for square, _ in found] == [i * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in found}
    assert len({pid for _, pid in found}) > 1


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_item_is_worked_on_once(tmp_path: Path, workers: int) -> None:
    def work(item: int) -> None:
        with open(tmp_path / str(item), "a") as file:
            file.write("x")

    assert list(by_workers(work, (i for i in range(3)), workers)) == [None] * 3
    assert [file.read_text() for file in sorted(tmp_path.iterdir())] == ["x"] * 3


def test_one_worker_is_the_caller() -> None:
    assert list(by_workers(lambda _: os.getpid(), range(2), 1)) == [os.getpid()] * 2


def test_no_items_are_no_results() -> None:
    assert list(by_workers(str, [], 2)) == []


def test_results_larger_than_a_pipe_arrive() -> None:
    assert list(by_workers(lambda i: bytes([i]) * 10**6, range(6), 2))[5] == b"\5" * 10**6


def test_the_first_error_is_the_caller_s_with_its_traceback() -> None:
    def broken(item: int) -> int:
        if item == 3:
            time.sleep(0.2)
        if item >= 3:
            raise UserError(f"{item} is broken")
        return item

    results = by_workers(broken, range(1000), 3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match=r"^3 is broken") as error:
        next(results)
    assert "in broken" in error.value.__notes__[0]
    assert multiprocessing.active_children() == []


def test_a_worker_ended_from_outside_is_one_sentence() -> None:
    def work(item: int) -> int:
        if item == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(UserError, match="a worker was killed"):
        list(by_workers(work, range(100), 2))
    assert multiprocessing.active_children() == []


def test_leaving_early_leaves_no_worker() -> None:
    results = by_workers(lambda item: time.sleep(0.01), range(10**6), 2)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


CALLER = """
import os, signal, sys, time
from detoxmerge.storage.workers import by_workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if the tests run in background
for pid in by_workers(lambda _: time.sleep(0.01) or os.getpid(), range(10**6), 2):
    print(pid, flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_when_the_caller_does(by: signal.Signals) -> None:
    root = str(Path(detoxmerge.__file__).parents[1])
    command, env = [sys.executable, "-c", CALLER], os.environ | {"PYTHONPATH": root}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=env, start_new_session=True, **quiet) as caller:
        workers = {int(caller.stdout.readline()) for _ in range(20)}
        if by == signal.SIGINT:
            os.killpg(caller.pid, by)  # as a terminal does
        else:
            caller.send_signal(by)
        said = caller.communicate(timeout=20)[1]
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until, "a worker lives on"
        time.sleep(0.02)
    assert said.count("Traceback") == (by == signal.SIGINT)  # the caller's own, no worker's

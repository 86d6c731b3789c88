"""Blocks that several processes work on, in memory that is used again."""

import contextlib
import multiprocessing
import os
import signal
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import numpy as np

from ..errors import UserError

INDEX = struct.Struct("q")  # so short that a pipe takes and gives it as a whole
AHEAD = 4  # items that a worker may start before the caller has their results

A = TypeVar("A")
B = TypeVar("B")


def by_workers(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Results in the order of the items, by forked processes.

    numpy's calls on blocks that a cache holds are so short that threads would mostly wait for each
    other's lock. A worker takes the next item as soon as it is free; it shares the caller's open
    files, and nothing that it changes in memory reaches the caller.

    Args:
        work: for one item; its results are pickled. It may write to files that the caller opened.
        items: each worker iterates over all of them, so they must be the same every time.
        workers: processes; 1: the caller itself.

    Yields:
        Results. When the generator ends or is closed, all workers have ended.

    Raises:
        Exception: what `work` raised, with its traceback as a note.
        UserError: a worker was killed.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # forked, so that open files and mapped memory need not be sent to the workers
    fork = multiprocessing.get_context("fork")
    (to_take, to_give), receivers, processes = os.pipe(), [], []
    try:
        for _ in range(workers):
            receiver, sender = fork.Pipe(duplex=False)
            receivers.append(receiver)
            arguments = (work, items, to_take, sender, to_give, receivers)
            process = fork.Process(target=_worker, args=arguments, daemon=True)
            process.start()
            processes.append(process)
            sender.close()  # or the end of the worker would not end the pipe
        yield from _collected(receivers, to_give)
    finally:  # also where the caller stops early
        for process in processes:
            process.terminate()
            process.join()
        for receiver in receivers:
            receiver.close()
        os.close(to_take)
        os.close(to_give)


def _worker(
    work: Callable[[A], Any],
    items: Iterable[A],
    to_take: int,
    sender: Connection,
    to_give: int,
    receivers: list[Connection],
) -> None:
    """Take indices of items from the shared pipe; send (index, result, error), at the end None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(to_give)  # or it would not notice that the caller has gone
    for receiver in receivers:
        receiver.close()
    with contextlib.suppress(BrokenPipeError, EOFError):  # the caller has gone
        wanted = _taken(to_take)
        for index, item in enumerate(items):
            if index < wanted:
                continue
            try:
                result = work(item)
            except Exception as error:
                error.add_note(traceback.format_exc())
                sender.send((index, None, error))
                break
            sender.send((index, result, None))
            wanted = _taken(to_take)
        sender.send(None)


def _taken(pipe: int) -> int:
    """The index of the next item to work on."""
    sent = os.read(pipe, INDEX.size)
    if not sent:
        raise EOFError
    return INDEX.unpack(sent)[0]


def _collected(receivers: list[Connection], to_give: int) -> Iterator[Any]:
    """The results that workers send, in the order of the items."""
    early: dict[int, tuple[Any, Exception | None]] = {}
    index, working, indices = 0, set(receivers), count()
    # a new index is handed out only for each result: so few results wait in memory
    for _ in range(AHEAD * len(receivers)):
        os.write(to_give, INDEX.pack(next(indices)))
    while working:
        ready = wait(working)
        for receiver in [one for one in receivers if one in ready]:
            try:
                sent = receiver.recv()
            except EOFError:
                raise UserError(
                    "a worker was killed, most likely for lack of memory; try fewer workers"
                ) from None
            os.write(to_give, INDEX.pack(next(indices)))
            if sent is None:
                working.remove(receiver)
            else:
                done, result, error = sent
                early[done] = result, error
        while index in early:  # errors too, so that the first one by index is always raised
            result, error = early.pop(index)
            if error is not None:
                raise error
            yield result
            index += 1


def keep_freed_memory() -> None:
    """Let arrays below 32 MB use the memory of earlier ones, and no new pages of the system.

    New pages cost as much as several passes over a block. glibc takes and gives back blocks larger
    than a threshold one by one, and raises it when such a block is freed (mallopt(3), "dynamic mmap
    threshold"). Up to 64 MB stay with the process; elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)

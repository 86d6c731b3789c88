"""Blocks that several processes work on, in memory that is not asked for anew."""

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

PLACE = struct.Struct("q")  # less than what a pipe takes and gives as a whole
AHEAD = 4  # items of each worker, before the caller has their results

A, B = TypeVar("A"), TypeVar("B")


def by_workers(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Results in the order of the items, by forked processes.

    numpy's calls on blocks that a cache holds are so short that threads would mostly wait for each
    other's lock. A worker takes the next item as soon as it is free; it shares the caller's open
    files, and nothing that it changes in memory reaches the caller.

    Args:
        work: for one item; its results are pickled. Files that it writes to are the caller's, too.
        items: the same for every worker: each goes over them for itself.
        workers: processes; 1: the caller's own.

    Yields:
        Results. When it is left or closed, no worker is there any more.

    Raises:
        Exception: what `work` raised, with its traceback as a note.
        UserError: a worker was ended from outside.
    """
    if workers == 1:
        yield from map(work, items)
        return
    fork = multiprocessing.get_context("fork")
    (to_take, to_give), receivers, processes = os.pipe(), [], []
    try:
        for _ in range(workers):
            receiver, sender = fork.Pipe(duplex=False)
            receivers.append(receiver)
            given = (work, items, to_take, sender, to_give, receivers)
            process = fork.Process(target=_worker, args=given, daemon=True)
            process.start()
            processes.append(process)
            sender.close()
        yield from _collected(receivers, to_give)
    finally:
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
    """What a worker does: it takes the place of an item from a pipe that all share, and sends
    (place, result, error); at its end None.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(to_give)  # or it would not notice that the caller has gone
    for receiver in receivers:
        receiver.close()
    with contextlib.suppress(BrokenPipeError, EOFError):  # the caller has gone
        wanted = _taken(to_take)
        for place, item in enumerate(items):
            if place < wanted:
                continue
            try:
                result = work(item)
            except Exception as error:
                error.add_note(traceback.format_exc())
                sender.send((place, None, error))
                break
            sender.send((place, result, None))
            wanted = _taken(to_take)
        sender.send(None)


def _taken(pipe: int) -> int:
    """The next place."""
    sent = os.read(pipe, PLACE.size)
    if not sent:
        raise EOFError
    return PLACE.unpack(sent)[0]


def _collected(receivers: list[Connection], to_give: int) -> Iterator[Any]:
    """What workers send, in the order of the items; few are under way at a time."""
    early: dict[int, tuple[Any, Exception | None]] = {}
    place, working, places = 0, set(receivers), count()
    for _ in range(AHEAD * len(receivers)):
        os.write(to_give, PLACE.pack(next(places)))
    while working:
        for receiver in wait(working):
            try:
                sent = receiver.recv()
            except EOFError:
                raise UserError(
                    "a worker was ended from outside, mostly for want of memory; try fewer"
                ) from None
            os.write(to_give, PLACE.pack(next(places)))
            if sent is None:
                working.remove(receiver)
            else:
                early[sent[0]] = sent[1:]
        while place in early:  # errors, too, so that it is always the same one
            result, error = early.pop(place)
            if error is not None:
                raise error
            yield result
            place += 1


def keep_freed_memory() -> None:
    """Let arrays below 32 MB be made of what earlier ones left, not of new pages of the system.

    New pages cost as much as several passes over a block. glibc takes and gives back blocks larger
    than a threshold one by one, and raises it when such a block is freed (mallopt(3), "dynamic mmap
    threshold"). Up to 64 MB stay with the process; elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)

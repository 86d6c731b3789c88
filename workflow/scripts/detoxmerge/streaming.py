"""Blocks that several threads work on, in memory that is not asked for anew."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

A, B = TypeVar("A"), TypeVar("B")


def in_order(work: Callable[[A], B], items: Iterable[A], threads: int) -> Iterator[B]:
    """Results in the order of the items; few are under way at a time.

    Args:
        work: for one item.
        items: taken one after another, by the caller's thread.
        threads: that work, beside the caller's.

    Yields:
        Results.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def keep_freed_memory() -> None:
    """Let arrays below 32 MB be made of what earlier ones left, not of new pages of the system.

    New pages cost as much as several passes over a block. glibc takes and gives back blocks larger
    than a threshold one by one, and raises it when such a block is freed (mallopt(3), "dynamic mmap
    threshold"). Up to 64 MB stay with the process; elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)

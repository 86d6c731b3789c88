"""What this process keeps of memory that it has freed."""

import numpy as np


def keep_freed_memory() -> None:
    """Let arrays below 16 MB be made of what earlier ones left, not of new pages of the system.

    New pages cost as much as several passes over a block. glibc takes and gives back blocks larger
    than a threshold one by one, and raises it when such a block is freed (mallopt(3), "dynamic mmap
    threshold"). Up to 32 MB stay with the process; elsewhere this does nothing.
    """
    np.empty(1 << 24, np.uint8)

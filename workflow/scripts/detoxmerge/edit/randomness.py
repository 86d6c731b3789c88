"""Random numbers by place: the i-th number of a key is the same whichever part is asked for.

Philox (Salmon et al., SC 2011) is a counter-based generator: number i is computed from the key and
i alone. So what is drawn for an entry does not depend on blocks, threads, or other tensors.
"""

import hashlib

import numpy as np

PER_COUNT = 4  # 64-bit numbers that Philox makes of one value of its counter


def uniforms(key: str, start: int, count: int) -> np.ndarray:
    """Uniform numbers start .. start + count - 1 of a key.

    Args:
        key: any text; its SHA-256 is the generator's key.
        start: 0 or more.
        count: how many.

    Returns:
        (count,), fp64, in the open interval (0, 1): odd multiples of 2**-53.
    """
    words = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
    skipped = start % PER_COUNT
    generator = np.random.Philox(key=words, counter=start // PER_COUNT)
    raw = generator.random_raw(skipped + count)[skipped:]
    return ((raw >> np.uint64(12)) + 0.5) * 2.0**-52


def normals(key: str, start: int, count: int) -> np.ndarray:
    """Standard normal numbers, likewise: the normal quantiles of `uniforms`."""
    from scipy.special import ndtri

    return ndtri(uniforms(key, start, count))

"""Random numbers by place: the i-th number of a key is the same, whichever part is drawn.

PCG64 DXSM (O'Neill 2014, Harvey Mudd College HMC-CS-2014-0905; numpy's documentation) steps by a
linear congruence, so the state i steps ahead takes log i multiplications. What is drawn for an
entry does not depend on blocks, workers, or other tensors.
"""

import hashlib

import numpy as np


def draws(key: str, start: int, count: int) -> np.ndarray:
    """Whole numbers start .. start + count - 1 of a key, two from each word of the generator.

    Args:
        key: any text; its SHA-256 is the generator's seed.
        start: place of the first number, 0 or more.
        count: how many numbers.

    Returns:
        (count,), uint32, uniform. A number is below ceil(p 2**32) with probability p.
    """
    odd = start % 2
    halves = _words(key, start // 2, (odd + count + 1) // 2).view(np.uint32)
    return halves[odd : odd + count]


def uniforms(key: str, start: int, count: int) -> np.ndarray:
    """Uniform numbers start .. start + count - 1 of a key, as `draws`.

    Returns:
        (count,), fp64, in the open interval (0, 1): odd multiples of 2**-53.
    """
    return ((_words(key, start, count) >> np.uint64(12)) + 0.5) * 2.0**-52


def normals(key: str, start: int, count: int) -> np.ndarray:
    """Standard normal numbers, likewise: the normal quantiles of `uniforms`."""
    from scipy.special import ndtri

    return ndtri(uniforms(key, start, count))


def _words(key: str, start: int, count: int) -> np.ndarray:
    generator = np.random.PCG64DXSM(int.from_bytes(hashlib.sha256(key.encode()).digest(), "little"))
    return generator.advance(start).random_raw(count)

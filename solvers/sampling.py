"""Drawing initial particles.

Random numbers are counter-based (Philox 4x64): particle i owns the counter block i of the stream
named by the key, so its number depends on nothing else - not on M, the tile, or the thread - and
the particles of M are the first of those of 2M. One block has four lanes; lane 0 is the first
dimension, the others are free for further ones.

Reference: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

from collections.abc import Sequence

import numpy as np

from solvers.arrays import FloatArray, integer
from solvers.distributions import Distribution
from solvers.errors import InputError

LANES = 4
TILE = 65536
SAMPLINGS = ("iid", "quantile")


def uniforms(particles: int, key: tuple[int, int]) -> FloatArray:
    """Return one uniform number in (0, 1) for each particle, shape (M,).

    Args:
        particles: The number M of particles.
        key: Two integers in [0, 2^64), for instance the study's seed and the axis value.

    Raises:
        InputError: if an argument is out of range.
    """
    count = integer(particles, "particles", 1)
    words = _key(key)
    out = np.empty(count)
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        philox = np.random.Philox(counter=start, key=words)
        raw = philox.random_raw(LANES * (stop - start))[::LANES]
        # 52 bits and a half: exact, so neither 0 nor 1 can occur
        out[start:stop] = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return out


def sample(
    distribution: Distribution, particles: int, sampling: str, key: tuple[int, int] = (0, 0)
) -> FloatArray:
    """Return M initial particles, sorted, shape (M,).

    Args:
        distribution: The law f_0.
        particles: The number M of particles.
        sampling: "iid" (random, nested in M) or "quantile": Q((i - 1/2)/M), the points that
            minimise W1 for given M.
        key: Names the random stream; see :func:`uniforms`. Not used by "quantile".

    Raises:
        InputError: if an argument is out of range or `sampling` is unknown.
    """
    if sampling == "iid":
        u = np.sort(uniforms(particles, key))
    elif sampling == "quantile":
        count = integer(particles, "particles", 1)
        u = (np.arange(count) + 0.5) / count
    else:
        raise InputError(f"unknown sampling {sampling!r}; allowed: {', '.join(SAMPLINGS)}")
    return np.sort(distribution.quantile(u))


def _key(key: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    whole = all(isinstance(part, (int, np.integer)) and 0 <= part < 2**64 for part in key)
    if len(key) != 2 or not whole:
        raise InputError(f"a key is two integers in [0, 2^64), not {key!r}")
    return np.array([int(part) for part in key], dtype=np.uint64)

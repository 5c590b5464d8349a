"""Drawing initial particles.

Random numbers are counter-based (Philox 4x64): particle i owns the counter blocks (i, 0), (i, 1),
... of the stream named by the key, so its numbers depend on nothing else - not on M, the tile, or
the thread - and the particles of M are the first of those of 2M. One block has four lanes; lane l
of block k is dimension 4 k + l, so fewer dimensions are the first of more.

Scrambled Sobol points are nested in M likewise; for M = 2^m their W1 distance to the uniform law
falls like 1/M. Sorted uniforms are drawn without a sort, as normalised sums of exponentials.

References: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11. J. Matousek,
J. Complexity 14 (1998) 527-556 (scrambling). L. Devroye, "Non-uniform random variate generation"
(1986), section V.2 (exponential spacings).
"""

from collections.abc import Sequence

import numpy as np

from solvers.arrays import FloatArray, integer
from solvers.distributions import Distribution, VectorDistribution
from solvers.errors import InputError

LANES = 4
TILE = 65536
SAMPLINGS = ("iid", "quantile", "sobol", "iid-sorted")
VECTOR_SAMPLINGS = ("iid", "sobol")
SOBOL_BITS = 52  # with half a unit added the points are exact, inside (0, 1), and 2^52 are distinct
LARGEST = 1.0 - 2.0**-53


def uniforms(particles: int, key: tuple[int, int], dimension: int | None = None) -> FloatArray:
    """Return independent uniform numbers in (0, 1), shape (M,) or (M, dimension).

    Args:
        particles: The number M of particles.
        key: Two integers in [0, 2^64), for instance the study's seed and the axis value.
        dimension: How many numbers each particle gets; None for one, without a second axis.

    Raises:
        InputError: if an argument is out of range.
    """
    count = integer(particles, "particles", 1)
    width = 1 if dimension is None else integer(dimension, "dimension", 1)
    words = _key(key)
    out = np.empty((count, width))
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        for block in range(-(-width // LANES)):
            philox = np.random.Philox(counter=start + (block << 64), key=words)
            raw = philox.random_raw(LANES * (stop - start)).reshape(-1, LANES)
            columns = slice(LANES * block, min(LANES * (block + 1), width))
            raw = raw[:, : columns.stop - columns.start]
            # 52 bits and a half: exact, so neither 0 nor 1 can occur
            out[start:stop, columns] = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return out[:, 0] if dimension is None else out


def sobol(particles: int, key: tuple[int, int], dimension: int | None = None) -> FloatArray:
    """Return scrambled Sobol points in (0, 1), shape (M,) or (M, dimension).

    The first 2^m of them have one point in each of the 2^m equal intervals, in every dimension.
    The points of M are the first of those of 2M; they depend on the number of dimensions.

    Args:
        particles: The number M of points.
        key: As of :func:`uniforms`; it names the scrambling (linear matrix and digital shift).
        dimension: The dimension d; None for one, without a second axis.

    Raises:
        InputError: if an argument is out of range.
    """
    from scipy.stats import qmc  # a second to import, and only this sampling needs it

    count = integer(particles, "particles", 1)
    width = 1 if dimension is None else integer(dimension, "dimension", 1)
    if width > qmc.Sobol.MAXDIM:
        raise InputError(f"dimension = {width}: Sobol points have at most {qmc.Sobol.MAXDIM}")
    seed = np.random.SeedSequence(_key(key).view(np.uint32))  # four words: no two keys collide
    random = np.random.Generator(np.random.Philox(seed))
    points = qmc.Sobol(width, scramble=True, bits=SOBOL_BITS, rng=random)
    out = np.empty((count, width))
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        out[start:stop] = points.random(TILE)[: stop - start] + 0.5**53
    return out[:, 0] if dimension is None else out


def sorted_uniforms(particles: int, key: tuple[int, int]) -> FloatArray:
    """Return M independent uniform numbers in increasing order, shape (M,), without a sort.

    The k-th is (E_1 + ... + E_k)/(E_1 + ... + E_{M+1}) with independent exponentials E_i = -log of
    :func:`uniforms`. In law they are those numbers sorted, but not the same numbers; and those of
    M are *not* among those of 2M. The sums are taken in fixed tiles.

    Args:
        particles: The number M of particles.
        key: As of :func:`uniforms`.

    Raises:
        InputError: if an argument is out of range.
    """
    count = integer(particles, "particles", 1)
    sums = -np.log(uniforms(count + 1, key))
    total = 0.0
    for start in range(0, count + 1, TILE):
        tile = sums[start : start + TILE]
        tile[:] = total + np.cumsum(tile)
        total = float(tile[-1])
    return np.minimum(sums[:-1] / total, LARGEST)


def sample(
    distribution: Distribution | VectorDistribution,
    particles: int,
    sampling: str,
    key: tuple[int, int] = (0, 0),
) -> FloatArray:
    """Return M initial particles: sorted, shape (M,); in R^d unsorted, shape (M, d).

    Args:
        distribution: The law f_0.
        particles: The number M of particles.
        sampling: "iid" (random, nested in M), "quantile": Q((i - 1/2)/M), the points that minimise
            W1 for given M, "sobol" (scrambled Sobol points, nested in M) or "iid-sorted" (random
            without a sort, not nested). In R^d "iid" or "sobol".
        key: Names the random stream; see :func:`uniforms`. Not used by "quantile".

    Raises:
        InputError: if an argument is out of range or `sampling` is unknown.
    """
    if sampling not in SAMPLINGS:
        raise InputError(f"unknown sampling {sampling!r}; allowed: {', '.join(SAMPLINGS)}")
    if isinstance(distribution, VectorDistribution):
        return _sample_vectors(distribution, particles, sampling, key)
    if sampling == "quantile":
        count = integer(particles, "particles", 1)
        u = (np.arange(count) + 0.5) / count
    elif sampling == "iid-sorted":
        u = sorted_uniforms(particles, key)
    else:
        u = np.sort((uniforms if sampling == "iid" else sobol)(particles, key))
    return np.sort(distribution.quantile(u))


def _sample_vectors(
    distribution: VectorDistribution, particles: int, sampling: str, key: tuple[int, int]
) -> FloatArray:
    if sampling not in VECTOR_SAMPLINGS:
        allowed = " or ".join(VECTOR_SAMPLINGS)
        raise InputError(
            f"sampling {sampling!r} is one-dimensional; for a law in R^d use {allowed}"
        )
    points = uniforms if sampling == "iid" else sobol
    return distribution.from_uniforms(points(particles, key, distribution.draws))


def _key(key: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    whole = all(isinstance(part, (int, np.integer)) and 0 <= part < 2**64 for part in key)
    if len(key) != 2 or not whole:
        raise InputError(f"a key is two integers in [0, 2^64), not {key!r}")
    return np.array([int(part) for part in key], dtype=np.uint64)

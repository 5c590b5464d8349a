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

from collections.abc import Iterator, Sequence

import numpy as np

from solvers.arrays import FloatArray, Poll, integer
from solvers.distributions import Distribution, VectorDistribution
from solvers.errors import InputError
from solvers.philox import fill_uniforms

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
    out = np.empty((count, width))
    fill_uniforms(0, _key(key), out)
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


class SortedUniforms:
    """M independent uniform numbers in increasing order, any tile of them without the others.

    The k-th is (E_1 + ... + E_k)/(E_1 + ... + E_{M+1}) with independent exponentials E_i = -log of
    :func:`uniforms`. In law they are those numbers sorted, but not the same numbers; and those of
    M are *not* among those of 2M. The sums are taken in fixed tiles; a first pass over all numbers,
    which are functions of their index and need not be kept, finds where each tile begins.
    """

    def __init__(self, particles: int, key: tuple[int, int], poll: Poll | None = None) -> None:
        """Make the first pass.

        Args:
            particles: The number M of particles.
            key: As of :func:`uniforms`.
            poll: Called at every tile; may raise PointTimeoutError.

        Raises:
            InputError: if an argument is out of range.
        """
        self._count = integer(particles, "particles", 1)
        self._key = _key(key)
        self._before = [0.0]
        for start in range(0, self._count + 1, TILE):
            if poll is not None:
                poll()
            stop = min(start + TILE, self._count + 1)
            self._before.append(float(self._sums(start, stop)[-1]))

    def tile(self, k: int) -> FloatArray:
        """Return the numbers k TILE ... (k + 1) TILE - 1, shape (TILE,) or less for the last."""
        start = k * TILE
        sums = self._sums(start, min(start + TILE, self._count))
        return np.minimum(sums / self._before[-1], LARGEST)

    def _sums(self, start: int, stop: int) -> FloatArray:
        """Return the sums of the exponentials up to each from `start`, where a tile begins."""
        numbers = np.empty((stop - start, 1))
        fill_uniforms(start, self._key, numbers)
        sums = np.log(numbers[:, 0], out=numbers[:, 0])
        np.negative(sums, out=sums)
        np.cumsum(sums, out=sums)
        sums += self._before[start // TILE]
        return sums


def sorted_uniforms(particles: int, key: tuple[int, int]) -> FloatArray:
    """Return M independent uniform numbers in increasing order, shape (M,), without a sort.

    Args:
        particles: The number M of particles.
        key: As of :func:`uniforms`.

    Raises:
        InputError: if an argument is out of range.
    """
    numbers = SortedUniforms(particles, key)
    return np.concatenate([numbers.tile(k) for k in range(-(-particles // TILE))])


class SampleTiles:
    """The particles of :func:`sample` on the line, in increasing order, tile by tile.

    For "iid-sorted" and "quantile" a tile is computed when it is asked for, so that memory does not
    grow with M; the others have to be sorted as a whole.
    """

    def __init__(
        self,
        distribution: Distribution,
        particles: int,
        sampling: str,
        key: tuple[int, int] = (0, 0),
        poll: Poll | None = None,
    ) -> None:
        """Prepare.

        Args:
            distribution: The law f_0.
            particles: The number M of particles.
            sampling: As of :func:`sample`.
            key: Names the random stream; see :func:`uniforms`. Not used by "quantile".
            poll: Called now and then during the preparation; may raise PointTimeoutError.

        Raises:
            InputError: if an argument is out of range or `sampling` is unknown.
        """
        self.particles = integer(particles, "particles", 1)
        if sampling == "iid-sorted":
            levels = SortedUniforms(particles, key, poll).tile
        elif sampling == "quantile":
            levels = self._middles
        else:
            whole = sample(distribution, particles, sampling, key)
            self._tile = lambda k: whole[k * TILE : (k + 1) * TILE]
            return
        self._tile = lambda k: _in_order(distribution.quantile(levels(k)))

    def __len__(self) -> int:
        """Return the number of tiles."""
        return -(-self.particles // TILE)

    def __iter__(self) -> Iterator[FloatArray]:
        """Go through the tiles, shape (TILE,) or less for the last."""
        return (self._tile(k) for k in range(len(self)))

    def _middles(self, k: int) -> FloatArray:
        return (np.arange(k * TILE, min((k + 1) * TILE, self.particles)) + 0.5) / self.particles


def _in_order(points: FloatArray) -> FloatArray:
    """Return points in increasing order that are so but for rounding."""
    return np.sort(points) if np.any(points[1:] < points[:-1]) else points


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
    if sampling in ("quantile", "iid-sorted"):
        return _in_order(np.concatenate(list(SampleTiles(distribution, particles, sampling, key))))
    u = np.sort((uniforms if sampling == "iid" else sobol)(particles, key))
    return _in_order(distribution.quantile(u))


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

"""The Wasserstein distance W1 in one dimension, exactly: the integral of |F - G|.

Every law is given by a piecewise cubic distribution function that may jump; so samples, finite-
volume solutions and the characteristics reference are compared by one exact sweep in O(M + N)
(:mod:`solvers.absolute_cubic`), samples already sorted. A sample need not be in memory as a whole:
:class:`StreamedW1`.

Reference: C. Villani, "Topics in Optimal Transportation", Theorem 2.18 and Remark 2.19.
"""

from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from solvers.absolute_cubic import (
    absolute_difference,
    extent,
    sweep_rest,
    sweep_sample,
    two_samples,
)
from solvers.arrays import FloatArray, increasing, vector
from solvers.errors import MeasureError, NonFiniteError

MASS_TOLERANCE = 1e-9
NARROW = 1e-60
WORK = 1024
_FLAT = (0, 3)
MAX_POSITION = 1e150  # beyond it distances overflow
MAX_FALL = 1e-9  # of a streamed point behind the one before it, relative to the largest of all


class Measure:
    """A law on the real line with a piecewise cubic distribution function.

    Attributes:
        knots: Knots, not decreasing, shape (K,).
        coefficients: Those of s, s^2, s^3, s = x - knots[k], shape (K, 3), or (0, 3) for none.
        total: The mass before normalisation; two measures are compared only if theirs agree.
    """

    def __init__(
        self, knots: FloatArray, right: FloatArray, coefficients: FloatArray, total: float
    ) -> None:
        """Keep the arrays; subclasses validate."""
        self.knots = knots
        self.coefficients = coefficients
        self.total = total
        self._right = right

    @property
    def right(self) -> FloatArray:
        """The distribution function just right of each knot, shape (K,); the last is 1."""
        return self._right

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return the distribution function, continuous from the right."""
        x = np.asarray(x, dtype=np.float64)
        k = np.searchsorted(self.knots, x, side="right") - 1
        inside = np.maximum(k, 0)
        values = self.right[inside]
        if self.coefficients.shape[0]:
            s = np.where((k >= 0) & (k < self.knots.size - 1), x - self.knots[inside], 0.0)
            c = self.coefficients[inside]
            values = values + s * (c[..., 0] + s * (c[..., 1] + s * c[..., 2]))
        return np.where(k >= 0, values, 0.0)


class PointMasses(Measure):
    """Masses at points: the empirical measure of particles.

    Attributes:
        equal: Whether all masses are the same.
    """

    def __init__(
        self,
        points: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        sorted: bool = False,  # noqa: A002
    ) -> None:
        """Sort and validate.

        Args:
            points: Positions, shape (M,).
            weights: Masses, shape (M,), not negative; 1/M each by default.
            sorted: Whether the points are known to be in increasing order; an array of them is
                then kept, not copied.

        Raises:
            MeasureError: if a number is not finite, a weight negative, their sum not positive, the
                shapes differ or there is no point.
        """
        x = points if _is_vector(points) else vector(points, "points", MeasureError)
        self.equal = weights is None
        cumulative, total = np.empty(0), 1.0
        if weights is not None:
            mass = _weights(weights, x.size)
            if not sorted:
                order = np.argsort(x, kind="stable")
                x, mass = x[order], mass[order]
            sums = np.cumsum(mass)
            total = float(sums[-1])
            cumulative = np.minimum(sums / total, 1.0)
        elif not sorted:
            x = np.sort(x)
        largest, falls = extent(x)
        if not largest <= MAX_POSITION:
            vector(points, "points", MeasureError)  # tells which is not finite
            raise MeasureError(f"points must lie within ±{MAX_POSITION:g}")
        if falls:
            raise MeasureError("points said to be sorted are not")
        super().__init__(x, cumulative, np.empty(_FLAT), total)

    @property
    def right(self) -> FloatArray:
        """The distribution function just right of each point, shape (M,); not made before."""
        if not self._right.size:
            self._right = np.arange(1, self.knots.size + 1) / self.knots.size
        return self._right


def _is_vector(points: ArrayLike) -> TypeGuard[FloatArray]:
    """Whether the points are an array that kernels can take as it is."""
    return (
        isinstance(points, np.ndarray)
        and points.dtype == np.float64
        and points.ndim == 1
        and points.size > 0
        and points.flags.carray
    )


def _weights(weights: ArrayLike, size: int) -> FloatArray:
    mass = vector(weights, "weights", MeasureError)
    if mass.size != size:
        raise MeasureError(f"{mass.size} weights for {size} points")
    if np.any(mass < 0.0):
        first = int(np.flatnonzero(mass < 0.0)[0])
        raise MeasureError(f"weights[{first}] = {mass[first]} is negative")
    total = float(mass.sum())
    if not 0.0 < total < np.inf:
        raise MeasureError(f"the weights sum to {total}; a positive finite sum is needed")
    return mass


class PiecewiseLinearCdf(Measure):
    """A distribution function that is linear between given points, as of finite volumes."""

    def __init__(
        self, edges: ArrayLike, averages: ArrayLike | None = None, cdf: ArrayLike | None = None
    ) -> None:
        """Build from cell averages of a density or from values of the distribution function.

        Averages may be slightly negative (undershoot). The total mass must be 1 to 1e-9; it is
        then normalised.

        Args:
            edges: Faces of the cells, increasing, shape (N + 1,).
            averages: Cell averages of the density, shape (N,).
            cdf: Values at the edges, shape (N + 1,); give either this or `averages`.

        Raises:
            MeasureError: if a number is not finite, the shapes differ or the mass is not 1.
        """
        x = increasing(edges, "edges", MeasureError)
        if (averages is None) == (cdf is None):
            raise MeasureError("give either averages or cdf")
        if averages is not None:
            density = vector(averages, "averages", MeasureError)
            if density.size != x.size - 1:
                raise MeasureError(f"{density.size} averages for {x.size - 1} cells")
            values = np.concatenate([[0.0], np.cumsum(density * np.diff(x))])
        else:
            values = vector(np.asarray(cdf), "cdf", MeasureError)
            if values.size != x.size:
                raise MeasureError(f"{values.size} values of the cdf for {x.size} edges")
            if abs(values[0]) > MASS_TOLERANCE:
                raise MeasureError(f"the cdf starts at {values[0]}, not 0")
            if np.any(np.diff(values) < -MASS_TOLERANCE):
                raise MeasureError("the cdf decreases")
        _unit_mass(float(values[-1]))
        values = values / values[-1]
        coefficients = np.zeros((x.size, 3))
        coefficients[:-1, 0] = np.diff(values) / np.diff(x)
        super().__init__(x, values, coefficients, 1.0)


def _unit_mass(total: float) -> None:
    if not abs(total - 1.0) <= MASS_TOLERANCE:
        raise MeasureError(f"the total mass is {total!r}, not 1")


class PiecewiseCdf(Measure):
    """A distribution function given by values and one-sided slopes at knots (cubic Hermite).

    Knots may coincide: the law has then an atom there.
    """

    def __init__(
        self,
        knots: ArrayLike,
        values: ArrayLike,
        slopes_right: ArrayLike,
        slopes_left: ArrayLike,
        landmarks: ArrayLike = (),
    ) -> None:
        """Validate; limit the slopes so that every piece is monotone (Fritsch and Carlson).

        Args:
            knots: Positions, not decreasing, shape (K,).
            values: The distribution function there, from 0 to 1, not decreasing, shape (K,).
            slopes_right: The density right of knot k, k < K - 1, shape (K - 1,); where it is not
                finite the secant is used.
            slopes_left: The density left of knot k + 1, shape (K - 1,).
            landmarks: Points between the ends where a quadrature should split, as at gaps.

        Raises:
            MeasureError: if something is not as said.
        """
        x = vector(knots, "knots", MeasureError, minimum=2)
        f = vector(values, "values", MeasureError, minimum=2)
        if f.size != x.size or np.any(np.diff(x) < 0.0) or np.any(np.diff(f) < 0.0):
            raise MeasureError("knots and values must be of one length and must not decrease")
        _unit_mass(float(f[-1]))
        if abs(f[0]) > MASS_TOLERANCE:
            raise MeasureError(f"the cdf starts at {f[0]}, not 0")
        self.values = f
        self._landmarks = np.unique(np.append(x[[0, -1]], landmarks))
        coefficients = np.zeros((x.size, 3))
        coefficients[:-1] = hermite_coefficients(x, f, slopes_right, slopes_left)
        super().__init__(x, f, coefficients, 1.0)

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse at `u` in [0, 1], to rounding; at the level of a gap its right end."""
        u = np.asarray(u, dtype=np.float64)
        if np.any(~((u >= 0.0) & (u <= 1.0))):
            raise MeasureError("quantiles are asked for outside [0, 1]")
        return invert_hermite(self.knots, self.values, self.coefficients, u)

    def support(self, tail: float = 0.0) -> tuple[float, float]:
        """Return the quantiles at `tail` and 1 - `tail`."""
        if tail == 0.0:
            return float(self.knots[0]), float(self.knots[-1])
        low, high = self.quantile([tail, 1.0 - tail])
        return float(low), float(high)

    def breakpoints(self) -> FloatArray:
        """Return the ends."""
        return self.knots[[0, -1]]

    def landmarks(self, tail: float = 0.0) -> FloatArray:  # noqa: ARG002
        """Return the ends and what else was given, increasing."""
        return self._landmarks.copy()

    @property
    def mean(self) -> float:
        """The mean: the last knot less the integral of the cdf."""
        whole, _ = self._integrals()
        return float(self.knots[-1] - whole.sum())

    @property
    def variance(self) -> float:
        """The variance, by parts on both sides of the mean, so that nothing cancels."""
        mean = self.mean
        whole, first = self._integrals()
        h = np.diff(self.knots)
        offset = self.knots[:-1] - mean
        left = self.knots[1:] <= mean
        left &= np.cumprod(left).astype(bool)
        switch = self.knots[int(left.sum())] - mean
        moment = offset * whole + first  # integral of (x - mean) F
        full = h * (offset + 0.5 * h)  # integral of (x - mean)
        return float(switch**2 - 2.0 * np.where(left, moment, moment - full).sum())

    def _integrals(self) -> tuple[FloatArray, FloatArray]:
        """Return the integrals of F and of s F over each piece, s counted from its left end."""
        h = np.diff(self.knots)
        c0 = self.values[:-1]
        c1, c2, c3 = (self.coefficients[:-1, k] for k in range(3))
        whole = h * (c0 + h * (c1 / 2 + h * (c2 / 3 + h * c3 / 4)))
        first = h * h * (c0 / 2 + h * (c1 / 3 + h * (c2 / 4 + h * c3 / 5)))
        return whole, first


def hermite_coefficients(
    x: FloatArray, f: FloatArray, slopes_right: ArrayLike, slopes_left: ArrayLike
) -> FloatArray:
    """Return the coefficients of s, s^2, s^3 of monotone cubic Hermite pieces, shape (K - 1, 3)."""
    h = np.diff(x)
    rise = np.diff(f)
    wide = h > NARROW
    width = np.where(wide, h, 1.0)
    secant = np.where(wide, rise / width, 0.0)
    ends = []
    for slopes in (slopes_right, slopes_left):
        m = np.asarray(slopes, dtype=np.float64)
        m = np.where(np.isfinite(m), m, secant)
        ends.append(np.clip(m, 0.0, 3.0 * secant))
    m0, m1 = ends
    c2 = np.where(wide, (3.0 * secant - 2.0 * m0 - m1) / width, 0.0)
    c3 = np.where(wide, (m0 + m1 - 2.0 * secant) / width / width, 0.0)
    return np.stack([np.where(wide, m0, 0.0), c2, c3], axis=1)


def invert_hermite(
    x: FloatArray, f: FloatArray, coefficients: FloatArray, u: FloatArray
) -> FloatArray:
    """Return the points where a monotone piecewise cubic takes the values `u`, to rounding."""
    k = np.clip(np.searchsorted(f, u, side="right") - 1, 0, x.size - 2)
    low, high = np.zeros(u.shape), x[k + 1] - x[k]
    rise = f[k + 1] - f[k]
    c1, c2, c3 = (coefficients[k, i] for i in range(3))
    target = u - f[k]
    s = high * np.clip(np.divide(target, rise, out=np.zeros(u.shape), where=rise > 0.0), 0.0, 1.0)
    for _ in range(60):
        excess = s * (c1 + s * (c2 + s * c3)) - target
        high = np.where(excess >= 0.0, s, high)
        low = np.where(excess <= 0.0, s, low)
        slope = c1 + s * (2.0 * c2 + 3.0 * s * c3)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = s - excess / slope
        new = np.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        if np.all(np.abs(new - s) <= 1e-16 * (np.abs(s) + np.abs(x[k]))):
            s = new
            break
        s = new
    return np.asarray(x[k] + s)


class StreamedW1:
    """W1 between a law and a sample of which only a part is in memory at a time.

    The bits are those of :func:`w1`, however the sample is divided.
    """

    def __init__(self, law: Measure, particles: int) -> None:
        """Begin.

        Args:
            law: The law.
            particles: The number M of points in the whole sample, of mass 1/M each.
        """
        self._law = _arrays(law)
        self._particles, self._taken = particles, 0
        self._state = (-1, np.inf, 0.0, 0.0)
        self._work = np.empty(WORK)
        self._last, self._largest, self._fall = -np.inf, 0.0, 0.0

    def add(self, points: FloatArray) -> None:
        """Take the next points, in increasing order up to rounding, shape (n,).

        Raises:
            NonFiniteError: if one is NaN or so large that distances overflow.
        """
        if not points.size:
            return
        largest, falls = extent(points)
        if not largest <= MAX_POSITION:
            raise NonFiniteError(
                f"a point of a sample is {largest:g} in size: at most {MAX_POSITION:g} is allowed"
            )
        self._largest = max(self._largest, largest)
        self._fall = max(self._fall, self._last - float(points[0]))
        if falls:
            self._fall = max(self._fall, float(np.max(points[:-1] - points[1:])))
        self._last = float(points[-1])
        self.take(points)

    def take(self, points: FloatArray) -> None:
        """Do what `add` does with points that are known to be finite and in order."""
        if self._taken == 0:
            self._state = (-1, min(float(points[0]), float(self._law[0][0])), 0.0, 0.0)
        self._state = sweep_sample(
            points, self._taken, self._particles, *self._law, self._state, self._work
        )
        self._taken += points.size

    def distance(self) -> float:
        """Return W1.

        Raises:
            MeasureError: if not all points have come, or not in order.
        """
        if self._taken != self._particles:
            raise MeasureError(f"{self._taken} points of {self._particles} have come")
        if self._fall > MAX_FALL * self._largest:
            raise MeasureError(
                f"points are not in increasing order: one lies {self._fall:.2g} left of the one"
                " before"
            )
        return float(sweep_rest(*self._law, self._state))


def _arrays(measure: Measure) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what a kernel wants of a law: contiguous and writeable (one compiled version)."""
    return _plain(measure.knots), _plain(measure.right), _plain(measure.coefficients)


def _plain(array: FloatArray) -> FloatArray:
    return array if array.flags.carray else np.require(array, np.float64, ["C", "W"])


def w1(mu: Measure, nu: Measure) -> float:
    """Return the Wasserstein distance W1 of two laws.

    Measures of equal total mass are normalised.

    Raises:
        MeasureError: if their total masses differ by more than 1e-9 relatively.
    """
    if abs(mu.total - nu.total) > MASS_TOLERANCE * max(mu.total, nu.total):
        raise MeasureError(f"the total masses {mu.total:.12g} and {nu.total:.12g} differ")
    samples = [isinstance(law, PointMasses) and law.equal for law in (mu, nu)]
    if all(samples):
        return float(two_samples(_plain(mu.knots), _plain(nu.knots)))
    if not any(samples):
        return float(absolute_difference(*_arrays(mu), *_arrays(nu)))
    sample, law = (mu, nu) if samples[0] else (nu, mu)
    stream = StreamedW1(law, sample.knots.size)
    stream.take(_plain(sample.knots))
    return stream.distance()

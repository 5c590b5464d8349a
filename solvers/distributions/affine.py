"""The law of an affine function of a random variable."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze
from solvers.distributions.base import Distribution, law, parameter
from solvers.errors import DistributionError


@dataclass(frozen=True)
class Affine(Distribution):
    """The law of scale X + shift, where X has the law `of`; a negative scale mirrors it.

    An affine law of an affine law becomes one of the innermost law.
    """

    of: Distribution
    scale: float
    shift: float
    _points: FloatArray = field(init=False, repr=False, compare=False)  # breakpoints of `of`
    _images: FloatArray = field(init=False, repr=False, compare=False)  # theirs, increasing

    def __post_init__(self) -> None:
        """Validate and collapse."""
        inner = of = law("affine", self.of)
        scale = parameter("affine", "scale", self.scale)
        shift = parameter("affine", "shift", self.shift)
        if isinstance(inner, Affine):
            of, scale, shift = inner.of, scale * inner.scale, scale * inner.shift + shift
        if not (0.0 < scale * scale < math.inf and math.isfinite(shift)):
            raise DistributionError(
                f"affine: scale = {scale}, shift = {shift}: the scale must not be 0, nor its square"
                " 0 or infinite in float64"
            )
        points = of.breakpoints()[:: 1 if scale > 0.0 else -1]
        images = scale * points + shift
        if not np.all(np.isfinite(images)) or np.any(np.diff(images) <= 0.0):
            raise DistributionError(
                f"affine: with scale = {scale}, shift = {shift} the ends of the support or of its"
                " pieces cannot be told apart in float64"
            )
        values = (of, scale, shift, freeze(points.copy()), freeze(images))
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    def _back(self, x: ArrayLike) -> FloatArray:
        """Return (x - shift) / scale, rounded to the right side of every breakpoint."""
        x = np.asarray(x, dtype=np.float64)
        z = np.asarray((x - self.shift) / self.scale)
        if self._points.size == 0:
            return z
        k = np.searchsorted(self._images, x)
        beyond = math.copysign(math.inf, self.scale)
        ends = np.concatenate([[-beyond], self._points, [beyond]])
        low, high = np.minimum(ends[k], ends[k + 1]), np.maximum(ends[k], ends[k + 1])
        z = np.clip(z, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))
        k = np.minimum(k, self._points.size - 1)
        return np.where(x == self._images[k], self._points[k], z)

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density."""
        return np.asarray(self.of.pdf(self._back(x)) / abs(self.scale))

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return (self.of.cdf if self.scale > 0.0 else self.of.sf)(self._back(x))

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        return (self.of.sf if self.scale > 0.0 else self.of.cdf)(self._back(x))

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf."""
        inverse = self.of.quantile if self.scale > 0.0 else self.of.isf
        return np.asarray(self.scale * inverse(u) + self.shift)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf."""
        inverse = self.of.isf if self.scale > 0.0 else self.of.quantile
        return np.asarray(self.scale * inverse(q) + self.shift)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.scale * self.of.mean + self.shift

    @property
    def variance(self) -> float:
        """The variance."""
        return self.scale**2 * self.of.variance

    def breakpoints(self) -> FloatArray:
        """Return the images of those of `of`."""
        return self._images.copy()

    def landmarks(self, tail: float = 1e-17) -> FloatArray:
        """Return the images of those of `of`."""
        return np.sort(self.scale * self.of.landmarks(tail) + self.shift)

    @property
    def is_compact(self) -> bool:
        """Whether that of `of` is."""
        return self.of.is_compact

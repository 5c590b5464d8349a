"""The normal law."""

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.distributions.base import Distribution, parameter, positive
from solvers.errors import DistributionError


class Normal(Distribution):
    """The normal law with the given mean and standard deviation."""

    def __init__(self, mean: float, std: float) -> None:
        """Validate."""
        self._mean = parameter("normal", "mean", mean)
        self.std = positive("normal", "std", std)
        if not 0.0 < self.std * self.std < math.inf:
            raise DistributionError(f"normal: std = {std!r}: its square is no positive number")

    def __eq__(self, other: object) -> bool:
        """Two are equal if their parameters are."""
        return isinstance(other, Normal) and (self.mean, self.std) == (other.mean, other.std)

    def __hash__(self) -> int:
        """Hash the parameters."""
        return hash(("normal", self.mean, self.std))

    def __repr__(self) -> str:
        """Show the parameters."""
        return f"Normal(mean={self.mean}, std={self.std})"

    @property
    def mean(self) -> float:
        """The mean."""
        return self._mean

    def _standard(self, x: ArrayLike) -> FloatArray:
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.std

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density."""
        z = self._standard(x)
        return np.asarray(np.exp(-0.5 * z * z) / (self.std * math.sqrt(2.0 * math.pi)))

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return np.asarray(scipy.special.ndtr(self._standard(x)))

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        return np.asarray(scipy.special.ndtr(-self._standard(x)))

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf."""
        return np.asarray(
            self.mean + self.std * scipy.special.ndtri(np.asarray(u, dtype=np.float64))
        )

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf."""
        return np.asarray(
            self.mean - self.std * scipy.special.ndtri(np.asarray(q, dtype=np.float64))
        )

    @property
    def variance(self) -> float:
        """The variance."""
        return self.std**2

    def breakpoints(self) -> FloatArray:
        """Return nothing: the density is smooth."""
        return np.empty(0)

    @property
    def is_compact(self) -> bool:
        """Always false."""
        return False

"""The beta law on an interval."""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.distributions.base import Distribution, interval, positive


@dataclass(frozen=True)
class Beta(Distribution):
    """The beta law with density proportional to s^(a-1) (1-s)^(b-1), s = (x-low)/(high-low)."""

    a: float
    b: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        """Validate."""
        low, high = interval("beta", self.low, self.high)
        object.__setattr__(self, "a", positive("beta", "a", self.a))
        object.__setattr__(self, "b", positive("beta", "b", self.b))
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def _width(self) -> float:
        return self.high - self.low

    def _unit(self, x: ArrayLike) -> FloatArray:
        """Return (x - low) / (high - low), clipped to [0, 1]."""
        return np.clip((np.asarray(x, dtype=np.float64) - self.low) / self._width, 0.0, 1.0)

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density, infinite at an end whose exponent is below 1."""
        x = np.asarray(x, dtype=np.float64)
        s = self._unit(x)
        rest = np.clip((self.high - x) / self._width, 0.0, 1.0)
        upper = np.where(
            rest < 0.5,
            scipy.special.xlogy(self.b - 1.0, rest),
            scipy.special.xlog1py(self.b - 1.0, -s),
        )
        lower = np.where(
            s < 0.5,
            scipy.special.xlogy(self.a - 1.0, s),
            scipy.special.xlog1py(self.a - 1.0, -rest),
        )
        values = np.exp(upper + lower - scipy.special.betaln(self.a, self.b)) / self._width
        inside = (x >= self.low) & (x <= self.high)
        return np.asarray(np.where(inside, values, np.where(np.isnan(x), x, 0.0)))

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return np.asarray(scipy.special.betainc(self.a, self.b, self._unit(x)))

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        x = np.asarray(x, dtype=np.float64)
        rest = np.clip((self.high - x) / self._width, 0.0, 1.0)
        near = scipy.special.betainc(self.b, self.a, rest)  # by symmetry: no cancellation at `high`
        return np.where(rest < 0.5, near, scipy.special.betaincc(self.a, self.b, self._unit(x)))

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf."""
        s = scipy.special.betaincinv(self.a, self.b, np.asarray(u, dtype=np.float64))
        return np.clip(self.low + self._width * s, self.low, self.high)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf."""
        s = scipy.special.betainccinv(self.a, self.b, np.asarray(q, dtype=np.float64))
        return np.clip(self.low + self._width * s, self.low, self.high)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.low + self._width * self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        """The variance."""
        total = self.a + self.b
        return self._width**2 * self.a * self.b / (total**2 * (total + 1.0))

    def breakpoints(self) -> FloatArray:
        """Return the two ends."""
        return np.array([self.low, self.high])

    @property
    def is_compact(self) -> bool:
        """Always true."""
        return True

"""The uniform law."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.distributions.base import Distribution, interval


@dataclass(frozen=True)
class Uniform(Distribution):
    """The uniform law on [low, high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Validate."""
        low, high = interval("uniform", self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density."""
        x = np.asarray(x, dtype=np.float64)
        inside = (x >= self.low) & (x <= self.high)
        return np.where(inside, 1.0 / (self.high - self.low), 0.0 * x)

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        x = np.asarray(x, dtype=np.float64)
        return np.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        x = np.asarray(x, dtype=np.float64)
        return np.clip((self.high - x) / (self.high - self.low), 0.0, 1.0)

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf."""
        u = np.asarray(u, dtype=np.float64)
        return np.asarray(np.clip(self.low + (self.high - self.low) * u, self.low, self.high))

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf."""
        q = np.asarray(q, dtype=np.float64)
        return np.asarray(np.clip(self.high - (self.high - self.low) * q, self.low, self.high))

    @property
    def mean(self) -> float:
        """The mean."""
        return 0.5 * (self.low + self.high)

    @property
    def variance(self) -> float:
        """The variance."""
        return (self.high - self.low) ** 2 / 12.0

    def breakpoints(self) -> FloatArray:
        """Return the two ends."""
        return np.array([self.low, self.high])

    @property
    def is_compact(self) -> bool:
        """Always true."""
        return True

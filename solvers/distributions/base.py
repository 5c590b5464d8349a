"""What every law can do."""

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, increasing
from solvers.errors import DistributionError


class Distribution(ABC):
    """A probability law on the real line without atoms.

    Its support may have gaps: there the cdf is flat, and the quantile jumps.
    """

    @abstractmethod
    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density at `x`; infinite at a singularity, 0 outside the support."""

    @abstractmethod
    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""

    @abstractmethod
    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x) without the cancellation of 1 - cdf."""

    @abstractmethod
    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the least x of the support with cdf(x) >= `u`, for `u` in [0, 1]."""

    @abstractmethod
    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the greatest x of the support with sf(x) >= `q`, for `q` in [0, 1]."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """The variance."""

    @abstractmethod
    def breakpoints(self) -> FloatArray:
        """Return, increasing, the finite points of the closed support where the pdf is not smooth.

        The ends of a compact support and of its gaps are among them.
        """

    @property
    @abstractmethod
    def is_compact(self) -> bool:
        """Whether the support is bounded."""

    def support(self, tail: float = 1e-17) -> tuple[float, float]:
        """Return the ends of the support, or the quantiles with `tail` beyond where unbounded."""
        if self.is_compact:
            points = self.breakpoints()
            return float(points[0]), float(points[-1])
        return float(self.quantile(tail)), float(self.isf(tail))

    def landmarks(self, tail: float = 1e-17) -> FloatArray:
        """Return, increasing, where each law that this one is made of lies.

        These are the ends of its support and, where there are several, the medians. A mesh that
        has them and the breakpoints among its points misses none of them.
        """
        return np.array(self.support(tail))

    def cell_averages(self, edges: ArrayLike) -> FloatArray:
        """Return the averages of the density over the cells between `edges`, shape (N,).

        They are differences of the cdf, or of the sf right of the median, where those of the cdf
        would cancel; the sum of the masses is cdf(last) - cdf(first) to rounding.
        """
        points = increasing(edges, "edges", DistributionError)
        below, above = self.cdf(points), self.sf(points)
        upper = below[:-1] > 0.5
        mass = np.where(upper, above[:-1] - above[1:], below[1:] - below[:-1])
        return np.asarray(mass / np.diff(points), dtype=np.float64)


def parameter(law: str, name: str, value: float) -> float:
    """Return a parameter as a float.

    Raises:
        DistributionError: if it is not a finite real number.
    """
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise DistributionError(f"{law}: {name} must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise DistributionError(f"{law}: {name} = {number} is not finite")
    return number


def positive(law: str, name: str, value: float) -> float:
    """Return a parameter that must be positive.

    Raises:
        DistributionError: if it is not.
    """
    number = parameter(law, name, value)
    if number <= 0.0:
        raise DistributionError(f"{law}: {name} = {number} must be positive")
    return number


def law(name: str, value: object) -> Distribution:
    """Return a parameter that must be a law.

    Raises:
        DistributionError: if it is not.
    """
    if not isinstance(value, Distribution):
        raise DistributionError(f"{name}: {value!r} is not a distribution on the real line")
    return value


def interval(law: str, low: float, high: float) -> tuple[float, float]:
    """Return the ends of an interval.

    Raises:
        DistributionError: unless low < high and the width is finite.
    """
    first, last = parameter(law, "low", low), parameter(law, "high", high)
    if not first < last:
        raise DistributionError(f"{law}: low = {first} must be less than high = {last}")
    if not math.isfinite(last - first):
        raise DistributionError(f"{law}: the interval [{first}, {last}] is too wide")
    return first, last

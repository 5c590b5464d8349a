"""The law of a data column."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze, vector
from solvers.distributions.base import Distribution
from solvers.errors import DistributionError


class Samples(Distribution):
    """The law of a data column, without atoms.

    The mass of each distinct value (its multiplicity / n) is spread evenly over the interval
    between the midpoints to its two neighbours; the two end cells are symmetric about their value.
    So the cdf is continuous and piecewise linear. For data rounded at the resolution of their
    recording this undoes the rounding; the distance W1 to the empirical measure is at most half
    the widest gap. The empirical measure itself is ``PointMasses(values)``.

    Attributes:
        values: The data, sorted, shape (n,).
        edges: The K + 1 ends of the cells of the K distinct values.
        masses: The mass of each cell, shape (K,).
    """

    def __init__(self, values: ArrayLike) -> None:
        """Sort the data and build the cells.

        Raises:
            DistributionError: if there are fewer than two distinct values or one is not finite.
        """
        data = np.sort(vector(values, "samples: values", DistributionError))
        distinct, counts = np.unique(data, return_counts=True)
        if distinct.size < 2:
            raise DistributionError("samples: fewer than two distinct values")
        middles = distinct[:-1] + 0.5 * np.diff(distinct)
        first, last = 2.0 * distinct[0] - middles[0], 2.0 * distinct[-1] - middles[-1]
        edges = np.concatenate([[first], middles, [last]])
        if not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0.0):
            raise DistributionError("samples: values too far apart or too close for float64")
        self.values = freeze(data)
        self.edges = freeze(edges)
        self.masses = freeze(counts / data.size)
        cumulative = np.concatenate([[0], np.cumsum(counts)])
        self._below = freeze(cumulative / data.size)
        self._above = freeze((data.size - cumulative) / data.size)
        self._density = freeze(self.masses / np.diff(edges))

    def __eq__(self, other: object) -> bool:
        """Two laws are equal if their data are."""
        return isinstance(other, Samples) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        """Hash the data."""
        return hash(self.values.tobytes())

    def __repr__(self) -> str:
        """Name the size and the range, not the data."""
        low, high = self.values[0], self.values[-1]
        return f"Samples(<{self.values.size} values in [{low:.6g}, {high:.6g}]>)"

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density, at an interior edge its value on the right."""
        x = np.asarray(x, dtype=np.float64)
        cell = np.searchsorted(self.edges, x, side="right") - 1
        cell = np.where(x == self.edges[-1], self.masses.size - 1, cell)
        inside = (cell >= 0) & (cell < self.masses.size)
        values = self._density[np.clip(cell, 0, self.masses.size - 1)]
        return np.where(inside, values, np.where(np.isnan(x), x, 0.0))

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return np.asarray(np.interp(np.asarray(x, dtype=np.float64), self.edges, self._below))

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        return np.asarray(np.interp(np.asarray(x, dtype=np.float64), self.edges, self._above))

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf; NaN outside [0, 1]."""
        u = np.asarray(u, dtype=np.float64)
        inside = (u >= 0.0) & (u <= 1.0)
        return np.where(inside, np.interp(u, self._below, self.edges), np.nan)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf."""
        q = np.asarray(q, dtype=np.float64)
        inside = (q >= 0.0) & (q <= 1.0)
        values = np.interp(q, self._above[::-1], self.edges[::-1])
        return np.where(inside, values, np.nan)

    @property
    def mean(self) -> float:
        """The mean of this law (not of the data)."""
        return float(np.dot(self.masses, 0.5 * (self.edges[:-1] + self.edges[1:])))

    @property
    def variance(self) -> float:
        """The variance of this law (not of the data)."""
        centres = 0.5 * (self.edges[:-1] + self.edges[1:]) - self.mean
        return float(np.dot(self.masses, centres**2 + np.diff(self.edges) ** 2 / 12.0))

    def breakpoints(self) -> FloatArray:
        """Return the edges."""
        return self.edges.copy()

    @property
    def is_compact(self) -> bool:
        """Always true."""
        return True

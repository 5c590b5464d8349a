"""Mixtures of laws."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze
from solvers.distributions.base import Distribution, law, positive
from solvers.errors import DistributionError

TILE = 65536
EPSILON = float(np.finfo(np.float64).eps)


class Mixture(Distribution):
    """The law with the distribution function sum_k weights_k F_k.

    Attributes:
        weights: The weights, normalised.
        components: The laws F_k.
    """

    def __init__(self, weights: Sequence[float], components: Sequence[Distribution]) -> None:
        """Validate; divide the weights, which must be positive, by their sum.

        Raises:
            DistributionError: if weights and components are not equally many, at least one, or one
                of them is not valid.
        """
        if not 0 < len(weights) == len(components):
            raise DistributionError(
                f"mixture: {len(weights)} weights for {len(components)} components; at least one"
                " of each is needed, and equally many"
            )
        parts = [positive("mixture", f"weights[{k}]", value) for k, value in enumerate(weights)]
        total = positive("mixture", "the sum of the weights", sum(parts))
        self.weights = tuple(part / total for part in parts)
        self.components = tuple(law("mixture", component) for component in components)
        self._total = sum(self.weights)  # 1 to rounding; dividing by it makes cdf(high) exactly 1
        points = [component.breakpoints() for component in self.components]
        self._points = freeze(np.unique(np.concatenate(points)))

    def __eq__(self, other: object) -> bool:
        """Two are equal if weights and components are."""
        return isinstance(other, Mixture) and (self.weights, self.components) == (
            other.weights,
            other.components,
        )

    def __hash__(self) -> int:
        """Hash weights and components."""
        return hash((self.weights, self.components))

    def __repr__(self) -> str:
        """Show weights and components."""
        return f"Mixture(weights={self.weights}, components={self.components})"

    def _sum(self, values: list[FloatArray]) -> FloatArray:
        """Return the weighted sum over the components, always in the same order."""
        total = self.weights[0] * values[0]
        for weight, value in zip(self.weights[1:], values[1:], strict=True):
            total = total + weight * value
        return np.asarray(total / self._total)

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density."""
        return self._sum([component.pdf(x) for component in self.components])

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return self._sum([component.cdf(x) for component in self.components])

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x)."""
        return self._sum([component.sf(x) for component in self.components])

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return the inverse of the cdf, to a few units of rounding; NaN outside [0, 1]."""
        return _least(self.cdf, u, [c.quantile(u) for c in self.components], self._points)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the inverse of the sf, to a few units of rounding; NaN outside [0, 1]."""
        bounds = [-component.isf(q) for component in self.components]
        return -_least(lambda x: self.sf(-x), q, bounds, -self._points[::-1])

    @property
    def mean(self) -> float:
        """The mean."""
        return float(self._sum([np.asarray(component.mean) for component in self.components]))

    @property
    def variance(self) -> float:
        """The variance: that within the components and that between them."""
        mean = self.mean
        second = [c.variance + (c.mean - mean) ** 2 for c in self.components]
        return float(self._sum([np.asarray(value) for value in second]))

    def breakpoints(self) -> FloatArray:
        """Return those of all components."""
        return self._points.copy()

    def landmarks(self, tail: float = 1e-17) -> FloatArray:
        """Return those of all components, and their medians, within the support."""
        parts = [np.append(part.landmarks(tail), part.quantile(0.5)) for part in self.components]
        return np.unique(np.clip(np.concatenate(parts), *self.support(tail)))

    @property
    def is_compact(self) -> bool:
        """Whether all components are."""
        return all(component.is_compact for component in self.components)


def _least(
    function: Callable[[FloatArray], FloatArray],
    levels: ArrayLike,
    bounds: list[FloatArray],
    knots: FloatArray,
) -> FloatArray:
    """Return the least x where an increasing function reaches each level.

    Between two knots the function is strictly increasing, or constant over the whole gap. So the
    knot that first reaches the level is found by search (and is the answer if it just does), and
    what remains is one simple root, bracketed by the knots and by the answers of the components.

    Args:
        function: The cdf, or the sf of the mirrored axis.
        levels: The levels, of any shape.
        bounds: The answer of each component, of the same shape.
        knots: Points between which the function is smooth, increasing.
    """
    level = np.asarray(levels, dtype=np.float64)
    known = ~np.isnan(bounds)  # SciPy's inverse of beta is NaN below 1e-186
    low = np.where(known.all(axis=0), np.min(bounds, axis=0), -np.inf)
    high = np.where(known.all(axis=0), np.max(bounds, axis=0), np.inf)
    if knots.size:
        values = np.maximum.accumulate(function(knots))
        k = np.searchsorted(values, level)
        ends = np.concatenate([[-np.inf], knots, [np.inf]])
        left, right = ends[k], ends[k + 1]
        left = np.where(np.append(values, np.nan)[k] == level, right, left)
        low, high = np.clip(low, left, right), np.clip(high, left, right)
    x: FloatArray = np.array(np.where(function(low) >= level, low, high))
    x[~((level >= 0.0) & (level <= 1.0))] = np.nan
    open_ = (function(low) < level) & (level < function(high))
    if open_.any():
        x[open_] = _root(function, level[open_], low[open_], high[open_])
    return x


def _root(
    function: Callable[[FloatArray], FloatArray],
    level: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Return where the function takes each level between `low` and `high` (Chandrupatla)."""
    from scipy.optimize import elementwise  # half a second to import, and only mixtures need it

    find: Any = elementwise.find_root  # its stubs know single brackets only
    x = np.empty(level.size)
    for start in range(0, level.size, TILE):
        part = slice(start, start + TILE)
        x[part] = find(
            lambda y, target: function(y) - target,
            (low[part], high[part]),
            args=(level[part],),
            tolerances={"xrtol": EPSILON, "xatol": 0.0, "fatol": 0.0},
        ).x
    return x

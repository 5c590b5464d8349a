"""Nodes x_i with weights omega_i that stand for the initial law in the Lagrangian discretisation.

Two kinds. Samples with omega_i = 1/M are the microscopic problem: the law *is* the sum of point
masses. Gauss nodes are the mean-field problem: integrals over f_0 are integrals over the levels u
in (0, 1) of its quantile, int h df_0 = int h(Q_0(u)) du, by Gauss-Legendre quadrature on pieces.

The pieces are equal in s, where u is the standard normal distribution function at s. That grades
them towards u = 0 and 1 as fast as the tails of a normal law fall: for a normal law Q_0 is linear
in s, and where Q_0 is algebraic at an end (beta laws) it is smooth and falls exponentially in s.
Pieces also end wherever the density of f_0 is not smooth, and are halved until its second moment is
integrated to rounding, so quadrature converges as on smooth functions for every law.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze
from solvers.distributions import Distribution
from solvers.errors import InputError
from solvers.training.quadrature import ROUNDING, piecewise_gauss, refined

LARGEST = 8.3  # 5e-17 of a standard normal law lies beyond
PIECE = 1.0
WEIGHT_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Nodes:
    """Points and weights.

    Attributes:
        points: Positions, shape (M, d).
        weights: Positive, of sum 1, shape (M,).
        levels: The levels u_i, increasing, where points[i] = Q_0(u_i) are Gauss nodes of a law on
            the line; None for point masses.
        tails: 1 - u_i without cancellation.
        law: That law.
    """

    points: FloatArray
    weights: FloatArray
    levels: FloatArray | None = None
    tails: FloatArray | None = None
    law: Distribution | None = None

    @classmethod
    def samples(cls, points: ArrayLike) -> "Nodes":
        """Return equal point masses at `points`, shape (M, d) or (M,)."""
        x = _points(points)
        return cls(freeze(x), freeze(np.full(x.shape[0], 1.0 / x.shape[0])))

    @classmethod
    def weighted(cls, points: ArrayLike, weights: ArrayLike) -> "Nodes":
        """Return point masses; the weights are normalised.

        Raises:
            InputError: if a number is not finite, a weight not positive, or their sum not 1.
        """
        x, mass = _points(points), np.array(weights, dtype=np.float64)
        if mass.shape != (x.shape[0],):
            raise InputError(f"weights of shape {mass.shape} for {x.shape[0]} points")
        if not np.all(mass > 0.0) or not abs(mass.sum() - 1.0) <= WEIGHT_TOLERANCE:
            raise InputError("weights must be positive numbers of sum 1")
        return cls(freeze(x), freeze(mass / mass.sum()))

    @classmethod
    def gauss(cls, law: Distribution) -> "Nodes":
        """Return Gauss nodes of a law on the line: eight on each piece.

        Raises:
            InputError: if `law` is no law on the line.
        """
        if not isinstance(law, Distribution):
            raise InputError(f"Gauss nodes need a law on the real line, not {law!r}")
        breaks = scipy.special.ndtri(np.clip(law.cdf(law.breakpoints()), 0.0, 1.0))
        inner = breaks[np.abs(breaks) < LARGEST]
        ends = np.unique(np.concatenate([[-LARGEST], inner, [LARGEST]]))
        counts = np.ceil(np.diff(ends) / PIECE).astype(np.int64)
        pieces = [
            np.linspace(low, high, count + 1)[:-1]
            for low, high, count in zip(ends[:-1], ends[1:], counts, strict=True)
        ]

        def spread(s: FloatArray) -> FloatArray:
            return (
                quantile(law, scipy.special.ndtr(s), scipy.special.ndtr(-s)) - law.mean
            ) ** 2 * _density(s)

        mesh = np.concatenate([*pieces, ends[-1:]])
        s, ds = piecewise_gauss(refined(mesh, spread, ROUNDING * law.variance))
        weights = _density(s) * ds
        levels, tails = scipy.special.ndtr(s), scipy.special.ndtr(-s)
        x = quantile(law, levels, tails)
        return cls(freeze(x[:, None]), freeze(weights / weights.sum()), levels, tails, law)

    def line_moments(self) -> tuple[float, float]:
        """Return mean and variance of nodes on the line."""
        x = self.points[:, 0]
        mean = float(self.weights @ x)
        return mean, float(self.weights @ (x - mean) ** 2)

    @property
    def dimension(self) -> int:
        """The dimension d."""
        return int(self.points.shape[1])


def _density(s: FloatArray) -> FloatArray:
    """Return the standard normal density."""
    return np.asarray(np.exp(-0.5 * s * s) / math.sqrt(2.0 * math.pi))


def quantile(law: Distribution, levels: FloatArray, tails: FloatArray) -> FloatArray:
    """Return the quantile at levels u, given with 1 - u."""
    return np.where(levels < 0.5, law.quantile(levels), law.isf(tails))


def _points(points: ArrayLike) -> FloatArray:
    """Return positions, shape (M, d)."""
    x = np.array(points, dtype=np.float64, order="C")
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or x.size == 0:
        raise InputError(f"points must have shape (M, d) or (M,), not {np.shape(points)}")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise InputError(f"points[{row}] = {x[row]} is not finite")
    return x

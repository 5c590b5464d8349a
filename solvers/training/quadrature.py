"""Gauss-Legendre quadrature on pieces, and the antiderivatives of a law's cdf and quantile.

Pieces are halved until eight Gauss points on a piece and on its two halves agree.

K(x) = int_{-inf}^x G ds of a distribution function G is summed over such a mesh, graded to the
tails from the start; between two points of the mesh the rest is integrated likewise, so K is exact
to rounding and its derivative is G. By parts int_0^u Q dv = u Q(u) - K(Q(u)).
"""

from collections.abc import Callable

import numpy as np
import scipy

from solvers.arrays import FloatArray
from solvers.distributions import Distribution

POINTS = 8
ABSCISSAE, FACTORS = np.polynomial.legendre.leggauss(POINTS)
TAIL = 1e-17
ROUNDING = 1e-15
HALVINGS = 50
GRADING = np.linspace(-8.5, 8.5, 137)


def piecewise_gauss(ends: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the nodes and weights of Gauss quadrature on the pieces between `ends`, increasing.

    Eight points a piece, exact for polynomials of degree 15 on each.
    """
    centre, half = 0.5 * (ends[1:] + ends[:-1]), 0.5 * np.diff(ends)
    nodes = centre[:, None] + half[:, None] * ABSCISSAE
    return nodes.ravel(), (half[:, None] * FACTORS).ravel()


def refined(
    ends: FloatArray, integrand: Callable[[FloatArray], FloatArray], tolerance: float
) -> FloatArray:
    """Return the ends of pieces on each of which Gauss quadrature has converged.

    Args:
        ends: The ends of the first pieces, increasing.
        integrand: The function to integrate.
        tolerance: What the integrals over a piece and over its halves may differ by.
    """

    def integrals(left: FloatArray, right: FloatArray) -> FloatArray:
        half = 0.5 * (right - left)
        values = integrand((left + half)[:, None] + half[:, None] * ABSCISSAE)
        return np.asarray(half * (values @ FACTORS))

    left, right = ends[:-1], ends[1:]
    for _ in range(HALVINGS):
        middle = 0.5 * (left + right)
        error = integrals(left, right) - integrals(left, middle) - integrals(middle, right)
        split = np.abs(error) > tolerance
        if not split.any():
            break
        ends = np.concatenate([ends, middle[split]])
        left = np.concatenate([left[split], middle[split]])
        right = np.concatenate([middle[split], right[split]])
    return np.sort(ends)


def law_mesh(law: Distribution) -> FloatArray:
    """Return points between which the cdf of `law` is resolved by Gauss quadrature, increasing."""
    low, high = law.support(TAIL)
    lower, upper = GRADING[GRADING < 0.0], GRADING[GRADING >= 0.0]
    parts = [
        law.quantile(scipy.special.ndtr(lower)),
        law.isf(scipy.special.ndtr(-upper)),
        law.breakpoints(),
        [low, high],
    ]
    points = np.unique(np.concatenate([*parts, law.landmarks(TAIL)]))
    inside = points[(points >= low) & (points <= high)]
    return refined(inside, law.cdf, ROUNDING * (high - low))


class CdfIntegral:
    """K(x) = int_{-inf}^x G ds, and the integral of the quantile."""

    def __init__(self, law: Distribution) -> None:
        """Sum over the mesh."""
        self.law = law
        self.mesh = law_mesh(law)
        nodes, weights = piecewise_gauss(self.mesh)
        self._cdf, self._sf, self._weights = law.cdf(nodes), law.sf(nodes), weights
        pieces = (weights * self._cdf).reshape(-1, POINTS).sum(axis=1)
        self._sums = np.concatenate([[0.0], np.cumsum(pieces)])

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return K(x), shape of `x`."""
        flat = x.reshape(-1)
        k = np.clip(np.searchsorted(self.mesh, flat, side="right") - 1, 0, self.mesh.size - 1)
        left = self.mesh[k]
        half = 0.5 * np.maximum(flat - left, 0.0)
        rest = np.zeros(flat.size)
        for node, factor in zip(ABSCISSAE, FACTORS, strict=True):
            rest += factor * self.law.cdf(left + half * (1.0 + node))
        return np.asarray((self._sums[k] + half * rest).reshape(x.shape))

    def quantile_integral(self, u: FloatArray) -> FloatArray:
        """Return int_0^u (Q(v) - mean) dv for levels u in [0, 1]."""
        inside = (u > 0.0) & (u < 1.0)
        values = np.zeros(u.shape)
        q = self.law.quantile(u[inside])
        values[inside] = u[inside] * (q - self.law.mean) - self(q)
        return values

    def mean_difference(self) -> float:
        """Return E|Y - Y'| = 2 int G (1 - G) dx of two independent draws."""
        return 2.0 * float(self._weights @ (self._cdf * self._sf))

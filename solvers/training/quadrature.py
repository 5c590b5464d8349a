"""Gauss-Legendre quadrature on pieces, and the antiderivatives of a law's cdf and quantile.

K(x) = int_{-inf}^x G ds of a distribution function G is summed over a mesh graded to the tails (see
:mod:`solvers.training.nodes`), with eight Gauss points a piece; between two points of the mesh the
rest is integrated likewise, so K is exact to rounding and its derivative is G. By parts
int_0^u Q dv = u Q(u) - K(Q(u)).
"""

import numpy as np
from scipy.special import ndtr

from solvers.arrays import FloatArray
from solvers.distributions import Distribution

POINTS = 8
ABSCISSAE, FACTORS = np.polynomial.legendre.leggauss(POINTS)
TAIL = 1e-17
GRADING = np.linspace(-8.5, 8.5, 137)


def piecewise_gauss(ends: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the nodes and weights of Gauss quadrature on the pieces between `ends`, increasing.

    Eight points a piece, exact for polynomials of degree 15 on each.
    """
    centre, half = 0.5 * (ends[1:] + ends[:-1]), 0.5 * np.diff(ends)
    nodes = centre[:, None] + half[:, None] * ABSCISSAE
    return nodes.ravel(), (half[:, None] * FACTORS).ravel()


def law_mesh(law: Distribution) -> FloatArray:
    """Return points between which the cdf of `law` is smooth and varies moderately, increasing."""
    low, high = law.support(TAIL)
    lower, upper = GRADING[GRADING < 0.0], GRADING[GRADING >= 0.0]
    parts = [law.quantile(ndtr(lower)), law.isf(ndtr(-upper)), law.breakpoints(), [low, high]]
    points = np.unique(np.concatenate([*parts, law.landmarks(TAIL)]))
    return points[(points >= low) & (points <= high)]


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

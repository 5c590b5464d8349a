"""The squared Wasserstein distance W2 on the line.

    L(f_T) = W2^2(f_T, g) = int_0^1 (Q_T(u) - Q_g(u))^2 du,   p(T, x) = 2 (x - Q_g(F_T(x)))

Of sorted point masses, x_i over (u_{i-1}, u_i), the derivative is 2 omega_i (x_i - y_i) with y_i
the mean of Q_g over that interval. Of Gauss nodes of a law, which an increasing flow keeps in
order, y_i = Q_g(u_i).
"""

import numpy as np

from solvers.arrays import FloatArray
from solvers.training.losses.base import LineLoss, TerminalCost, face_cdf
from solvers.training.nodes import Nodes, quantile
from solvers.training.quadrature import CdfIntegral

NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)  # in each cell
CLAMP = 1e-12  # levels nearer to 0 or 1 are taken as this near: Q_g may be infinite there


class W2(LineLoss):
    """W2 squared."""

    name = "w2"

    def on_nodes(self, nodes: Nodes) -> TerminalCost:
        """Return the loss and its derivative."""
        self._check_line(nodes)
        weights = nodes.weights
        if nodes.levels is None or nodes.tails is None:
            return self._on_masses(weights)
        y = quantile(self.target, nodes.levels, nodes.tails)

        def terminal(x: FloatArray) -> tuple[float, FloatArray]:
            offset = x - y
            pull = weights * offset
            return float(np.sum(pull * offset)), 2.0 * pull

        return terminal

    def _on_masses(self, weights: FloatArray) -> TerminalCost:
        integral = CdfIntegral(self.target)
        mean, variance = self.target.mean, self.target.variance

        def terminal(x: FloatArray) -> tuple[float, FloatArray]:
            moment = _moments(integral, weights, x[0])
            offset = x[0] - mean
            pull = weights * offset - 2.0 * moment
            gradient = 2.0 * (weights * offset - moment)
            return float(np.sum(pull * offset)) + variance, gradient[None]

        return terminal

    def on_grid(self, edges: FloatArray) -> TerminalCost:
        """Return the loss of the piecewise constant density, and the cell averages of p(T, .)."""
        dx = float(edges[1] - edges[0])
        centres = 0.5 * (edges[:-1] + edges[1:])
        x = centres[:, None] + 0.5 * dx * NODES

        def terminal(density: FloatArray) -> tuple[float, FloatArray]:
            levels = face_cdf(density, dx)[:-1]
            inner = levels[:, None] + 0.5 * dx * density[:, None] * (1.0 + NODES)
            miss = x - self._quantile(inner)
            return 0.5 * dx * float(density @ (miss**2 @ WEIGHTS)), miss @ WEIGHTS

        return terminal

    def _quantile(self, levels: FloatArray) -> FloatArray:
        return self.target.quantile(np.clip(levels, CLAMP, 1.0 - CLAMP))

    def line_moments(self, nodes: Nodes) -> tuple[float, float, float]:
        """Return those of the target coupled with the nodes in increasing order."""
        x = nodes.points[:, 0]
        if nodes.levels is None or nodes.tails is None:
            covariance = float(x @ _moments(CdfIntegral(self.target), nodes.weights, x))
        else:
            y = quantile(self.target, nodes.levels, nodes.tails)
            covariance = float(nodes.weights @ (x * (y - self.target.mean)))
        return self.target.mean, self.target.variance, covariance


def _moments(integral: CdfIntegral, weights: FloatArray, x: FloatArray) -> FloatArray:
    """Return the integrals of Q_g - m_g over the intervals of point masses at `x`."""
    order = np.argsort(x, kind="stable")
    levels = np.minimum(np.cumsum(weights[order]), 1.0)
    levels[-1] = 1.0
    moments = np.empty(order.size)
    moments[order] = np.diff(integral.quantile_integral(levels), prepend=0.0)
    return moments

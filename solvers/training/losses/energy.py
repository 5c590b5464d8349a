"""The energy distance on the line.

    L(f_T) = 2 E|X - Y| - E|X - X'| - E|Y - Y'| = 2 int (F_T - G)^2 dx,   p(T, x) = 4 (G - F_T)

Of sorted point masses, x_i over (u_{i-1}, u_i), the derivative is 4 omega_i (G(x_i) - v_i) with
v_i = (u_{i-1} + u_i)/2; of Gauss nodes of a law v_i = u_i. With K(x) = int_{-inf}^x G ds the loss
is

    sum_i omega_i (4 K(x_i) + 2 (m_g - x_i) + 2 x_i (1 - 2 v_i)) - E|Y - Y'|.
"""

import numpy as np

from solvers.arrays import FloatArray
from solvers.training.losses.base import LineLoss, TerminalCost, face_cdf, midlevels
from solvers.training.nodes import Nodes
from solvers.training.quadrature import ABSCISSAE, FACTORS, CdfIntegral, law_mesh, piecewise_gauss


class Energy(LineLoss):
    """The energy distance."""

    name = "energy"

    def on_nodes(self, nodes: Nodes) -> TerminalCost:
        """Return the loss and its derivative."""
        self._check_line(nodes)
        weights, mean = nodes.weights, self.target.mean
        integral = CdfIntegral(self.target)
        spread = integral.mean_difference()

        def levels_of(x: FloatArray) -> FloatArray:
            if nodes.levels is not None:
                return nodes.levels
            order = np.argsort(x, kind="stable")
            levels = np.empty(x.size)
            levels[order] = midlevels(weights[order])
            return levels

        def terminal(x: FloatArray) -> tuple[float, FloatArray]:
            levels = levels_of(x[0])
            terms = integral(x[0]) - levels * (x[0] - mean)
            cost = 4.0 * float(weights @ terms) - spread
            return cost, (4.0 * weights * (self.target.cdf(x[0]) - levels))[None]

        return terminal

    def on_grid(self, edges: FloatArray) -> TerminalCost:
        """Return the loss of the piecewise constant density, and the cell averages of p(T, .)."""
        dx = float(edges[1] - edges[0])
        centres = 0.5 * (edges[:-1] + edges[1:])
        inner = self.target.cdf(centres[:, None] + 0.5 * dx * ABSCISSAE)
        average = 0.5 * inner @ FACTORS
        outside = self._outside(float(edges[0]), float(edges[-1]))

        def terminal(density: FloatArray) -> tuple[float, FloatArray]:
            levels = face_cdf(density, dx)[:-1]
            found = levels[:, None] + 0.5 * dx * density[:, None] * (1.0 + ABSCISSAE)
            gap = (found - inner) ** 2 @ FACTORS
            adjoint = 4.0 * (average - levels - 0.5 * dx * density)
            return dx * float(gap.sum()) + outside, adjoint

        return terminal

    def _outside(self, low: float, high: float) -> float:
        """Return the part of the loss beyond the domain, where F_T is 0 or 1."""
        mesh = law_mesh(self.target)
        total = 0.0
        for ends, tail in (
            (np.append(mesh[mesh < low], low), self.target.cdf),
            (np.append(high, mesh[mesh > high]), self.target.sf),
        ):
            if ends.size > 1:
                x, weights = piecewise_gauss(ends)
                total += 2.0 * float(weights @ tail(x) ** 2)
        return total

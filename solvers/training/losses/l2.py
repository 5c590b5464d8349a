"""The L2 distance of densities.

    L(f_T) = int (f_T - g)^2 dx over the domain,   p(T, x) = 2 d/dx (f_T - g)

Both densities are taken as their cell averages, and the derivative as the difference of the means
at the two faces of a cell. Point masses have no density, so the loss is Eulerian only.
"""

import numpy as np

from solvers.arrays import FloatArray
from solvers.training.losses.base import LineLoss, TerminalCost


class L2(LineLoss):
    """The squared L2 distance of densities."""

    name = "l2"

    def on_grid(self, edges: FloatArray) -> TerminalCost:
        """Return the loss and p(T, .)."""
        dx = float(edges[1] - edges[0])
        target = self.target.cell_averages(edges)

        def terminal(density: FloatArray) -> tuple[float, FloatArray]:
            gap = density - target
            padded = np.concatenate([[0.0], gap, [0.0]])
            return dx * float(gap @ gap), (padded[2:] - padded[:-2]) / dx

        return terminal

"""The quadratic loss with paired targets, (4): L = sum_i omega_i |x_i(T) - y_i|^2."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze
from solvers.errors import InputError
from solvers.training.losses.base import Loss, TerminalCost
from solvers.training.nodes import Nodes
from solvers.wasserstein import Measure, PointMasses


class Paired(Loss):
    """The paired loss.

    Attributes:
        targets: The target y_i of each node, shape (M, d).
    """

    name = "paired"

    def __init__(self, targets: ArrayLike) -> None:
        """Validate.

        Raises:
            InputError: if there are none or one is not finite.
        """
        y = np.array(targets, dtype=np.float64)
        self.targets = freeze(y[:, None] if y.ndim == 1 else y)
        if self.targets.ndim != 2 or y.size == 0 or not np.isfinite(y).all():
            raise InputError("the targets y_i must be finite numbers, of shape (M, d) or (M,)")

    def on_nodes(self, nodes: Nodes) -> TerminalCost:
        """Return the loss and its derivative 2 omega_i (x_i - y_i)."""
        if nodes.points.shape != self.targets.shape:
            raise InputError(
                f"loss 'paired' needs one target for each node: {self.targets.shape} targets,"
                f" {nodes.points.shape} nodes"
            )

        def terminal(x: FloatArray) -> tuple[float, FloatArray]:
            offset = x - self.targets.T
            pull = nodes.weights * offset
            return float(np.sum(pull * offset)), 2.0 * pull

        return terminal

    def affine_derivative(self, nodes: Nodes) -> tuple[FloatArray, FloatArray]:
        """Return 2 omega_i and -2 omega_i y_i."""
        slope = 2.0 * nodes.weights
        return slope, -slope * self.targets.T

    def on_grid(self, edges: FloatArray) -> TerminalCost:  # noqa: ARG002
        """Refuse: a density knows no pairs."""
        raise InputError(
            "loss 'paired' needs particles: discretization must be lagrangian, not eulerian"
        )

    def target_measure(self) -> Measure | None:
        """Return the law of the targets for W1, on the line."""
        return PointMasses(self.targets[:, 0]) if self.targets.shape[1] == 1 else None

    def line_moments(self, nodes: Nodes) -> tuple[float, float, float]:
        """Return those of the pairs."""
        x, y, weights = nodes.points[:, 0], self.targets[:, 0], nodes.weights
        mean = float(weights @ y)
        return mean, float(weights @ (y - mean) ** 2), float(weights @ (x * (y - mean)))

"""The quadratic loss with independent targets, (24).

    L(f_T) = int int |x - y|^2 dg(y) df_T(x) = tr Cov f_T + |m_T - m_g|^2 + tr Cov g

It is linear in f_T, so p(T, x) = 2 (x - m_g) does not depend on f_T; of g it sees mean and variance
only, and a final law without variance is best.
"""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze
from solvers.distributions import Distribution, VectorDistribution
from solvers.errors import InputError
from solvers.training.losses.base import Loss, TerminalCost, check_moments, measure_of
from solvers.training.nodes import Nodes
from solvers.wasserstein import Measure


class Quadratic(Loss):
    """The quadratic loss.

    Attributes:
        mean: The mean m_g of the target, shape (d,).
        variance: The trace of its covariance.
        measure: The target for W1, if it is known as a law on the line.
    """

    name = "quadratic"

    def __init__(
        self, mean: ArrayLike, variance: float = 0.0, measure: Measure | None = None
    ) -> None:
        """Validate.

        Raises:
            InputError: if a number is not finite or the variance negative.
        """
        self.mean = freeze(np.atleast_1d(np.array(mean, dtype=np.float64)))
        self.variance = float(variance)
        self.measure = measure
        if self.mean.ndim != 1 or not np.isfinite(self.mean).all():
            raise InputError(f"the mean of the target must be a finite vector, not {mean!r}")
        if not (np.isfinite(self.variance) and self.variance >= 0.0):
            raise InputError(
                f"variance = {variance} of the target must not be negative, and finite"
            )

    @classmethod
    def to(cls, target: Distribution | VectorDistribution) -> "Quadratic":
        """Return the loss whose target is a law.

        Raises:
            InputError: if `target` is none, or its mean or variance is not finite.
        """
        if isinstance(target, VectorDistribution):
            return cls(target.mean, float(np.trace(target.covariance)))
        if not isinstance(target, Distribution):
            raise InputError(f"loss 'quadratic' needs a target law, not {target!r}")
        check_moments(target)
        return cls(target.mean, target.variance, measure_of(target))

    def on_nodes(self, nodes: Nodes) -> TerminalCost:
        """Return sum_i omega_i |x_i - m_g|^2 + tr Cov g and its derivative."""
        if nodes.dimension != self.mean.size:
            raise InputError(
                f"the target has dimension {self.mean.size}, the nodes {nodes.dimension}"
            )

        def terminal(x: FloatArray) -> tuple[float, FloatArray]:
            offset = x - self.mean[:, None]
            pull = nodes.weights * offset
            return float(np.sum(pull * offset)) + self.variance, 2.0 * pull

        return terminal

    def affine_derivative(self, nodes: Nodes) -> tuple[FloatArray, FloatArray]:
        """Return 2 omega_i and -2 omega_i m_g."""
        slope = 2.0 * nodes.weights
        return slope, -slope * self.mean[:, None]

    def on_grid(self, edges: FloatArray) -> TerminalCost:
        """Return the loss by the midpoint rule, and 2 (x - m_g).

        That is dx^2/12 too much on smooth data, whatever the controls.
        """
        dx = float(edges[1] - edges[0])
        offset = 0.5 * (edges[:-1] + edges[1:]) - self.mean
        second = dx * offset**2

        def terminal(density: FloatArray) -> tuple[float, FloatArray]:
            return float(second @ density) + self.variance, 2.0 * offset

        return terminal

    def target_measure(self) -> Measure | None:
        """Return the target for W1, if it is a law on the line."""
        return self.measure

    def line_moments(self, nodes: Nodes) -> tuple[float, float, float]:  # noqa: ARG002
        """Return those of the target, which is independent of the nodes."""
        return float(self.mean[0]), self.variance, 0.0

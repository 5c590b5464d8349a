"""What every loss can do."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import numpy as np

from solvers.activations import ACTIVATIONS
from solvers.arrays import FloatArray
from solvers.characteristics import reference
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.errors import InputError
from solvers.training.nodes import Nodes
from solvers.wasserstein import Measure

TerminalCost: TypeAlias = Callable[[FloatArray], tuple[float, FloatArray]]
"""Final state -> the loss L and its derivative.

On nodes the state is x of shape (d, M) and the derivative that with respect to it, with the
weights. On a grid the state is the cell averages of f_T, shape (N,), and the derivative those of
p(T, .) = d/dx of the first variation of L.
"""


class Loss(ABC):
    """A loss L(f_T) of the final law, with its target."""

    name: ClassVar[str]

    def on_nodes(self, nodes: Nodes) -> TerminalCost:  # noqa: ARG002
        """Return the loss for the Lagrangian discretisation.

        Raises:
            InputError: if the loss does not fit the nodes.
        """
        raise InputError(
            f"loss {self.name!r} needs a density: discretization must be eulerian, not lagrangian"
        )

    def affine_derivative(self, nodes: Nodes) -> tuple[FloatArray, FloatArray] | None:  # noqa: ARG002
        """Return s, shape (M,), and c, shape (d, M): the derivative by x_i is s_i x_i + c_i.

        None if it depends on the positions of other nodes too.
        """
        return None

    @abstractmethod
    def on_grid(self, edges: FloatArray) -> TerminalCost:
        """Return the loss for the Eulerian discretisation with cells between `edges`.

        Raises:
            InputError: if the loss cannot be had from a density.
        """

    @abstractmethod
    def target_measure(self) -> Measure | None:
        """Return the target for W1, where it is a law on the line."""

    def line_moments(self, nodes: Nodes) -> tuple[float, float, float] | None:  # noqa: ARG002
        """Return mean, variance and covariance with the nodes of the targets, on the line.

        They determine the loss under an increasing affine flow; None if it is not quadratic then.
        """
        return None


class LineLoss(Loss):
    """A loss whose target is a law on the line.

    Attributes:
        target: The target g.
        measure: The target for W1.
    """

    def __init__(self, target: Distribution) -> None:
        """Validate.

        Raises:
            InputError: if the target is no law on the line or its mean or variance not finite.
        """
        if not isinstance(target, Distribution):
            raise InputError(f"loss {self.name!r} needs a target law on the line, not {target!r}")
        check_moments(target)
        self.target = target
        self.measure = measure_of(target)

    def target_measure(self) -> Measure:
        """Return the target for W1."""
        return self.measure

    def _check_line(self, nodes: Nodes) -> None:
        if nodes.dimension != 1:
            raise InputError(
                f"loss {self.name!r} is one-dimensional; the nodes have dimension {nodes.dimension}"
            )


def check_moments(target: Distribution) -> None:
    """Require that mean and variance of the target are finite.

    Raises:
        InputError: if they are not.
    """
    for name in ("mean", "variance"):
        value = getattr(target, name)
        if not np.isfinite(value):
            raise InputError(f"the {name} of the target is {value}; the loss needs a finite one")


def measure_of(law: Distribution) -> Measure:
    """Return a law on the line for W1."""
    still = Controls.of(0.0, 0.0)
    return reference(law, ACTIVATIONS["identity"], still, [0.0]).measure(0)


def midlevels(weights: FloatArray) -> FloatArray:
    """Return (u_{i-1} + u_i)/2 with u_i = omega_1 + ... + omega_i."""
    return np.asarray(np.cumsum(weights) - 0.5 * weights)


def face_cdf(averages: FloatArray, dx: float) -> FloatArray:
    """Return the distribution function at the faces, from 0, shape (N + 1,)."""
    return np.concatenate([[0.0], np.cumsum(averages) * dx])

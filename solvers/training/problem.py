"""The training problem.

    minimise  J(w, b) = L(f_T) + 1/2 int_0^T gamma_w |w|^2 + gamma_b |b|^2 dt
    subject to  f_t + div(sigma(w(t) x + b(t)) f) = 0,  f(0, .) = f_0

(16)-(18) of the paper, with a factor for each control (Frobenius norm), where L is the loss of the
final law, in the paper int l~ df_T.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solvers.activations import Activation
from solvers.arrays import FloatArray, freeze
from solvers.distributions import Distribution
from solvers.errors import InputError
from solvers.training.losses import Loss
from solvers.training.nodes import Nodes


@dataclass(frozen=True, eq=False)
class TrainingProblem:
    """What is minimised.

    Attributes:
        activation: The activation sigma.
        initial: The initial law f_0: a law on the line, or nodes with weights in R^d.
        loss: The loss of the final law, with its target.
        gamma_w: The factor of |w|^2, not negative.
        gamma_b: The factor of |b|^2, not negative.
        horizon: The final time T.
    """

    activation: Activation
    initial: Distribution | Nodes
    loss: Loss
    gamma_w: float
    gamma_b: float
    horizon: float = 1.0

    def __post_init__(self) -> None:
        """Validate."""
        for name, kind in (("activation", Activation), ("loss", Loss)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name}: {getattr(self, name)!r} is none")
        if not isinstance(self.initial, (Distribution, Nodes)):
            raise InputError(f"initial: {self.initial!r} is neither a law on the line nor nodes")
        for name in ("gamma_w", "gamma_b"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise InputError(f"{name} = {value} must not be negative, and finite")
        if not (math.isfinite(self.horizon) and self.horizon > 0.0):
            raise InputError(f"horizon = {self.horizon} must be positive and finite")

    @property
    def dimension(self) -> int:
        """The dimension d."""
        return self.initial.dimension if isinstance(self.initial, Nodes) else 1

    @cached_property
    def gamma(self) -> FloatArray:
        """gamma_w for each entry of w and gamma_b for each entry of b, shape (d^2 + d,)."""
        d = self.dimension
        return freeze(np.repeat([self.gamma_w, self.gamma_b], [d * d, d]))

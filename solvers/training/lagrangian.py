"""The Lagrangian discretisation: nodes with weights, and the exact gradient of the discrete cost.

The flow x' = sigma(w(t) x + b(t)) carries the nodes x_i; the loss is that of the law with weights
omega_i at them. With omega_i = 1/M at samples this is the microscopic problem (4) on M data, with
Gauss nodes of f_0 the mean-field problem. The gradient is the exact discrete adjoint of the chosen
integrator (:mod:`solvers.training.runge_kutta_adjoint`), down to the nodal values of the piecewise
linear controls.

Nodes are taken through all steps in blocks, whose stages fit in cache. Where the derivative of the
loss by the final position of a node needs no other node (:meth:`Loss.affine_derivative`), a block
goes forward and at once back, and cost and gradient together take one pass each way. Otherwise all
go forward first, and each block once more before it goes back: to write all stages to memory and
read them again would take longer.
"""

import numpy as np

from solvers.arrays import FloatArray, Poll
from solvers.characteristics import reference
from solvers.errors import NonFiniteError
from solvers.training.discretization import Discretization, line_controls
from solvers.training.flow import flow_of
from solvers.training.nodes import Nodes
from solvers.training.problem import TrainingProblem
from solvers.wasserstein import Measure, PointMasses


class LagrangianDiscretization(Discretization):
    """Nodes with weights.

    Attributes:
        nodes: The nodes.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        intervals: int,
        integrator: str = "rk4",
        steps_per_interval: int = 1,
    ) -> None:
        """Make nodes of the initial law and bind the loss to them.

        Args:
            problem: The problem; of a law on the line Gauss nodes are taken.
            intervals: Intervals of the controls' time grid.
            integrator: "euler", "ssprk3" or "rk4".
            steps_per_interval: Steps in each of them.

        Raises:
            InputError: if an argument is not valid or the loss does not fit the nodes.
        """
        super().__init__(problem, intervals)
        initial = problem.initial
        self.nodes = initial if isinstance(initial, Nodes) else Nodes.gauss(initial)
        self._terminal = problem.loss.on_nodes(self.nodes)
        self._flow = flow_of(self.grid, problem.activation, integrator, steps_per_interval)
        self._affine = problem.loss.affine_derivative(self.nodes)
        self._final = np.empty(self.nodes.points.T.shape)
        self._pull = np.empty_like(self._final)
        self._swept = False

    def _forward(self, u: FloatArray, poll: Poll | None, gradient: bool) -> float:
        self._flow.steer(u)
        self._swept = gradient and self._affine is not None
        self._sweep(poll, self._swept)
        if not np.isfinite(self._final).all():
            bad = int(np.flatnonzero(~np.isfinite(self._final).all(axis=0))[0])
            raise NonFiniteError(f"the final position of node {bad} is {self._final[:, bad]}")
        with np.errstate(over="ignore", invalid="ignore"):
            cost, self._pull = self._terminal(self._final)
        return cost

    @np.errstate(over="ignore", invalid="ignore")
    def _backward(self, u: FloatArray, poll: Poll | None) -> FloatArray:
        if not self._swept:
            self._flow.steer(u)
            self._sweep(poll, True)
        return self._flow.derivative() / self.grid.weights[:, None]

    def _sweep(self, poll: Poll | None, back: bool) -> None:
        """Take the nodes to the final time, and back where the gradient is wanted."""
        slope, constant = self._affine or (np.zeros(self.nodes.weights.size), self._pull)
        for start in range(0, self.nodes.weights.size, self._flow.block):
            if poll is not None:
                poll()
            part = slice(start, start + self._flow.block)
            x = self.nodes.points[part].T.copy()
            if back:
                self._flow.gradient(x, slope[part], constant[:, part])
            else:
                self._flow.forward(x)
            self._final[:, part] = x

    def _summary(
        self, u: FloatArray, poll: Poll | None
    ) -> tuple[FloatArray, FloatArray, Measure | None]:
        mean = self._final @ self.nodes.weights
        variance = (self._final - mean[:, None]) ** 2 @ self.nodes.weights
        return mean, variance, self._measure(u, poll)

    def _measure(self, u: FloatArray, poll: Poll | None) -> Measure | None:
        """Return the law of the nodes; of Gauss nodes that of the exact flow."""
        if self.nodes.dimension > 1:
            return None
        if self.nodes.law is None:
            return PointMasses(self._final[0], self.nodes.weights)
        sigma, controls = self.problem.activation, line_controls(self.grid, u)
        exact = reference(self.nodes.law, sigma, controls, [self.problem.horizon], poll=poll)
        return exact.measure(0)

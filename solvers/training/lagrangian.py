"""The Lagrangian discretisation: nodes with weights, and the exact gradient of the discrete cost.

The flow x' = sigma(w(t) x + b(t)) carries the nodes x_i; the loss is that of the law with weights
omega_i at them. With omega_i = 1/M at samples this is the microscopic problem (4) on M data, with
Gauss nodes of f_0 the mean-field problem. The gradient is the exact discrete adjoint of the chosen
integrator (:mod:`solvers.training.runge_kutta_adjoint`), down to the nodal values of the piecewise
linear controls.

Nodes are taken through all steps in blocks whose stage positions fit in cache. The forward pass of
a block that is no longer held is repeated before its backward pass.
"""

import numpy as np

from solvers.arrays import FloatArray, Poll, integer
from solvers.characteristics import reference
from solvers.errors import InputError, NonFiniteError
from solvers.training.discretization import Discretization, line_controls
from solvers.training.nodes import Nodes
from solvers.training.problem import TrainingProblem
from solvers.training.runge_kutta_adjoint import backward, forward
from solvers.vector_particles import TABLEAUX
from solvers.wasserstein import Measure, PointMasses

HELD = 1 << 19  # numbers kept of a block: 4 MiB
SMALLEST_BLOCK = 64


class LagrangianDiscretization(Discretization):
    """Nodes with weights.

    Attributes:
        nodes: The nodes.
        integrator: The name of the Runge-Kutta method.
        steps: Its steps over the whole horizon.
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
        if integrator not in TABLEAUX:
            raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(TABLEAUX)}")
        substeps = integer(steps_per_interval, "steps_per_interval", 1)
        initial = problem.initial
        self.nodes = initial if isinstance(initial, Nodes) else Nodes.gauss(initial)
        self.integrator = integrator
        self.steps = intervals * substeps
        tableau = TABLEAUX[integrator]
        self._matrix, self._weights = tableau.matrix.copy(), tableau.weights.copy()
        self._terminal = problem.loss.on_nodes(self.nodes)
        count, (points, d) = self._weights.size, self.nodes.points.shape
        self._block = min(points, max(SMALLEST_BLOCK, HELD // (self.steps * count * d)))
        self._stages = np.empty(self.steps * count * d * self._block)
        self._work = np.empty((count + 2) * d * self._block)
        self._fractions = ((np.arange(substeps)[:, None] + np.array(tableau.nodes)) / substeps).ravel()
        self._final = np.empty((d, points))
        self._gradient = np.empty((d, points))
        self._w, self._b = self._stage_controls(self.grid.pack(*self.grid.zeros()))
        self._held = -1

    def _forward(self, u: FloatArray, poll: Poll | None) -> float:
        self._w, self._b = self._stage_controls(u)
        for start in self._starts():
            self._advance(start, poll)
        if not np.isfinite(self._final).all():
            bad = int(np.flatnonzero(~np.isfinite(self._final).all(axis=0))[0])
            raise NonFiniteError(f"final position of node {bad} is {self._final[:, bad]}")
        with np.errstate(over="ignore", invalid="ignore"):
            cost, self._gradient = self._terminal(self._final)
        return cost

    def _backward(self, u: FloatArray, poll: Poll | None) -> FloatArray:
        dw, db = np.zeros_like(self._w), np.zeros_like(self._b)
        for start in reversed(self._starts()):
            if start != self._held:
                self._advance(start, poll)
            adjoint = self._gradient[:, start : start + self._block].copy()
            backward(adjoint, *self._method(), *self._spaces(adjoint), dw, db)
        return self._at_nodes(dw, db) / self.grid.weights[:, None]

    def _summary(
        self, u: FloatArray, poll: Poll | None
    ) -> tuple[FloatArray, FloatArray, Measure | None]:
        weights = self.nodes.weights
        mean = self._final @ weights
        variance = (self._final - mean[:, None]) ** 2 @ weights
        return mean, variance, self._measure(u, poll)

    def _measure(self, u: FloatArray, poll: Poll | None) -> Measure | None:
        """Return the law of the nodes; of Gauss nodes that of the exact flow."""
        if self.nodes.dimension > 1:
            return None
        if self.nodes.law is None:
            return PointMasses(self._final[0], self.nodes.weights)
        sigma, controls = self.problem.activation, line_controls(self.grid, u)
        return reference(
            self.nodes.law, sigma, controls, [self.problem.horizon], poll=poll
        ).measure(0)

    def _starts(self) -> range:
        return range(0, self._final.shape[1], self._block)

    def _advance(self, start: int, poll: Poll | None) -> None:
        """Take the block of nodes from `start` on through all steps and hold its stages."""
        if poll is not None:
            poll()
        x = self.nodes.points[start : start + self._block].T.copy()
        forward(x, *self._method(), *self._spaces(x))
        self._final[:, start : start + self._block] = x
        self._held = start

    def _method(self) -> tuple[int, float, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return what both kernels need of problem and integrator."""
        code, h = self.problem.activation.code, self.problem.horizon / self.steps
        return code, h, self._w, self._b, self._matrix, self._weights

    def _spaces(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the stages of a block and the work space, contiguous whatever its size."""
        count = self._weights.size
        stages, work = (self.steps, count, *x.shape), (count + 2, *x.shape)
        size = self.steps * count * x.size
        return self._stages[:size].reshape(stages), self._work[: work[0] * x.size].reshape(work)

    def _stage_controls(self, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return w (steps, stages, d, d) and b (steps, stages, d) at the stage times."""
        f, d = self._fractions[:, None], self.grid.dimension
        stages = (1.0 - f) * u[:-1, None] + f * u[1:, None]
        stages = stages.reshape(self.steps, -1, u.shape[1])
        w = np.ascontiguousarray(stages[..., : d * d]).reshape(*stages.shape[:2], d, d)
        return w, np.ascontiguousarray(stages[..., d * d :])

    def _at_nodes(self, dw: FloatArray, db: FloatArray) -> FloatArray:
        """Return the derivatives by the nodal values from those by the stage controls."""
        n, f = self.grid.intervals, self._fractions
        parts = [part.reshape(n, f.size, -1) for part in (dw, db)]
        stages = np.concatenate(parts, axis=2)
        out = np.zeros((n + 1, stages.shape[2]))
        out[:-1] = np.einsum("f,kfm->km", 1.0 - f, stages)
        out[1:] += np.einsum("f,kfm->km", f, stages)
        return out

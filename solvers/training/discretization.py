"""The interface of the discretisations of a training problem."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, Poll
from solvers.controls import Controls, PiecewiseLinearControl
from solvers.errors import NonFiniteError
from solvers.training.grid import ControlGrid
from solvers.training.problem import TrainingProblem
from solvers.wasserstein import Measure, w1

ROUNDING = 1e-6


@dataclass(frozen=True)
class FinalState:
    """The final law.

    Attributes:
        mean: Its mean, shape (d,).
        variance: The variance of each component, shape (d,).
        measure: The law for W1, on the line.
        w1_to_target: W1 to the target; NaN where that is no law on the line.
    """

    mean: FloatArray
    variance: FloatArray
    measure: Measure | None
    w1_to_target: float


class Discretization(ABC):
    """A problem made finite: the cost of controls given at the nodes of a time grid.

    What was found for the last controls is kept, so asking for the cost once more, or for the final
    state, costs nothing. An object is for one thread.

    Attributes:
        problem: The problem.
        grid: The time grid of the controls.
    """

    def __init__(self, problem: TrainingProblem, intervals: int) -> None:
        """Make the grid."""
        self.problem = problem
        self.grid = ControlGrid(problem.horizon, intervals, problem.dimension)
        self._known: FloatArray | None = None

    def cost(self, w: ArrayLike, b: ArrayLike, poll: Poll | None = None) -> float:
        """Return J(w, b).

        Args:
            w: Control w at the nodes, shape (n + 1, d, d); for d = 1 also (n + 1,) or a number.
            b: Control b likewise, shape (n + 1, d).
            poll: Called every fraction of a second; may raise PointTimeoutError.

        Raises:
            InputError: if the controls are not valid.
            SolverError: if the flow cannot be computed (blow-up, mass lost, CFL condition).
        """
        return self.packed_cost(self.grid.pack(w, b), poll)

    def cost_and_gradient(
        self, w: ArrayLike, b: ArrayLike, poll: Poll | None = None
    ) -> tuple[float, FloatArray, FloatArray]:
        """Return J and its gradient by w and b, in the inner product of :class:`ControlGrid`.

        Arguments and errors are those of :meth:`cost`.
        """
        cost, gradient = self.packed_gradient(self.grid.pack(w, b), poll)
        return cost, *self.grid.unpack(gradient)

    def packed_cost(self, u: FloatArray, poll: Poll | None = None) -> float:
        """Return J of controls in one matrix (see :class:`ControlGrid`)."""
        loss = self._forward_cached(u, poll)
        return _finite(loss + self.grid.penalty(u, self.problem.gamma)[0], "the cost")

    def packed_gradient(self, u: FloatArray, poll: Poll | None = None) -> tuple[float, FloatArray]:
        """Return J and its gradient, of controls in one matrix."""
        loss = self._forward_cached(u, poll, gradient=True)
        penalty, gradient = self.grid.penalty(u, self.problem.gamma)
        cost = _finite(loss + penalty, "the cost")
        gradient += self._backward(u, poll)
        _finite(float(np.abs(gradient).max()), "the gradient")
        return cost, gradient

    def final_state(self, w: ArrayLike, b: ArrayLike, poll: Poll | None = None) -> FinalState:
        """Return the final law. Arguments and errors are those of :meth:`cost`."""
        u = self.grid.pack(w, b)
        self._forward_cached(u, poll)
        mean, variance, measure = self._summary(u, poll)
        target = self.problem.loss.target_measure()
        distance = np.nan if measure is None or target is None else w1(measure, target)
        return FinalState(mean, variance, measure, distance)

    def _forward_cached(self, u: FloatArray, poll: Poll | None, gradient: bool = False) -> float:
        if self._known is None or not np.array_equal(u, self._known):
            self._known = None
            self._loss = self._forward(u, poll, gradient)
            if self._loss < -ROUNDING:  # every loss of a law is at least 0
                message = f"the final state is no law: its loss is {self._loss:.3g}"
                raise NonFiniteError(f"{message}; finer cells or intervals may help")
            self._known = u.copy()
        return self._loss

    @abstractmethod
    def _forward(self, u: FloatArray, poll: Poll | None, gradient: bool) -> float:
        """Solve forward and return the loss of the final law; `gradient` if that comes next."""

    @abstractmethod
    def _backward(self, u: FloatArray, poll: Poll | None) -> FloatArray:
        """Return the gradient of the loss; :meth:`_forward` was called with the same controls."""

    @abstractmethod
    def _summary(
        self, u: FloatArray, poll: Poll | None
    ) -> tuple[FloatArray, FloatArray, Measure | None]:
        """Return mean, variance and law of the final state, after :meth:`_forward`."""


def line_controls(grid: ControlGrid, u: FloatArray) -> Controls:
    """Return controls on the line as functions."""
    w, b = (PiecewiseLinearControl(grid.times, u[:, k]) for k in (0, 1))
    return Controls(w, b)


def _finite(value: float, name: str) -> float:
    if not np.isfinite(value):
        raise NonFiniteError(f"{name} is {value}")
    return value

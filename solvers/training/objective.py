"""What an optimiser sees of a discretised problem, and what it gives back."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from solvers.arrays import FloatArray, Poll
from solvers.errors import SolverError
from solvers.training.discretization import Discretization
from solvers.training.grid import ControlGrid
from solvers.training.result import StopReason


@dataclass
class Objective:
    """The cost as a function of one matrix of controls; counts its evaluations.

    Attributes:
        discretization: The discretised problem.
        poll: Called every fraction of a second; may raise PointTimeoutError.
        pinned: Whether the controls at time 0 are held: the gradient is 0 there.
        evaluations: How often the cost was computed.
    """

    discretization: Discretization
    poll: Poll | None = None
    pinned: bool = False
    evaluations: int = 0

    @property
    def grid(self) -> ControlGrid:
        """The time grid of the controls."""
        return self.discretization.grid

    def cost(self, u: FloatArray) -> float:
        """Return J, infinite where the flow cannot be computed."""
        self.evaluations += 1
        try:
            return self.discretization.packed_cost(u, self.poll)
        except SolverError:
            return math.inf

    def gradient(self, u: FloatArray) -> tuple[float, FloatArray]:
        """Return J and its gradient; the cost of the last controls is not computed again.

        Raises:
            SolverError: if they cannot be computed.
        """
        cost, gradient = self.discretization.packed_gradient(u, self.poll)
        if self.pinned:
            gradient[0] = 0.0
        return cost, gradient


@dataclass
class Course:
    """The course of an optimisation.

    Attributes:
        controls: The controls reached.
        gradient: The gradient there; NaN if it cannot be computed.
        costs: J before the first and after each iteration.
        changes: The change of each iteration, after a NaN.
        stop_reason: Why it stopped.
    """

    controls: FloatArray
    gradient: FloatArray
    costs: list[float]
    changes: list[float] = field(default_factory=lambda: [math.nan])
    stop_reason: StopReason = StopReason.MAX_ITERATIONS

    def step(self, controls: FloatArray, cost: float, change: float) -> None:
        """Record an iteration."""
        self.controls = controls
        self.costs.append(cost)
        self.changes.append(change)

    @property
    def iterations(self) -> int:
        """The number of iterations."""
        return len(self.costs) - 1


def relative_change(before: FloatArray, after: FloatArray) -> float:
    """Return max|after - before| / max|after|, the error (C0) of the published stopping rule."""
    moved, largest = float(np.abs(after - before).max()), float(np.abs(after).max())
    if moved == 0.0:
        return 0.0
    return moved / largest if largest > 0.0 else math.inf


class Optimizer(Protocol):
    """Settings of a method, and the method."""

    @property
    def pinned(self) -> bool:
        """Whether the controls at time 0 are held at 0."""

    def minimize(self, objective: Objective, start: FloatArray) -> Course:
        """Minimise from `start` on.

        Raises:
            SolverError: if cost and gradient cannot be computed at `start`.
        """

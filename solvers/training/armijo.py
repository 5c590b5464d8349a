"""Steepest descent with Armijo backtracking: the published method ("block Gauss-Seidel").

    (w, b) <- (w, b) - rho grad J,   rho = rho_0 2^-m with the least m <= m_max such that
    J((w, b) - rho grad J) <= J(w, b) - c rho ||grad J||^2

with the L2 gradient of (19c), (19d), which forward and adjoint equation give; w(0) = b(0) = 0 is
held. It stops when max|change of (w, b)| / max|(w, b)| <= TOL in C0 (section 4.1.1 of the paper,
which states TOL and m_max = 10, but neither rho_0 nor c). A small change may as well mean a small
step as a minimum.

Where no step is good enough, the last and smallest is taken if it changes the controls by no more
than TOL, so this rule ends the iteration; if it would change them by more, the line search has
failed and nothing is taken.

Reference: L. Armijo, Pacific J. Math. 16 (1966) 1-3.
"""

import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, integer
from solvers.errors import SolverError
from solvers.training.checks import fraction, positive
from solvers.training.objective import Course, Objective, relative_change
from solvers.training.result import StopReason


@dataclass(frozen=True)
class Armijo:
    """Settings.

    Attributes:
        tolerance: TOL.
        max_iterations: The most iterations.
        initial_step: rho_0, tried first in each iteration.
        armijo_constant: c, in (0, 1).
        max_backtracking: The most halvings m_max.
        pinned: Whether w(0) = b(0) = 0 is held.
    """

    tolerance: float = 1e-4
    max_iterations: int = 5000
    initial_step: float = 10.0
    armijo_constant: float = 1e-4
    max_backtracking: int = 10
    pinned: bool = True

    def __post_init__(self) -> None:
        """Validate."""
        positive("tolerance", self.tolerance)
        integer(self.max_iterations, "max_iterations", 1)
        positive("initial_step", self.initial_step)
        fraction("armijo_constant", self.armijo_constant)
        integer(self.max_backtracking, "max_backtracking", 0)

    def minimize(self, objective: Objective, start: FloatArray) -> Course:
        """Minimise from `start` on; see :class:`solvers.training.objective.Optimizer`."""
        objective.evaluations += 1
        cost, gradient = objective.gradient(start)
        course = Course(start, gradient, [cost])
        while course.iterations < self.max_iterations:
            controls, cost, enough = self._search(objective, course)
            change = relative_change(course.controls, controls)
            if not math.isfinite(cost):
                course.stop_reason = StopReason.NON_FINITE
                break
            if not enough and change > self.tolerance:
                course.stop_reason = StopReason.LINE_SEARCH_FAILED
                break
            course.step(controls, cost, change)
            try:
                _, course.gradient = objective.gradient(controls)
            except SolverError:
                course.gradient = np.full_like(controls, math.nan)
                course.stop_reason = StopReason.NON_FINITE
                break
            if change <= self.tolerance:
                course.stop_reason = StopReason.CONVERGED
                break
        return course

    def _search(self, objective: Objective, course: Course) -> tuple[FloatArray, float, bool]:
        """Return the controls after the last step tried, their cost, and whether it is enough."""
        descent = self.armijo_constant * objective.grid.inner(course.gradient, course.gradient)
        step = self.initial_step
        for halvings in range(self.max_backtracking + 1):
            controls = course.controls - step * course.gradient
            cost = objective.cost(controls)
            enough = cost <= course.costs[-1] - step * descent
            if enough or halvings == self.max_backtracking:
                break
            step *= 0.5
        return controls, cost, enough

"""Steepest descent with Armijo backtracking: the published method ("block Gauss-Seidel").

    (w, b) <- (w, b) - rho grad J,   rho = rho_0 2^-m with the least m <= m_max such that
    J((w, b) - rho grad J) <= J(w, b) - c rho ||grad J||^2

with the L2 gradient of (19c), (19d), which forward and adjoint equation give; w(0) = b(0) = 0 is
held. It stops when max|change of (w, b)| / max|(w, b)| <= TOL in C0 (section 4.1.1 of the paper,
which states TOL and m_max = 10, but neither rho_0 nor c). A small change may as well mean a small
step as a minimum.

Reference: L. Armijo, Pacific J. Math. 16 (1966) 1-3.
"""

import math
from dataclasses import dataclass

import numpy as np

from solvers.arrays import FloatArray, integer
from solvers.errors import SolverError
from solvers.training.checks import fraction, positive
from solvers.training.objective import Course, Objective
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
    initial_step: float = 1.0
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
            controls, cost = self._search(objective, course)
            if controls is None:
                failed = StopReason.LINE_SEARCH_FAILED
                course.stop_reason = failed if math.isfinite(cost) else StopReason.NON_FINITE
                break
            change = course.step(controls, cost)
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

    def _search(self, objective: Objective, course: Course) -> tuple[FloatArray | None, float]:
        """Return the controls after the first step that is good enough, or None, and their cost."""
        descent = self.armijo_constant * objective.grid.inner(course.gradient, course.gradient)
        step, cost = self.initial_step, math.inf
        for _ in range(self.max_backtracking + 1):
            controls = course.controls - step * course.gradient
            cost = objective.cost(controls)
            if cost <= course.costs[-1] - step * descent:
                return controls, cost
            step *= 0.5
        return None, cost

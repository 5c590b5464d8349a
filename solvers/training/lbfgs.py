"""L-BFGS, the limited-memory quasi-Newton method of SciPy (L-BFGS-B without bounds).

It works in the variables sqrt(weights) U, in which the Euclidean inner product is that of
:class:`solvers.training.grid.ControlGrid`: so its convergence does not depend on the time grid. It
stops when

    ||grad J|| (1 + ||(w, b)||) <= tolerance J,

the norms those of L2: moving the controls by as much as they are (or by 1) then changes J, to first
order, by less than that fraction. A step where the flow cannot be computed is halved.

Reference: R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Sci. Comput. 16 (1995) 1190-1208.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import FloatArray, integer
from solvers.errors import SolverError
from solvers.training.checks import positive
from solvers.training.objective import Course, Objective, relative_change
from solvers.training.result import StopReason

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

LINE_SEARCH = 40  # most evaluations in one line search


@dataclass(frozen=True)
class Lbfgs:
    """Settings.

    Attributes:
        tolerance: Of the rule above.
        max_iterations: The most iterations.
        memory: The number of pairs kept.
        pinned: Whether w(0) = b(0) = 0 is held.
    """

    tolerance: float = 1e-6
    max_iterations: int = 5000
    memory: int = 20
    pinned: bool = False

    def __post_init__(self) -> None:
        """Validate."""
        positive("tolerance", self.tolerance)
        integer(self.max_iterations, "max_iterations", 1)
        integer(self.memory, "memory", 1)

    def minimize(self, objective: Objective, start: FloatArray) -> Course:
        """Minimise from `start` on; see :class:`solvers.training.objective.Optimizer`."""
        from scipy.optimize import minimize  # slow to import, and only training needs it

        run = _Run(self, objective, start)
        if run.done():
            return run.course
        found = minimize(
            run.evaluate,
            (start * run.scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=run.record,
            options={
                "maxcor": self.memory, "maxiter": self.max_iterations, "ftol": 0.0, "gtol": 0.0,
                "maxls": LINE_SEARCH, "maxfun": (LINE_SEARCH + 1) * (self.max_iterations + 1),
            },
        )  # fmt: skip
        if run.course.stop_reason != StopReason.CONVERGED and found.status != 1:
            run.course.stop_reason = run.failure()
        return run.course


@dataclass
class _Run:
    """One minimisation: SciPy's view of the objective, and its course."""

    settings: Lbfgs
    objective: Objective
    start: FloatArray
    course: Course = field(init=False)

    def __post_init__(self) -> None:
        self.scale = np.sqrt(self.objective.grid.weights)[:, None]
        self.objective.evaluations += 1
        cost, gradient = self.objective.gradient(self.start)
        self.course = Course(self.start, gradient, [cost])
        self.latest = (self.start, cost, gradient)
        self.evaluable = True

    def evaluate(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Return cost and derivative in the scaled variables.

        Where the flow cannot be computed: the cost at the last iterate and the negative of its
        derivative. The cubic through these and the values there has its minimum half way, so
        SciPy's line search (More and Thuente) halves the step.
        """
        u = z.reshape(self.start.shape) / self.scale
        self.objective.evaluations += 1
        try:
            self.latest = (u, *self.objective.gradient(u))
        except SolverError:
            self.evaluable = False
            return self.course.costs[-1], -(self.scale * self.course.gradient).ravel()
        self.evaluable = True
        return self.latest[1], (self.scale * self.latest[2]).ravel()

    def record(self, intermediate_result: "OptimizeResult") -> None:
        """Record an iteration; stop when the rule is met.

        Raises:
            StopIteration: to stop.
        """
        controls = intermediate_result.x.reshape(self.start.shape) / self.scale
        if not np.array_equal(controls, self.latest[0]):
            self.evaluate(intermediate_result.x)
        controls, cost, self.course.gradient = self.latest
        self.course.step(controls, cost, relative_change(self.course.controls, controls))
        if self.done():
            raise StopIteration

    def done(self) -> bool:
        """Return whether the rule is met, and note it."""
        grid, course = self.objective.grid, self.course
        size = grid.norm(course.gradient) * (1.0 + grid.norm(course.controls))
        if size > self.settings.tolerance * course.costs[-1]:
            return False
        course.stop_reason = StopReason.CONVERGED
        return True

    def failure(self) -> StopReason:
        """Return why SciPy gave up before the rule was met."""
        if not self.evaluable:
            return StopReason.NON_FINITE
        if self.course.iterations == 0:
            return StopReason.LINE_SEARCH_FAILED
        return StopReason.STALLED

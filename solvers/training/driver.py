"""Training: minimising the discretised cost over the controls."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, Poll, freeze
from solvers.training.discretization import Discretization
from solvers.training.objective import Objective, Optimizer
from solvers.training.result import TrainingResult


def train(
    discretization: Discretization,
    optimizer: Optimizer,
    start: tuple[ArrayLike, ArrayLike] | None = None,
    poll: Poll | None = None,
) -> TrainingResult:
    """Minimise the cost over the controls.

    Args:
        discretization: The discretised problem.
        optimizer: The method with its settings: :class:`Armijo` or :class:`Lbfgs`.
        start: The controls (w, b) to start from, as :meth:`ControlGrid.pack` takes them; 0 by
            default. Where the optimiser is pinned their values at time 0 are set to 0.
        poll: Called every fraction of a second; may raise PointTimeoutError.

    Returns:
        The controls and how they were found; that the optimiser did not converge is one of its
        stop reasons, not an error.

    Raises:
        InputError: if `start` is not valid.
        SolverError: if cost and gradient cannot be computed at the start.
    """
    grid = discretization.grid
    objective = Objective(discretization, poll, optimizer.pinned)
    course = optimizer.minimize(objective, first_controls(discretization, optimizer, start))
    w, b = grid.unpack(course.controls)
    return TrainingResult(
        time=grid.times,
        w=freeze(w),
        b=freeze(b),
        cost=course.costs[-1],
        cost_history=freeze(np.array(course.costs)),
        change_history=freeze(np.array(course.changes)),
        iterations=course.iterations,
        stop_reason=course.stop_reason,
        gradient_norm=grid.norm(course.gradient),
        evaluations=objective.evaluations,
    )


def first_controls(
    discretization: Discretization,
    optimizer: Optimizer,
    start: tuple[ArrayLike, ArrayLike] | None,
) -> FloatArray:
    """Return the start as one matrix."""
    grid = discretization.grid
    controls = grid.pack(*(grid.zeros() if start is None else start))
    if optimizer.pinned:
        controls[0] = 0.0
    return controls

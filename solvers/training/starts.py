"""Training from several starts: the cost has local minima (gcu, relu, tanh at small gamma).

The first start is the given one. Start k > 0 adds to each entry of (w, b) a random function

    spread sum_{j=0}^{3} a_j cos(j pi t/T)/(1 + j),   a_j uniform in (-1, 1),

whose numbers depend on the key, on k and on the entry alone (counter-based, see
:mod:`solvers.sampling`), so K starts are the first of K + 1, on every grid. Where cost and gradient
cannot be computed at a start, its perturbation is halved, at most ten times.

Two runs found the same optimum if the L2 distance of their controls is at most a twentieth of the
larger of their norms. Runs that made as many iterations as allowed, or ended where nothing could be
evaluated, are no optima.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, Poll, integer
from solvers.errors import SolverError
from solvers.sampling import uniforms
from solvers.training.checks import positive
from solvers.training.discretization import Discretization
from solvers.training.driver import train
from solvers.training.objective import Optimizer
from solvers.training.result import StopReason, TrainingResult

MODES = 4
HALVINGS = 10
SAME = 0.05
UNFINISHED = (StopReason.MAX_ITERATIONS, StopReason.NON_FINITE)


@dataclass(frozen=True)
class MultistartResult:
    """The runs from several starts.

    Attributes:
        best: The run with the least cost, the first of equal ones.
        runs: All runs, in the order of the starts; without those that could not start.
        optima: For each distinct optimum found the run of least cost, by increasing cost.
    """

    best: TrainingResult
    runs: tuple[TrainingResult, ...]
    optima: tuple[TrainingResult, ...]

    @property
    def distinct(self) -> int:
        """How many distinct optima were found."""
        return len(self.optima)


def multistart(
    discretization: Discretization,
    optimizer: Optimizer,
    starts: int,
    start: tuple[ArrayLike, ArrayLike] | None = None,
    key: tuple[int, int] = (0, 0),
    spread: float = 2.0,
    poll: Poll | None = None,
) -> MultistartResult:
    """Train from several starts and keep the best.

    Args:
        discretization: The discretised problem.
        optimizer: The method with its settings.
        starts: The number K of starts.
        start: The first start (w, b), as of :func:`train`.
        key: Names the random stream; see :func:`solvers.sampling.uniforms`.
        spread: The size of the perturbations.
        poll: Called every fraction of a second; may raise PointTimeoutError.

    Raises:
        InputError: if an argument is not valid.
        SolverError: if cost and gradient cannot be computed at the first start.
    """
    count = integer(starts, "starts", 1)
    positive("spread", spread)
    grid = discretization.grid
    first = grid.pack(*(grid.zeros() if start is None else start))
    runs = [train(discretization, optimizer, grid.unpack(first), poll)]
    numbers = uniforms(count, key, MODES * first.shape[1])
    for k in range(1, count):
        shape = spread * _cosines(grid.times / grid.horizon, numbers[k])
        run = _train_near(discretization, optimizer, first, shape, poll)
        if run is not None:
            runs.append(run)
    best = min(runs, key=lambda run: run.cost)
    return MultistartResult(best, tuple(runs), _optima(discretization, runs))


def _cosines(t: FloatArray, numbers: FloatArray) -> FloatArray:
    """Return one random function for each column, shape (n + 1, columns)."""
    modes = np.arange(MODES)
    basis = np.cos(np.pi * t[:, None] * modes) / (1.0 + modes)
    return np.asarray(basis @ (2.0 * numbers.reshape(-1, MODES).T - 1.0))


def _train_near(
    discretization: Discretization,
    optimizer: Optimizer,
    first: FloatArray,
    shape: FloatArray,
    poll: Poll | None,
) -> TrainingResult | None:
    """Train from the first of first + shape/2^k that can be evaluated."""
    for k in range(HALVINGS + 1):
        start = discretization.grid.unpack(first + 0.5**k * shape)
        try:
            return train(discretization, optimizer, start, poll)
        except SolverError:
            continue
    return None


def _optima(
    discretization: Discretization, runs: list[TrainingResult]
) -> tuple[TrainingResult, ...]:
    """Return one run for each distinct optimum, by increasing cost."""
    grid = discretization.grid
    kept: list[TrainingResult] = []
    for run in sorted(runs, key=lambda run: run.cost):
        u = grid.pack(run.w, run.b)
        others = [grid.pack(other.w, other.b) for other in kept]
        near = (grid.l2_norm(u - v) <= SAME * max(grid.l2_norm(u), grid.l2_norm(v)) for v in others)
        if run.stop_reason not in UNFINISHED and not any(near):
            kept.append(run)
    return tuple(kept)

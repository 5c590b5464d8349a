"""What a training run returns."""

from dataclasses import dataclass
from enum import IntEnum

from solvers.arrays import FloatArray


class StopReason(IntEnum):
    """Why an optimiser stopped. None of them is an error."""

    CONVERGED = 0
    """Its own rule was met."""
    MAX_ITERATIONS = 1
    """It made as many iterations as allowed."""
    LINE_SEARCH_FAILED = 2
    """No step along the search direction lowered the cost enough."""
    STALLED = 3
    """The cost cannot be lowered further in the precision of cost and gradient."""
    NON_FINITE = 4
    """No step could be evaluated: the flow blew up, left the domain or was too fast."""

    @property
    def meaning(self) -> str:
        """The name in lower case, as in a store's flag_meanings."""
        return self.name.lower()


@dataclass(frozen=True)
class TrainingResult:
    """Trained controls and how they were found.

    Attributes:
        time: The nodes of the controls' grid, shape (n + 1,).
        w: Control w at the nodes, shape (n + 1, d, d); (n + 1,) for d = 1.
        b: Control b likewise, shape (n + 1, d); (n + 1,) for d = 1.
        cost: J(w, b).
        cost_history: J before the first and after each iteration, shape (iterations + 1,).
        change_history: max|change of (w, b)| / max|(w, b)| of each iteration, after a NaN, shape
            (iterations + 1,).
        iterations: The number of iterations.
        stop_reason: Why it stopped.
        gradient_norm: The L2 norm of the gradient at the end; NaN if it cannot be computed.
        evaluations: How often J was computed.
    """

    time: FloatArray
    w: FloatArray
    b: FloatArray
    cost: float
    cost_history: FloatArray
    change_history: FloatArray
    iterations: int
    stop_reason: StopReason
    gradient_norm: float
    evaluations: int

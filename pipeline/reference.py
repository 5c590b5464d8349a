"""The characteristics reference of a case, computed once per process and problem."""

from functools import lru_cache

import numpy as np

from pipeline.case import Case, Problem
from solvers.activations import Activation
from solvers.arrays import Poll
from solvers.characteristics import Reference, reference
from solvers.dobrushin import dobrushin_factors
from solvers.errors import PointTimeoutError


def reference_of(case: Case, poll: Poll | None = None) -> Reference:
    """The exact solution at the snapshots.

    Args:
        case: the point.
        poll: called every fraction of a second while it is computed; may raise PointTimeoutError,
            and the next point then tries again. Any other failure is raised for every point.
    """
    times = tuple(case.problem.snapshots)
    return _kept(case.problem, case.activation, times).get(poll)


def initial_of(case: Case, poll: Poll | None = None) -> Reference:
    """The exact solution at time 0: the initial law, as the reference represents it."""
    return _kept(case.problem, case.activation, (0.0,)).get(poll)


def dobrushin_of(case: Case, poll: Poll | None = None) -> np.ndarray:
    """The factors exp(∫ Lip(σ)|w|) at the snapshots, σ's constant taken over the support."""
    reference_of(case, poll)
    return _dobrushin(case.problem, case.activation)


class _Kept:
    """A reference that is computed when first asked for, or why there is none."""

    def __init__(self, problem: Problem, activation: Activation, times: tuple[float, ...]) -> None:
        self._arguments = (problem.initial, activation, problem.controls, np.array(times))
        self._found: Reference | None = None
        self._failure: Exception | None = None

    def get(self, poll: Poll | None = None) -> Reference:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._found is None:
            try:
                self._found = reference(*self._arguments, poll=poll)
            except (PointTimeoutError, MemoryError):
                raise
            except Exception as error:
                self._failure = error
                raise
        return self._found


_kept = lru_cache(maxsize=64)(_Kept)


@lru_cache(maxsize=64)
def _dobrushin(problem: Problem, activation: Activation) -> np.ndarray:
    times = tuple(problem.snapshots)
    ranges = _kept(problem, activation, times).get().argument_range()
    return np.asarray(dobrushin_factors(activation, problem.controls, ranges, np.array(times)))

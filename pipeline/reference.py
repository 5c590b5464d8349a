"""The characteristics reference of a case, computed once per process and problem."""

from functools import lru_cache

import numpy as np

from pipeline.case import Case, Problem
from solvers.activations import Activation, activation
from solvers.arrays import Poll
from solvers.characteristics import MAX_MESH, Reference, reference
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.dobrushin import dobrushin_factors
from solvers.errors import PointTimeoutError
from solvers.wasserstein import Measure


def reference_of(case: Case, poll: Poll | None = None) -> Reference:
    """The exact solution at the snapshots.

    Args:
        case: the point.
        poll: called every fraction of a second while it is computed; may raise PointTimeoutError,
            and the next point then tries again. Any other failure is raised for every point.
    """
    times = tuple(case.problem.snapshots)
    return _kept(case.problem, case.activation, times).get(poll)


def reference_bytes(case: Case) -> float:
    """What computing and keeping the exact solution takes at most: that of the largest mesh."""
    law = case.problem.initial
    nodes = MAX_MESH + (law.breakpoints().size if isinstance(law, Distribution) else 0)
    return 130.0 * len(case.problem.snapshots) * nodes


def draw_numbers(law: object) -> float:
    """How many numbers a law holds at once for each that is drawn from it."""
    inner = getattr(law, "of", law)
    return 14.0 + 4 * len(getattr(inner, "components", ()))


def initial_of(case: Case, poll: Poll | None = None) -> Reference:
    """The exact solution at time 0: the initial law, as the reference represents it."""
    return _kept(case.problem, case.activation, (0.0,)).get(poll)


def target_of(case: Case) -> Measure:
    """The target law on the line, for distances to it."""
    target = case.problem.target
    return target if isinstance(target, Measure) else _measure(target)


def dobrushin_of(case: Case, poll: Poll | None = None) -> np.ndarray:
    """The factors exp(∫ Lip(σ)|w|) at the snapshots, σ's constant taken over the support."""
    reference_of(case, poll)
    return _dobrushin(case.problem, case.activation)


class _Kept:
    """A reference that is computed when first asked for, or why there is none."""

    def __init__(self, problem: Problem, sigma: Activation, times: tuple[float, ...]) -> None:
        self._arguments = (problem.initial, sigma, problem.controls, np.array(times))
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
def _measure(law: Distribution) -> Measure:
    """A law as the reference represents it: that of a flow at rest."""
    return reference(law, activation("identity"), Controls.of(0, 0), np.zeros(1)).measure(0)


@lru_cache(maxsize=64)
def _dobrushin(problem: Problem, sigma: Activation) -> np.ndarray:
    times = tuple(problem.snapshots)
    ranges = _kept(problem, sigma, times).get().argument_range()
    return np.asarray(dobrushin_factors(sigma, problem.controls, ranges, np.array(times)))

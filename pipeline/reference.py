"""The characteristics reference of a case, computed once per process and problem."""

from functools import lru_cache

import numpy as np

from pipeline.case import Case, Problem
from solvers.activations import Activation
from solvers.characteristics import Reference, reference
from solvers.dobrushin import dobrushin_factors


def reference_of(case: Case) -> Reference:
    """The exact solution at the snapshots."""
    return _reference(case.problem, case.activation, tuple(case.problem.snapshots))


def initial_of(case: Case) -> Reference:
    """The exact solution at time 0: the initial law, as the reference represents it."""
    return _reference(case.problem, case.activation, (0.0,))


@lru_cache(maxsize=64)
def _reference(problem: Problem, activation: Activation, times: tuple[float, ...]) -> Reference:
    return reference(problem.initial, activation, problem.controls, np.array(times))


def dobrushin_of(case: Case) -> np.ndarray:
    """The factors exp(∫ Lip(σ)|w|) at the snapshots, σ's constant taken over the support."""
    return _dobrushin(case.problem, case.activation)


@lru_cache(maxsize=64)
def _dobrushin(problem: Problem, activation: Activation) -> np.ndarray:
    times = tuple(problem.snapshots)
    ranges = _reference(problem, activation, times).argument_range()
    return np.asarray(dobrushin_factors(activation, problem.controls, ranges, np.array(times)))

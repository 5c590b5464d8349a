"""The training problem of a case, and its solution."""

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pipeline.case import Case
from solvers.arrays import Poll
from solvers.distributions import SampleVectors
from solvers.errors import InputError, SolverError
from solvers.sampling import sample, uniforms
from solvers.training import (
    Armijo,
    Discretization,
    EulerianDiscretization,
    FinalState,
    LagrangianDiscretization,
    Lbfgs,
    LinearOptimum,
    Loss,
    Nodes,
    TrainingProblem,
    TrainingResult,
    exact_optimum,
    hull_domain,
    loss_from,
    multistart,
    train,
)
from solvers.wasserstein import PointMasses

WARMEST = 1.0
"""The γ at which a warm start begins."""
COLDEST = 1e-6
"""The last γ before 0 of a warm start for γ = 0."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Trained controls with their discretised problem.

    Attributes:
        discretization: the problem that was solved.
        result: the controls and how they were found.
        final: the final law.
        distinct: how many distinct optima the starts led to.
    """

    discretization: Discretization
    result: TrainingResult
    final: FinalState
    distinct: int


def solve(case: Case, poll: Poll) -> Trained:
    """Train the controls of a case.

    Raises:
        InputError: if loss, target, data and discretisation do not fit together.
        SolverError: if cost and gradient cannot be computed at the start.
    """
    settings = case.training
    optimizer = optimizer_of(case)
    start = _start(case)
    for gammas in _ladder(case):
        start_at = discretization_of(case, gammas)
        warmer = train(start_at, optimizer, start, poll)
        start = (warmer.w, warmer.b)
    discretization = discretization_of(case, case.gammas)
    if settings.starts == 1:
        result, distinct = train(discretization, optimizer, start, poll), 1
    else:
        key = (case.study_seed, case.seed)
        runs = multistart(discretization, optimizer, settings.starts, start, key, poll=poll)
        result, distinct = runs.best, max(runs.distinct, 1)
    final = discretization.final_state(result.w, result.b, poll)
    return Trained(discretization, result, final, distinct)


def _ladder(case: Case) -> Iterator[tuple[float, float]]:
    """The γ that a warm start goes through: ten times the next, from about 1 down to γ.

    It depends on the point alone, not on which γ are in the study or were computed before.
    """
    if not case.training.warm_start:
        return
    largest = max(case.gammas)
    powers = np.arange(np.floor(np.log10(WARMEST / (largest or COLDEST)) + 1e-9), 0, -1)
    base = case.gammas if largest else (COLDEST, COLDEST)
    for power in powers:
        yield base[0] * 10.0**power, base[1] * 10.0**power
    if not largest:
        yield base


def optimizer_of(case: Case) -> Armijo | Lbfgs:
    """The optimiser with the settings of a case."""
    settings = case.training
    pinned = settings.optimizer == "armijo" if settings.pinned is None else settings.pinned
    if settings.optimizer == "lbfgs":
        return Lbfgs(settings.tolerance, settings.max_iterations, pinned=pinned)
    return Armijo(
        settings.tolerance,
        settings.max_iterations,
        settings.initial_step,
        settings.armijo_constant,
        settings.max_backtracking,
        pinned,
    )


def discretization_of(case: Case, gammas: tuple[float, float]) -> Discretization:
    """The discretised problem of a case, at weights of w and of b in the control cost.

    Raises:
        InputError: if loss, target, data and discretisation do not fit together.
    """
    problem, settings = case.problem, case.training
    initial = _nodes(case)
    if initial is None and getattr(problem.initial, "dimension", 1) > 1:
        raise InputError("a law in R^d is trained on samples; give training.particles, 1 or more")
    if case.loss != "paired" and isinstance(problem.target, PointMasses):
        raise InputError("problem.target: point masses cannot be trained towards; give a density")
    training = TrainingProblem(
        case.activation,
        problem.initial if initial is None else initial,
        loss_of(case),
        *gammas,
        problem.horizon,
    )
    if settings.discretization == "lagrangian":
        return LagrangianDiscretization(
            training, settings.intervals, case.integrator, settings.steps_per_interval
        )
    if getattr(problem.initial, "dimension", 1) > 1 or settings.particles:
        raise InputError(
            "discretization 'eulerian' works on the line and without samples; allowed in R^d and "
            "with training.particles > 0: lagrangian"
        )
    domain = problem.domain
    if domain == "auto":
        domain = hull_domain(problem.initial, problem.target)
    return EulerianDiscretization(training, settings.intervals, domain, settings.cells)


def check_training(case: Case) -> None:
    """See that a case can be trained, without drawing its samples.

    Raises:
        InputError: if loss, target, data and discretisation do not fit together.
    """
    few = min(case.training.particles, 1)
    training = case.training.model_copy(update={"particles": few, "cells": 8, "intervals": 1})
    with contextlib.suppress(SolverError):  # that is the point's failure, not the study's
        discretization_of(replace(case, training=training), case.gammas)
    optimizer_of(case)


def loss_of(case: Case) -> Loss:
    """The loss of a case with its target.

    Raises:
        InputError: if the target is none that the loss can be measured against.
    """
    if case.loss != "paired":
        return loss_from(case.loss, case.problem.target)
    if case.problem.pairs is None:
        raise InputError("loss 'paired' needs initial and target as samples of equally many rows")
    targets = case.problem.pairs[1]
    return loss_from("paired", pairs=targets[_rows(case, len(targets))])


def _nodes(case: Case) -> Nodes | None:
    """The samples of microscopic training; None where the law itself is trained on."""
    particles = case.training.particles
    if case.loss == "paired" and case.problem.pairs is not None:
        points = case.problem.pairs[0]
        return Nodes.samples(points[_rows(case, len(points))])
    if particles:
        key = (case.study_seed, case.seed)
        return Nodes.samples(sample(case.problem.initial, particles, case.sampling, key))
    law = case.problem.initial
    return Nodes.samples(law.points) if isinstance(law, SampleVectors) else None


def _rows(case: Case, count: int) -> np.ndarray:
    """Which of the rows of paired data are trained on: all, or M drawn with replacement."""
    if not case.training.particles:
        return np.arange(count)
    u = uniforms(case.training.particles, (case.study_seed, case.seed))
    return np.floor(u * count).astype(np.int64)


def _start(case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    controls = case.problem.start
    if controls is None:
        return None
    times = np.linspace(0.0, case.problem.horizon, case.training.intervals + 1)
    w, b = controls.evaluate(times)
    return w, b


def optimum_of(trained: Trained) -> LinearOptimum | None:
    """The exact optimum of the mean-field problem, where it is known."""
    return exact_optimum(trained.discretization.problem)


def mean_field_of(case: Case, poll: Poll) -> Trained:
    """The solution of the mean-field problem that a microscopic case approximates.

    It has the same settings but no samples; once per process.
    """
    settings = case.training.model_copy(update={"particles": 0})
    key = (id(case.problem), case.activation, case.gammas, case.loss, settings, case.integrator)
    kept = _kept(key, case.problem)
    if not kept:
        kept.append(solve(replace(case, training=settings, seed=0), poll))
    return kept[0]


@lru_cache(maxsize=64)
def _kept(_key: Hashable, _problem: object) -> list[Trained]:
    """An empty place to keep a solution in; holds the problem so that its id stays its own."""
    return []

"""The training problem of a case, and its solution."""

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pipeline.case import Case
from solvers.arrays import Poll
from solvers.distributions import Product, Samples, SampleVectors
from solvers.errors import InputError, SolverError
from solvers.sampling import sample, uniforms
from solvers.training import (
    LOSSES,
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
    for gammas in warmer_gammas(case):
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


def warmer_gammas(case: Case) -> Iterator[tuple[float, float]]:
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
    domain = problem.domain
    if domain == "auto":
        domain = hull_domain(problem.initial, problem.target)
    return EulerianDiscretization(training, settings.intervals, domain, settings.cells)


def misfit(case: Case) -> tuple[str, str] | None:
    """What of a case does not fit together: the setting at fault, and what is wrong with it.

    Samples are not drawn. None where the case can be trained.
    """
    if found := _method_misfit(case) or _target_misfit(case):
        return found
    few = min(case.training.particles, 1)
    training = case.training.model_copy(update={"particles": few, "cells": 8, "intervals": 1})
    at = "problem.target"
    try:
        loss_of(case)
        at = "problem.initial"
        with contextlib.suppress(SolverError):  # that is the point's failure, not the study's
            discretization_of(replace(case, training=training), case.gammas)
    except InputError as error:
        return at, f"{error}"
    return None


def _method_misfit(case: Case) -> tuple[str, str] | None:
    """Why loss and discretisation cannot treat the initial law, if they cannot."""
    settings, dimension = case.training, _dimension(case.problem.initial)
    eulerian = settings.discretization == "eulerian"
    law = f"problem.initial is a law in R^{dimension}"
    if eulerian and dimension > 1:
        what = f"'eulerian' works on the line, but {law}; allowed: lagrangian"
        return "training.discretization", what
    if eulerian and settings.particles:
        what = f"{settings.particles}, but 'eulerian' trains on the law itself; allowed: 0, or "
        return "training.particles", f"{what}training.discretization = 'lagrangian'"
    if case.loss == ("paired" if eulerian else "l2"):
        fitting = ", ".join(name for name in LOSSES if name != case.loss)
        what = f"'{case.loss}' does not work with training.discretization = "
        return "problem.loss", f"{what}'{settings.discretization}'; allowed with it: {fitting}"
    if dimension > 1 and case.loss in ("w2", "energy"):
        what = f"'{case.loss}' works on the line, but {law}; allowed: quadratic, paired"
        return "problem.loss", what
    if isinstance(case.problem.initial, Product) and not settings.particles:
        return "training.particles", f"0, but {law}, trained on samples of it; allowed: 1 or more"
    return None


def _target_misfit(case: Case) -> tuple[str, str] | None:
    """Why the target is none for the initial law and the loss, if it is none."""
    problem = case.problem
    dimension, other = _dimension(problem.initial), _dimension(problem.target)
    if dimension != other:
        what = f"a law in R^{other}, but problem.initial is one in R^{dimension}"
        return "problem.target", f"{what}; allowed: a law in R^{dimension}"
    if case.loss != "paired":
        masses = isinstance(problem.target, PointMasses)
        what = "point masses cannot be trained towards; allowed: a law with a density"
        return ("problem.target", what) if masses else None
    for key, law in (("initial", problem.initial), ("target", problem.target)):
        if not isinstance(law, (Samples, SampleVectors)):
            return f"problem.{key}", "the loss 'paired' needs samples; allowed: kind = 'samples'"
    first, second = (len(rows) for rows in problem.pairs or ((), ()))
    if first != second:
        what = f"{second} rows, but the loss 'paired' needs one for each of problem.initial"
        return "problem.target", f"{what}; allowed: {first} rows"
    return None


def _dimension(law: object) -> int:
    return int(getattr(law, "dimension", 1))


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

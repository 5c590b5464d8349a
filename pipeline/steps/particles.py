"""The step particles: M samples through the network, and their distance to the limit.

    x_i' = σ(w(t) x_i + b(t)),  x_i(0) ~ f_0,  i = 1 … M         (equations (1) and (3))

integrated once per activation, M and seed; W1 against the exact limit, and against every PDE
solution of the study. In R^d, where no exact limit is at hand, mean and covariance.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.case import Case
from pipeline.reference import dobrushin_of, initial_of, reference_of, target_of
from pipeline.steps.base import (
    TO_TARGET,
    WALL_SECONDS,
    Outputs,
    Poll,
    Step,
    Table,
    Traits,
    Upstream,
    Variable,
)
from solvers.particles import integrate, moments
from solvers.sampling import sample
from solvers.vector_particles import integrate_vectors, vector_moments
from solvers.wasserstein import PiecewiseLinearCdf, PointMasses, w1


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Particles at the start (M,) and at the snapshots (snapshots, M), sorted; in R^d (…, M, d)."""

    initial: np.ndarray
    snapshots: np.ndarray


def follow(case: Case, poll: Poll) -> Trajectories:
    """Draw the initial particles and integrate them."""
    problem = case.problem
    initial = sample(problem.initial, case.particles, case.sampling, (case.study_seed, case.seed))
    move = integrate if initial.ndim == 1 else integrate_vectors
    paths = move(
        initial,
        case.activation,
        problem.controls,
        problem.times,
        problem.snapshot_indices,
        case.integrator,
        poll=poll,
    )
    return Trajectories(initial, paths)


def evaluate(paths: Trajectories, case: Case, _upstream: Upstream, poll: Poll) -> Outputs:
    """Distances to the reference, and the Dobrushin ratio.

    ``dobrushin_ratio`` = w1 / (exp(∫ Lip(σ)|w|) w1_initial + e_flow), where e_flow is the largest
    distance of an integrated particle to its characteristic; at most 1 up to rounding.
    """
    reference = reference_of(case, poll)
    snapshots = range(len(case.problem.snapshots))
    distance = np.array(
        [w1(PointMasses(paths.snapshots[s], sorted=True), reference.measure(s)) for s in snapshots]
    )
    initial = w1(PointMasses(paths.initial, sorted=True), initial_of(case, poll).measure(0))
    flow_error = np.array(
        [np.max(np.abs(paths.snapshots[s] - reference.flow(s, paths.initial))) for s in snapshots]
    )
    factors = dobrushin_of(case, poll)
    statistics = np.array([moments(x) for x in paths.snapshots])
    outputs = {
        "w1": distance,
        "w1_initial": initial,
        "dobrushin_ratio": distance / (factors * initial + flow_error),
        "mean": statistics[:, 0],
        "variance": statistics[:, 1],
    }
    if case.problem.target is not None:
        clouds = [PointMasses(x, sorted=True) for x in paths.snapshots]
        outputs["w1_to_target"] = np.array([w1(cloud, target_of(case)) for cloud in clouds])
    return outputs


def evaluate_vectors(paths: Trajectories, _case: Case, _upstream: Upstream, poll: Poll) -> Outputs:
    """Mean and covariance of particles in R^d."""
    statistics = []
    for x in paths.snapshots:
        poll()
        statistics.append(vector_moments(x))
    mean, covariance = (np.array(values) for values in zip(*statistics, strict=True))
    return {"mean": mean, "covariance": covariance}


def evaluate_pde(paths: Trajectories, _case: Case, upstream: Upstream, poll: Poll) -> Outputs:
    """Distances to the PDE solution with the case's number of cells."""
    position, density = upstream.limit_field()
    half = (position[1] - position[0]) / 2
    edges = np.append(position - half, position[-1] + half)
    distance = []
    for x, u in zip(paths.snapshots, density, strict=True):
        poll()
        distance.append(w1(PointMasses(x, sorted=True), PiecewiseLinearCdf(edges, u)))
    return {"w1_pde": np.array(distance)}


def cost(case: Case) -> float:
    """Nominal seconds: 10 ns per particle, component and stage, and the sort and distances."""
    particles = case.particles * getattr(case.problem.initial, "dimension", 1)
    stages = {"euler": 1, "ssprk3": 3, "rk4": 4}[case.integrator]
    steps = len(case.problem.times)
    return 0.002 + 1e-8 * particles * (stages * steps + 40 * len(case.problem.snapshots))


KEYS = frozenset(
    {
        "activation",
        "particles",
        "seed",
        "horizon",
        "initial",
        "time_step",
        "sampling",
        "integrator",
    }
)
ON_THE_LINE = (
    Variable("w1", "Wasserstein-1 distance of the particles to the exact limit"),
    Variable("w1_initial", "Wasserstein-1 distance of the initial particles", dims=()),
    Variable("dobrushin_ratio", "w1 over its bound by Dobrushin's estimate"),
    Variable("mean", "mean of the particles"),
    Variable("variance", "variance of the particles"),
    WALL_SECONDS,
)
IN_SPACE = (
    Variable("mean", "mean of the particles", ("snapshot", "component")),
    Variable(
        "covariance",
        "covariance matrix of the particles",
        ("snapshot", "component", "other_component"),
    ),
    WALL_SECONDS,
)
AGAINST_PDE = Table(
    status="status_pde",
    steps=("particles", "limit"),
    variables=(Variable("w1_pde", "Wasserstein-1 distance of the particles to the PDE solution"),),
    evaluate=evaluate_pde,
)


def particles(traits: Traits) -> Step:
    """The step, for a study on the line or in R^d."""
    line = traits.dimension == 1
    variables = (ON_THE_LINE if line else IN_SPACE) + ((TO_TARGET,) if traits.target else ())
    table = Table(
        status="status",
        steps=("particles",),
        variables=variables,
        evaluate=evaluate if line else evaluate_vectors,
    )
    return Step(
        name="particles",
        keys=KEYS | traits.control_keys | ({"target"} if traits.target else set()),
        tables=(table, AGAINST_PDE),
        work=follow,
        cost=cost,
    )

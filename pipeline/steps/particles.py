"""The step particles: M samples through the network, and their distance to the limit.

    x_i' = σ(w(t) x_i + b(t)),  x_i(0) ~ f_0,  i = 1 … M         (equations (1) and (3))

integrated once per activation, M and seed; W1 against the exact limit, and against every PDE
solution of the study. With ``push = "flow-map"`` the steps are tabulated as one function of the
initial position, and particles go through it tile by tile, never all in memory (if the sampling
lets them: "iid-sorted" and "quantile" do). With ``device = "gpu"`` a GPU moves them either way.

In R^d no exact limit is at hand, and the distance is that of two independent clouds of M:

    E W1(f^M, f) <= E W1(f^M, g^M) <= 2 E W1(f^M, f),   f^M and g^M independent, of one law.

The right bound is the triangle inequality by f. For the left one let h be 1-Lipschitz: given f^M,
E int h d(f^M - g^M) = int h d(f^M - f) for independent points, so the supremum over h, W1(f^M, f),
is at most the mean of W1(f^M, g^M). So both have the same rate in M. For Sobol points the second
cloud is another scrambling of the same points.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.case import Case
from pipeline.reference import (
    dobrushin_of,
    draw_numbers,
    initial_of,
    reference_bytes,
    reference_of,
    target_of,
)
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
from solvers.arrays import FloatArray
from solvers.flow_map import MAX_BISECTED, exact_flow, flow_map
from solvers.optimal_transport import BYTES_PER_PAIR, cloud_w1
from solvers.particles import integrate, moments
from solvers.sampling import TILE, SampleTiles, sample
from solvers.sliced_wasserstein import sliced_w1
from solvers.streaming import Stream
from solvers.vector_particles import integrate_vectors, vector_moments
from solvers.wasserstein import Measure, PiecewiseLinearCdf, PointMasses, w1

OTHER_STREAM = 1 << 63
"""Beyond every seed: with this bit a key names a stream that no seed of any study has."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Particles at the start (M,) and at the snapshots (snapshots, M), sorted; in R^d (…, M, d)."""

    initial: FloatArray
    snapshots: FloatArray


@dataclass(frozen=True, eq=False)
class Clouds:
    """Two independent clouds at the snapshots, (snapshots, M, d) each."""

    cloud: FloatArray
    twin: FloatArray


def follow(case: Case, poll: Poll) -> Trajectories | Stream:
    """The particles of a point: in memory, or as a stream where they go through the flow map."""
    return stream(case, poll) if case.push == "flow-map" else integrated(case, poll)


def stream(case: Case, poll: Poll) -> Stream:
    """Prepare the particles and tabulate the flow map."""
    problem = case.problem
    key = (case.study_seed, case.seed)
    flow = flow_map(
        problem.initial.support(),
        case.activation,
        problem.controls,
        problem.times,
        problem.snapshot_indices,
        case.integrator,
        poll=poll,
        device=case.device,
    )
    return Stream(SampleTiles(problem.initial, case.particles, case.sampling, key, poll), flow)


def integrated(case: Case, poll: Poll, seed: int | None = None) -> Trajectories:
    """Draw the initial particles and integrate them; by default those of the case's seed."""
    problem = case.problem
    key = (case.study_seed, case.seed if seed is None else seed)
    initial = sample(problem.initial, case.particles, case.sampling, key)
    on_line = partial(integrate, device=case.device)
    move = on_line if initial.ndim == 1 else integrate_vectors
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


def follow_clouds(case: Case, poll: Poll) -> Clouds:
    """Draw and integrate the particles, and independent ones; those on the line are clouds too."""
    paths = [integrated(case, poll, seed) for seed in (case.seed, case.seed ^ OTHER_STREAM)]
    shape = (len(case.problem.snapshots), case.particles, -1)
    return Clouds(*(path.snapshots.reshape(shape) for path in paths))


def evaluate(paths: Trajectories | Stream, case: Case, _upstream: Upstream, poll: Poll) -> Outputs:
    """Distances to the reference, and the Dobrushin ratio.

    ``dobrushin_ratio`` = w1 / (exp(∫ Lip(σ)|w|) w1_initial + e_flow), where e_flow is the largest
    distance of an integrated particle to its characteristic; at most 1 up to rounding.
    """
    if isinstance(paths, Stream):
        return evaluate_stream(paths, case, poll)
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


def evaluate_stream(particles: Stream, case: Case, poll: Poll) -> Outputs:
    """The same numbers, to rounding, by one pass over particles that are not in memory."""
    reference = reference_of(case, poll)
    snapshots = range(len(case.problem.snapshots))
    laws: list[list[Measure]] = [[reference.measure(s) for s in snapshots]]
    if case.problem.target is not None:
        laws.append([target_of(case)] * len(snapshots))
    found = particles.summary(
        laws,
        initial_of(case, poll).measure(0),
        exact_flow(reference),
        [reference.mean(s) for s in snapshots],
        poll,
    )
    bound = dobrushin_of(case, poll) * found.w1_initial + found.apart
    outputs = {
        "w1": found.w1[0],
        "w1_initial": found.w1_initial,
        "dobrushin_ratio": found.w1[0] / bound,
        "mean": found.moments[:, 0],
        "variance": found.moments[:, 1],
    }
    return outputs if case.problem.target is None else outputs | {"w1_to_target": found.w1[1]}


def evaluate_clouds(
    clouds: Clouds, case: Case, _upstream: Upstream, poll: Poll, components: int
) -> Outputs:
    """Distances of the two clouds, mean and covariance of the first.

    Args:
        clouds: the particles.
        case: the point.
        poll: called before every solve and projection.
        components: as many as the arrays of the store have; those that the point lacks are NaN.
    """
    found = []
    for x, y in zip(clouds.cloud, clouds.twin, strict=True):
        poll()
        mean, covariance = vector_moments(x)
        exact = x.shape[1] == 1 or case.particles <= case.exact_particles
        sliced = sliced_w1(
            x, y, case.projections, (case.study_seed ^ OTHER_STREAM, case.seed), poll
        )
        found.append(
            {
                "w1": cloud_w1(x, y) if exact else np.nan,
                "sliced_w1": sliced.distance,
                "sliced_w1_error": sliced.error,
                "mean": _padded(mean, components),
                "covariance": _padded(covariance, components),
            }
        )
    return {name: np.array([values[name] for values in found]) for name in found[0]}


def _padded(values: FloatArray, components: int) -> FloatArray:
    """A vector or matrix with NaN for the components that it lacks."""
    missing = [(0, components - length) for length in values.shape]
    return np.pad(values, missing, constant_values=np.nan)


def evaluate_pde(
    paths: Trajectories | Stream, _case: Case, upstream: Upstream, poll: Poll
) -> Outputs:
    """Distances to the PDE solution with the case's number of cells."""
    position, density = upstream.limit_field()
    half = (position[1] - position[0]) / 2
    edges = np.append(position - half, position[-1] + half)
    laws = [PiecewiseLinearCdf(edges, u) for u in density]
    if isinstance(paths, Stream):
        return {"w1_pde": paths.summary([laws], poll=poll).w1[0]}
    distance = []
    for x, law in zip(paths.snapshots, laws, strict=True):
        poll()
        distance.append(w1(PointMasses(x, sorted=True), law))
    return {"w1_pde": np.array(distance)}


def cost(case: Case) -> float:
    """Nominal seconds: 10 ns per particle, component and stage, and the sort and distances.

    Through the flow map: 50 ns per particle to draw it, and 15 ns at each snapshot. A GPU counts
    as the processor: how fast it is, the first shards tell.
    """
    if case.push == "flow-map":
        return 0.05 + 1e-9 * case.particles * (50 + 15 * len(case.problem.snapshots))
    return 0.002 + 1e-8 * case.particles * (_flow(case) + 40 * len(case.problem.snapshots))


def cost_clouds(case: Case) -> float:
    """Nominal seconds: both flows, the network simplex (0.5 s at M = 2048), the projections."""
    particles, snapshots = case.particles, len(case.problem.snapshots)
    d = getattr(case.problem.initial, "dimension", 1)
    exact = 2.4e-9 * particles**2.5 if d > 1 and particles <= case.exact_particles else 0.0
    sliced = case.projections * (4e-5 + 2e-8 * particles) if d > 1 else 4e-7 * particles
    return float(0.002 + 2e-8 * particles * d * _flow(case) + snapshots * (exact + sliced))


def memory(case: Case) -> float:
    """Bytes: the particles at the snapshots, and work space of one evaluation or of the draw.

    Against a target all snapshots are held with their distribution functions.
    """
    snapshots = len(case.problem.snapshots)
    if case.push == "flow-map":
        return _stream_memory(case, snapshots)
    against = 3 * snapshots + 4 if case.problem.target is not None else 0
    numbers = max(snapshots + 9, against, draw_numbers(case.problem.initial))
    return 8.0 * case.particles * numbers + reference_bytes(case)


def _stream_memory(case: Case, snapshots: int) -> float:
    """Bytes: some tiles, the flow map as it is tabulated, the exact one, and what must be sorted.

    Relu has a kink for each stage at most.
    """
    tile = min(case.particles, TILE)
    draw = draw_numbers(case.problem.initial)
    kinks = _flow(case) if case.activation.name == "relu" else 0
    pieces = 66.0 * snapshots * (MAX_BISECTED + kinks)
    whole = draw * case.particles if case.sampling in ("iid", "sobol") else 0.0
    numbers = tile * (4 * snapshots + draw + 4) + pieces + whole
    return 8.0 * numbers + 2 * reference_bytes(case)


def memory_clouds(case: Case) -> float:
    """Bytes: both clouds at the snapshots, work space, and the pairs where W1 is exact."""
    particles, snapshots = case.particles, len(case.problem.snapshots)
    d = getattr(case.problem.initial, "dimension", 1)
    solves = d > 1 and particles <= case.exact_particles
    exact = 1.1 * BYTES_PER_PAIR * particles**2 * solves
    return float(8 * particles * (d * (2 * snapshots + 3.5) + 6) + exact)


def _flow(case: Case) -> int:
    """Evaluations of the velocity of one particle."""
    return {"euler": 1, "ssprk3": 3, "rk4": 4}[case.integrator] * len(case.problem.times)


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
"""Those on the line and in R^d."""
ON_THE_LINE = (
    Variable("w1", "Wasserstein-1 distance of the particles to the exact limit"),
    Variable("w1_initial", "Wasserstein-1 distance of the initial particles", dims=()),
    Variable("dobrushin_ratio", "w1 over its bound by Dobrushin's estimate"),
    Variable("mean", "mean of the particles"),
    Variable("variance", "variance of the particles"),
    WALL_SECONDS,
)


def in_space(mixed: bool) -> tuple[Variable, ...]:
    """The variables in R^d; where points differ in d, components that one lacks are NaN."""
    return (
        Variable(
            "w1",
            "exact Wasserstein-1 distance of the particles to as many independent ones, up to "
            "numerics.exact_particles of them",
            padded=True,
        ),
        Variable("sliced_w1", "sliced Wasserstein-1 distance, the mean over projections to lines"),
        Variable("sliced_w1_error", "standard error of sliced_w1 by the number of projections"),
        Variable("mean", "mean of the particles", ("snapshot", "component"), padded=mixed),
        Variable(
            "covariance",
            "covariance matrix of the particles",
            ("snapshot", "component", "other_component"),
            padded=mixed,
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
    return _on_the_line(traits) if traits.dimension == 1 else _in_space(traits)


def _on_the_line(traits: Traits) -> Step:
    variables = ON_THE_LINE + ((TO_TARGET,) if traits.target else ())
    return Step(
        name="particles",
        keys=KEYS
        | {"push", "device"}
        | traits.control_keys
        | ({"target"} if traits.target else set()),
        tables=(Table("status", ("particles",), variables, evaluate), AGAINST_PDE),
        work=follow,
        cost=cost,
        memory=memory,
    )


def _in_space(traits: Traits) -> Step:
    variables = in_space(mixed="initial" in traits.axes)
    compare = partial(evaluate_clouds, components=traits.dimension)
    return Step(
        name="particles",
        keys=KEYS | traits.control_keys | {"exact_particles", "projections"},
        tables=(Table("status", ("particles",), variables, compare),),
        work=follow_clouds,
        cost=cost_clouds,
        memory=memory_clouds,
    )

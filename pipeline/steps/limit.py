"""The step limit: the mean-field density by finite volumes, and its error.

    ∂_t f + ∂_x(σ(w(t)x + b(t)) f) = 0,  f(0, ·) = f_0          (equation (5) of Herty et al.)

solved once per activation and number of cells, and compared at each snapshot with the
characteristics reference.
"""

import numpy as np

from pipeline.case import Case
from pipeline.reference import reference_bytes, reference_of, target_of
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
from solvers.errors import MassLostError
from solvers.transport import TransportSolution, automatic_domain, solve_transport
from solvers.wasserstein import MASS_TOLERANCE, PiecewiseLinearCdf, w1


def solve(case: Case, poll: Poll) -> TransportSolution:
    """The PDE solution at a point."""
    problem = case.problem
    domain = problem.domain
    if domain == "auto":
        domain = automatic_domain(problem.initial, case.activation, problem.controls, problem.times)
    return solve_transport(
        problem.initial,
        case.activation,
        problem.controls,
        domain,
        case.cells,
        problem.times,
        problem.snapshot_indices,
        poll=poll,
        limiter=case.limiter,
    )


def evaluate(solution: TransportSolution, case: Case, _upstream: Upstream, poll: Poll) -> Outputs:
    """Errors against the reference in cell averages (L1, L∞) and in W1; mass and moments."""
    reference = reference_of(case, poll)
    snapshots = range(len(case.problem.snapshots))
    width = np.diff(solution.edges)
    for total in solution.density @ width:
        if not abs(total - 1) <= MASS_TOLERANCE:
            raise MassLostError("outside", 1 - total, f"the mass of the density is {total:.12g}")
    exact = np.array([reference.cell_averages(s, solution.edges) for s in snapshots])
    error = np.abs(solution.density - exact)
    w1_error = [
        w1(PiecewiseLinearCdf(solution.edges, solution.density[s]), reference.measure(s))
        for s in snapshots
    ]
    moments = np.array([cell_moments(solution.edges, u) for u in solution.density])
    outputs = {
        "l1_error": error @ width,
        "linf_error": error.max(axis=1),
        "w1_error": np.array(w1_error),
        "mass_error": solution.mass_error,
        "mean": moments[:, 0],
        "variance": moments[:, 1],
        "smeared": np.array([_beyond(solution, s, *reference.range(s)) for s in snapshots]),
        "epsilon": solution.epsilon,
        "substeps": solution.substeps,
        "density": solution.density,
        "position": solution.centers,
    }
    if case.problem.target is not None:
        target = target_of(case)
        laws = [PiecewiseLinearCdf(solution.edges, u) for u in solution.density]
        outputs["w1_to_target"] = np.array([w1(law, target) for law in laws])
    return outputs


def _beyond(solution: TransportSolution, snapshot: int, low: float, high: float) -> float:
    """The mass in cells that lie wholly outside the exact (effective) support."""
    edges = solution.edges
    outside = (edges[1:] <= low) | (edges[:-1] >= high)
    return float(np.abs(solution.density[snapshot][outside]).sum() * (edges[1] - edges[0]))


def cell_moments(edges: np.ndarray, averages: np.ndarray) -> tuple[float, float]:
    """Mean and variance of a density given by cell averages.

    Inside a cell the density is taken as linear with the monotonised central slope: fourth order
    on smooth data, exact for a piecewise constant density.

    Args:
        edges: faces of uniform cells, (cells + 1,).
        averages: cell averages, (cells,).
    """
    width = edges[1] - edges[0]
    mass = averages.sum() * width
    left = np.diff(averages, prepend=0.0)
    right = np.diff(averages, append=0.0)
    steepest = 2 * np.minimum(abs(left), abs(right))
    central = (left + right) / 2
    slope = np.where(left * right > 0, np.sign(left) * np.minimum(steepest, abs(central)), 0.0)
    pivot = np.average(edges[:-1] + width / 2, weights=np.maximum(averages, 0.0))
    offset = edges[:-1] + width / 2 - pivot
    first = (averages @ offset * width + slope.sum() * width**2 / 12) / mass
    second = (
        averages @ (offset**2 + width**2 / 12) * width + 2 * (slope @ offset) * width**2 / 12
    ) / mass
    return float(pivot + first), float(second - first**2)


def cost(case: Case) -> float:
    """Nominal seconds: 60 ns per cell, stage and substep, with a speed of about one."""
    problem = case.problem
    low, high = problem.initial.support(1e-14)
    width = (high - low) * 2.0 if problem.domain == "auto" else np.ptp(problem.domain)
    cells = case.cells
    steps = max(len(problem.times), problem.horizon * cells / (0.45 * width))
    return float(0.05 + 6e-8 * 3 * cells * steps)


def memory(case: Case) -> float:
    """Bytes: the density at the snapshots, exact and not, and work space."""
    per_snapshot = 4 if case.problem.target is None else 10
    numbers = per_snapshot * len(case.problem.snapshots) + 12
    return 32e6 + 8.0 * case.cells * numbers + reference_bytes(case)


VARIABLES = (
    Variable("l1_error", "L1 distance of the cell averages to the exact ones"),
    Variable("linf_error", "largest distance of a cell average to the exact one"),
    Variable("w1_error", "Wasserstein-1 distance of the PDE solution to the reference"),
    Variable("mass_error", "change of the mass, boundary fluxes accounted for"),
    Variable("mean", "mean of the density"),
    Variable("variance", "variance of the density"),
    Variable("smeared", "mass of the PDE solution beyond the exact support"),
    Variable("epsilon", "regularisation of the CWENO weights", dims=()),
    Variable("substeps", "number of time steps taken", dims=()),
    WALL_SECONDS,
    Variable("density", "cell averages of the density", ("snapshot", "x"), per="cells"),
    Variable("position", "cell centres", ("x",), per="cells"),
)
KEYS = frozenset({"activation", "cells", "horizon", "domain", "initial", "time_step", "limiter"})


def limit(traits: Traits) -> Step:
    """The step, for a study on the line."""
    variables = VARIABLES + ((TO_TARGET,) if traits.target else ())
    table = Table(status="status", steps=("limit",), variables=variables, evaluate=evaluate)
    keys = KEYS | traits.control_keys | ({"target"} if traits.target else set())
    return Step(
        name="limit",
        keys=keys,
        tables=(table,),
        work=solve,
        cost=cost,
        max_dimension=1,
        memory=memory,
    )

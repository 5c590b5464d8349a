"""The step train: controls that take f_0 to a target at least cost.

    minimise  L(f_T, g) + ½ ∫ γ_w |w|² + γ_b |b|² dt   over w, b        (equations (16) to (18))

solved once per activation and γ; trained on samples (microscopic) it is compared with the
mean-field optimum.
"""

import numpy as np

from pipeline.case import Case
from pipeline.reference import draw_numbers, reference_bytes
from pipeline.status import Status
from pipeline.steps.base import (
    TO_TARGET_AT_THE_END,
    WALL_SECONDS,
    Outputs,
    Poll,
    Step,
    Table,
    Traits,
    Upstream,
    Variable,
    training_keys,
)
from pipeline.training import Trained, mean_field_of, optimum_of, solve, warmer_gammas
from solvers.training import StopReason
from solvers.training.flow import HELD, SMALLEST_BLOCK
from solvers.warm import warm_training

STAGES = {"euler": 1, "ssprk3": 3, "rk4": 4}


def evaluate(trained: Trained, case: Case, _upstream: Upstream, _poll: Poll) -> Outputs:
    """The controls, their cost, how they were found, and the final law."""
    result, line = trained.result, trained.discretization.grid.dimension == 1
    outputs = {
        "w": result.w,
        "b": result.b,
        "cost": result.cost,
        "cost_history": _padded(result.cost_history, case.training.max_iterations + 1),
        "change_history": _padded(result.change_history, case.training.max_iterations + 1),
        "iterations": result.iterations,
        "evaluations": result.evaluations,
        "stop_reason": int(result.stop_reason),
        "gradient_norm": result.gradient_norm,
        "optima": trained.distinct,
        "mean": trained.final.mean[0] if line else trained.final.mean,
        "variance": trained.final.variance[0] if line else trained.final.variance,
        "w1_to_target": trained.final.w1_to_target,
        "cost_exact": np.nan,
        "control_error": np.full(2, np.nan),
        "status": Status.DONE
        if result.stop_reason == StopReason.CONVERGED
        else Status.NOT_CONVERGED,
    }
    if (optimum := optimum_of(trained)) is not None:
        outputs["cost_exact"] = optimum.cost
        exact = optimum.w(result.time), optimum.b(result.time)
        outputs["control_error"] = control_distance(trained, *exact)
    return outputs


def evaluate_microscopic(trained: Trained, case: Case, upstream: Upstream, poll: Poll) -> Outputs:
    """The same, and the distance to the mean-field optimum."""
    limit = mean_field_of(case, poll)
    return {
        **evaluate(trained, case, upstream, poll),
        "control_distance": control_distance(trained, limit.result.w, limit.result.b),
        "cost_gap": trained.result.cost - limit.result.cost,
    }


def control_distance(trained: Trained, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """‖(w, b) − (w̄, b̄)‖ of piecewise linear controls in C⁰ (largest entry) and in L²."""
    grid, result = trained.discretization.grid, trained.result
    difference = grid.pack(result.w, result.b) - grid.pack(w, b)
    return np.array([np.abs(difference).max(), grid.l2_norm(difference)])


def _padded(history: np.ndarray, length: int) -> np.ndarray:
    return np.append(history, np.full(length - history.size, np.nan))


def cost(case: Case) -> float:
    """Nominal seconds: sweeps over cells (80 ns each) or over nodes (16 ns).

    A solution is found in some 400 iterations of 1.5 sweeps, or in 30 of two sweeps and 15 ms, if
    so many are allowed; warm starts and random starts ask for further ones.
    """
    settings = case.training
    solutions = settings.starts + len(list(warmer_gammas(case)))
    if settings.discretization == "eulerian":
        iterations = min(settings.max_iterations, 400)
        sweep = 8e-8 * settings.cells * settings.intervals
        return float(0.1 + 1.5 * solutions * iterations * sweep)
    iterations = min(settings.max_iterations, 30)
    sweep = 1.6e-8 * (settings.particles or 150) * settings.intervals * settings.steps_per_interval
    return float(0.05 + solutions * iterations * (0.015 + 2 * sweep))


def memory(case: Case) -> float:
    """Bytes: controls of all starts and iterations, and the states of one training."""
    settings = case.training
    d = getattr(case.problem.initial, "dimension", 1)
    controls = (settings.intervals + 1) * (d * d + d)
    histories = 12 * min(settings.max_iterations, 10**4)
    kept = settings.starts * (2 * controls + histories) + 80 * controls
    if settings.discretization == "eulerian":
        states = settings.cells * (2 * settings.intervals + 30)
        return 8.0 * (kept + states) + reference_bytes(case)
    stages = settings.intervals * settings.steps_per_interval * STAGES[case.integrator]
    held = max(HELD, SMALLEST_BLOCK * stages * max(d, 2)) * 2
    sorts = 24 if case.loss in ("w2", "energy") else 0
    nodes = settings.particles or 1000
    draw = nodes * max(draw_numbers(case.problem.initial), 5 * d + 8, sorts)
    return 8.0 * (kept + held + 8 * stages * (d * d + d) + draw) + reference_bytes(case)


def variables(traits: Traits) -> tuple[Variable, ...]:
    """What the step holds, on the line or in R^d, for one grid of the controls or several."""
    line = traits.dimension == 1
    component = () if line else ("component",)
    matrix = () if line else ("component", "other_component")
    grid = "intervals" if "intervals" in traits.axes else ""
    length = "max_iterations" if "max_iterations" in traits.axes else ""
    found = (
        Variable("w", "control w at its nodes", ("time", *matrix), per=grid),
        Variable("b", "control b at its nodes", ("time", *component), per=grid),
        Variable("cost", "cost J(w, b)", ()),
        Variable(
            "cost_history", "cost after each iteration", ("iteration",), per=length, padded=True
        ),
        Variable(
            "change_history",
            "largest change of the controls over the largest control, at each iteration",
            ("iteration",),
            per=length,
            padded=True,
        ),
        Variable("iterations", "number of iterations", ()),
        Variable("evaluations", "number of evaluations of the cost", ()),
        Variable("stop_reason", "why it stopped", (), flags=tuple(r.meaning for r in StopReason)),
        Variable("gradient_norm", "L2 norm of the gradient at the end", (), padded=True),
        Variable("optima", "number of distinct optima that the starts led to", ()),
        Variable("mean", "mean of the final law", component),
        Variable("variance", "variance of the final law", component),
        TO_TARGET_AT_THE_END,
        Variable("cost_exact", "exact minimum of J, where it is known", (), padded=True),
        Variable(
            "control_error", "distance of (w, b) to the exact optimum", ("norm",), padded=True
        ),
        WALL_SECONDS,
    )
    if not compares(traits):
        return found
    return (
        *found,
        Variable("control_distance", "distance of (w, b) to the mean-field optimum", ("norm",)),
        Variable("cost_gap", "cost less that of the mean-field optimum", ()),
    )


def compares(traits: Traits) -> bool:
    """Whether there is a mean-field problem to compare with: on the line, where it has nodes."""
    return traits.microscopic and traits.dimension == 1


def train(traits: Traits) -> Step:
    """The step, for a study on the line or in R^d."""
    table = Table(
        status="status",
        steps=("train",),
        variables=variables(traits),
        evaluate=evaluate_microscopic if compares(traits) else evaluate,
    )
    return Step(
        name="train",
        keys=training_keys(traits),
        tables=(table,),
        work=solve,
        cost=cost,
        memory=memory,
        prepare=warm_training,
    )

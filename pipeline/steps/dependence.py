"""The step dependence: how far other controls move the law, and how far they may.

    W1(f_t, g_t) ≤ ∫_0^t e^(L(t−s)) ∫ |v − v̄| dg_s ds ≤ (e^(Lt) − 1)/L · sup |v − v̄|

for f under the controls of the study and g under ``perturbed``, from one initial law (equation
(12) of Herty et al., whose factor is printed as e^(Lt−1)/L). Both laws are exact.
"""

import numpy as np

from pipeline.case import Case
from pipeline.reference import reference_bytes, reference_of
from pipeline.steps.base import WALL_SECONDS, Outputs, Poll, Step, Table, Traits, Upstream, Variable
from solvers.characteristics import Reference, reference
from solvers.chebyshev import control_panels
from solvers.continuous_dependence import (
    LAW_PIECES,
    TIME_PIECES,
    integral_bound,
    supremum_bound,
)
from solvers.transport import automatic_domain
from solvers.wasserstein import w1


def perturbed_law(case: Case, poll: Poll) -> Reference:
    """The exact law under the other controls."""
    problem = case.problem
    return reference(
        problem.initial, case.activation, problem.perturbed, problem.snapshots, poll=poll
    )


def evaluate(other: Reference, case: Case, _upstream: Upstream, poll: Poll) -> Outputs:
    """The distance of the two laws at each snapshot, and both bounds."""
    law, snapshots = reference_of(case, poll), range(len(case.problem.snapshots))
    distance = np.array([w1(law.measure(s), other.measure(s)) for s in snapshots])
    return {
        "w1_perturbed": distance,
        "bound_integral": _finite(integral_bound(other, case.problem.controls)),
        "bound_supremum": _finite(_supremum(case)),
    }


def _supremum(case: Case) -> np.ndarray:
    """The bound by the supremum over the supports, which there is for a compact law."""
    problem, sigma = case.problem, case.activation
    if not problem.initial.is_compact:
        return np.full(len(problem.snapshots), np.nan)
    both = (problem.controls, problem.perturbed)
    hulls = [automatic_domain(problem.initial, sigma, each, problem.times) for each in both]
    support = (min(low for low, _ in hulls), max(high for _, high in hulls))
    return supremum_bound(sigma, *both, support, problem.snapshots)


def _finite(bound: np.ndarray) -> np.ndarray:
    """A bound that is infinite says nothing."""
    return np.where(np.isfinite(bound), bound, np.nan)


def cost(_case: Case) -> float:
    """Nominal seconds of two references."""
    return 1.0


def memory(case: Case) -> float:
    """Bytes: two references, and the flow of the law's nodes at the nodes in time of the bound."""
    problem = case.problem
    both = (problem.controls, problem.perturbed)
    panels = [control_panels(each, problem.horizon, problem.snapshots).edges for each in both]
    even = np.linspace(0.0, problem.horizon, TIME_PIECES + 1)
    pieces = np.unique(np.concatenate([*panels, even])).size
    return 8.0 * (8 * pieces) * (4 * (LAW_PIECES + 80)) * 8 + 2 * reference_bytes(case)


def dependence(traits: Traits) -> Step:
    """The step, for a study on the line."""
    table = Table(
        status="status",
        steps=("dependence",),
        variables=(
            Variable("w1_perturbed", "Wasserstein-1 distance of the two laws"),
            Variable("bound_integral", "its bound by the integral of |v - v'|", padded=True),
            Variable("bound_supremum", "its bound by the supremum of |v - v'|", padded=True),
            WALL_SECONDS,
        ),
        evaluate=evaluate,
    )
    keys = {"activation", "horizon", "initial", "perturbed", "time_step", *traits.control_keys}
    return Step(
        name="dependence",
        keys=frozenset(keys),
        tables=(table,),
        work=perturbed_law,
        cost=cost,
        max_dimension=1,
        memory=memory,
    )

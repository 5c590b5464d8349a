"""What /analysis holds."""

from dataclasses import dataclass

from pipeline.steps.base import Variable


@dataclass(frozen=True)
class AnalysisTable:
    """Variables of /analysis that share their axes; for studies on the line.

    Attributes:
        steps: the steps whose axes it has, all of which the study must have.
        without: keys whose axes it lacks, because the analysis goes along them.
        variables: what it holds.
        along: a key that must be an axis for the table to be there.
    """

    steps: tuple[str, ...]
    without: frozenset[str]
    variables: tuple[Variable, ...]
    along: str = ""


def _interval(name: str, meaning: str, dims: tuple[str, ...]) -> tuple[Variable, ...]:
    """A fitted number with the ends of its 95 % confidence interval."""
    return (
        Variable(name, f"exponent {meaning}", dims),
        Variable(f"{name}_low", f"lower end of the 95 % confidence interval of {name}", dims),
        Variable(f"{name}_high", f"upper end of the 95 % confidence interval of {name}", dims),
    )


RATES = AnalysisTable(
    ("particles",),
    frozenset({"particles", "seed"}),
    (
        Variable("rate", "exponent r of the fit w1 = prefactor M^r"),
        Variable("rate_low", "lower end of the 95 % confidence interval of rate"),
        Variable("rate_high", "upper end of the 95 % confidence interval of rate"),
        Variable("prefactor", "prefactor of the fit w1 = prefactor M^r"),
        Variable("prefactor_low", "lower end of its 95 % confidence interval"),
        Variable("prefactor_high", "upper end of its 95 % confidence interval"),
        Variable("prefactor_expected", "sqrt(2/pi) times the integral of sqrt(F(1-F))"),
        Variable("dobrushin_measured", "largest w1 / w1_initial of all M and seeds"),
        Variable("dobrushin_factor", "exp of the integral of Lip(sigma) |w|, its bound"),
    ),
)
FLOOR = AnalysisTable(
    ("particles", "limit"),
    frozenset({"particles", "seed"}),
    (Variable("floor", "level at which w1_pde ends for large M: the PDE's own distance"),),
)
ORDERS = AnalysisTable(
    ("limit",),
    frozenset({"cells"}),
    (
        Variable("l1_order", "exponent r of the fit l1_error = C cells^-r"),
        Variable("l1_order_deviation", "standard error of l1_order"),
        Variable("w1_order", "exponent r of the fit w1_error = C cells^-r"),
        Variable("w1_order_deviation", "standard error of w1_order"),
    ),
)
LOCAL_ORDERS = AnalysisTable(
    ("limit",),
    frozenset(),
    (
        Variable("l1_order_local", "order of l1_error between these cells and the next coarser"),
        Variable("w1_order_local", "order of w1_error between these cells and the next coarser"),
    ),
)
CONTROL_RATES = AnalysisTable(
    ("train",),
    frozenset({"training_particles", "seed"}),
    (
        *_interval("control_rate", "r of the fit control_distance = C M^r", ("norm",)),
        *_interval("cost_gap_rate", "r of the fit |cost_gap| = C M^r", ()),
    ),
    along="training_particles",
)
ANALYSIS = (RATES, FLOOR, ORDERS, LOCAL_ORDERS, CONTROL_RATES)

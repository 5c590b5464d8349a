"""What /analysis holds."""

from dataclasses import dataclass

from pipeline.statistics.plane import TERMS
from pipeline.steps.base import Variable


@dataclass(frozen=True)
class AnalysisTable:
    """Variables of /analysis that share their axes.

    Attributes:
        name: what its fits are called in messages.
        steps: the steps whose axes it has, all of which the study must have.
        along: the keys that its fits go along.
        variables: what it holds.
        status: the status variable of the last step's table whose numbers it needs.
        keeps: those keys of ``along`` whose axes it has nevertheless.
        optional: whether it is there only where the first key of ``along`` is an axis of the study.
        apart: keys of which no two may share an axis.
        spaces: on the line ("line"), in R^d ("space"), or both.
    """

    name: str
    steps: tuple[str, ...]
    along: tuple[str, ...]
    variables: tuple[Variable, ...]
    status: str = "status"
    keeps: frozenset[str] = frozenset()
    optional: bool = False
    apart: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ("line",)

    @property
    def without(self) -> frozenset[str]:
        """The keys whose axes it lacks, because the fits go along them."""
        return frozenset(self.along) - self.keeps


def _interval(
    name: str, meaning: str, dims: tuple[str, ...] = ("snapshot",)
) -> tuple[Variable, ...]:
    """A fitted number with the ends of its 95 % confidence interval."""
    return (
        Variable(name, meaning, dims),
        Variable(f"{name}_low", f"lower end of the 95 % confidence interval of {name}", dims),
        Variable(f"{name}_high", f"upper end of the 95 % confidence interval of {name}", dims),
    )


SAMPLES = ("particles", "seed")
FIT = (
    *_interval("rate", "exponent r of the fit w1 = prefactor M^r"),
    *_interval("prefactor", "prefactor of the fit w1 = prefactor M^r"),
    Variable("r_squared", "share of the scatter of log w1 that the fit explains"),
    Variable("first_particles", "smallest M of the fit; smaller ones are pre-asymptotic"),
    Variable("rate_expected", "exponent that theory gives over these M"),
    Variable("rate_bound", "exponent of the upper bound by Fournier and Guillin", dims=()),
    Variable(
        "underpowered",
        "whether the interval of rate is too wide to tell -1/2 from -1/3",
        flags=("no", "yes"),
    ),
    Variable("points_missing", "points of the fit that have no result", dims=()),
)
RATES = AnalysisTable(
    "rate",
    ("particles",),
    SAMPLES,
    (
        *FIT,
        Variable("prefactor_expected", "sqrt(2/pi) times the integral of sqrt(F(1-F))"),
        Variable("dobrushin_measured", "largest w1 / w1_initial of all M and seeds"),
        Variable("dobrushin_factor", "exp of the integral of Lip(sigma) |w|, its bound"),
    ),
)
CLOUD_RATES = AnalysisTable(
    "rate",
    ("particles",),
    SAMPLES,
    (
        *FIT,
        *_interval("sliced_rate", "exponent r of the fit sliced_w1 = C M^r"),
        Variable("sliced_rate_expected", "exponent that theory gives for sliced_w1", dims=()),
    ),
    spaces=("space",),
)
LOCAL_RATES = AnalysisTable(
    "local rate",
    ("particles",),
    SAMPLES,
    (
        *_interval("rate_local", "slope of log w1 between this M and the next smaller one"),
        *_interval("w1_mean", "mean of w1 over the seeds"),
    ),
    keeps=frozenset({"particles"}),
    spaces=("line", "space"),
)
PLANE = AnalysisTable(
    "joint fit",
    ("particles", "limit"),
    ("particles", "cells", "seed"),
    (
        *_interval("sampling_rate", "exponent r of the sampling error C M^r in w1_pde"),
        *_interval("sampling_prefactor", "prefactor C of the sampling error C M^r in w1_pde"),
        *_interval("grid_order", "exponent r of the grid error D cells^-r in w1_pde"),
        *_interval("grid_prefactor", "prefactor D of the grid error D cells^-r in w1_pde"),
        *_interval("plane_floor", "what remains of w1_pde for all M and cells"),
        Variable("plane_power", "power p in w1_pde^p = sampling^p + grid^p + floor^p"),
        Variable("plane_misfit", "largest relative distance of a mean w1_pde to the joint fit"),
        Variable("plane_terms", "the terms that the data can tell apart", flags=TERMS),
        Variable("best_particles", "M of the least error for the budget", ("budget", "snapshot")),
        Variable("best_cells", "cells of the least error for the budget", ("budget", "snapshot")),
        Variable("best_error", "w1_pde that the fit gives there", ("budget", "snapshot")),
    ),
    status="status_pde",
    apart=("particles", "cells"),
)
FLOOR = AnalysisTable(
    "floor",
    ("particles", "limit"),
    SAMPLES,
    (
        Variable("floor", "level at which w1_pde ends for large M: the PDE's own distance"),
        *_interval("balanced_particles", "M at which sampling error equals grid error"),
    ),
    status="status_pde",
    apart=("particles", "cells"),
)
ORDERS = AnalysisTable(
    "order",
    ("limit",),
    ("cells",),
    (
        Variable("l1_order", "exponent r of the fit l1_error = C cells^-r"),
        Variable("l1_order_deviation", "standard error of l1_order"),
        Variable("l1_order_expected", "order of l1_error that theory gives"),
        Variable("w1_order", "exponent r of the fit w1_error = C cells^-r"),
        Variable("w1_order_deviation", "standard error of w1_order"),
        Variable("w1_order_expected", "order of w1_error that theory gives"),
    ),
)
LOCAL_ORDERS = AnalysisTable(
    "local order",
    ("limit",),
    ("cells",),
    (
        Variable("l1_order_local", "order of l1_error between these cells and the next coarser"),
        Variable("w1_order_local", "order of w1_error between these cells and the next coarser"),
    ),
    keeps=frozenset({"cells"}),
)
CONTROL_RATES = AnalysisTable(
    "rate of the controls",
    ("train",),
    ("training_particles", "seed"),
    (
        *_interval("control_rate", "exponent r of the fit control_distance = C M^r", ("norm",)),
        *_interval("cost_gap_rate", "exponent r of the fit |cost_gap| = C M^r", ()),
    ),
    optional=True,
)
ANALYSIS = (
    RATES,
    CLOUD_RATES,
    LOCAL_RATES,
    PLANE,
    FLOOR,
    ORDERS,
    LOCAL_ORDERS,
    CONTROL_RATES,
)

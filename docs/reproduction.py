"""Write docs/reproduction.md and its figures from the stores of the published tests.

    meanfield run studies/herty-test-1.toml      (and the others in NAMES)
    python docs/reproduction.py [folder of the runs]

Every number on the page is read from a store; `agrees` is decided here, by the rule in each row.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.study import Study
from solvers.distributions import Distribution
from solvers.training import StopReason

DOCS = Path(__file__).parent
STUDIES = DOCS.parent / "studies"
NAMES = (
    "herty-test-1",
    "herty-test-2",
    "herty-test-3",
    "herty-optima",
    "gamma-sweep",
    "training-refinement",
    "optimal-control-convergence",
)
WIDTH = 0.025
"""Distance up to which a final state counts as recovering the target: a cell of Test 1."""
OPTIMUM = {("identity", 1): 0, ("tanh", 1): 1, ("sigmoid", 1): 2, ("identity", 2): 3,
           ("sigmoid", 3): 4}  # fmt: skip
"""Where each problem stands in the study herty-optima."""
FINE = 2000
"""The cells of its densities."""
FROM_T, WITH_W2 = 5, 6
"""Where Test 3 stands there, from w = b = t and with the loss W2²."""
NAMED = ("identity", "tanh", "sigmoid")
DRAWN = 1
"""Which of the line searches the figures show."""
Stores = dict[str, xr.DataTree]


@dataclass(frozen=True)
class Row:
    """One statement of the paper about a figure.

    Attributes:
        figure: the figure.
        statement: what is said, and the rule that decides.
        measured: what the published algorithm gives, for each line search and start.
        optimum: the same of the exact or converged optimum.
        holds: whether the statement holds, for each.
        holds_there: whether it holds for the optimum; None where it says nothing of it.
    """

    figure: int
    statement: str
    measured: list[str]
    optimum: str
    holds: list[bool]
    holds_there: bool | None = None

    @property
    def verdict(self) -> str:
        """Whether measurement and statement agree."""
        there = {None: "", True: "yes", False: "no"}[self.holds_there]
        if not self.holds:
            return there
        here = "yes" if all(self.holds) else "for some settings" if any(self.holds) else "no"
        return here if there in ("", here) else f"{here}; the optimum: {there}"

    def __str__(self) -> str:
        """The row in Markdown; what is the same for all settings stands there once."""
        alike = len(set(self.measured)) == 1 < len(self.measured)
        measured = f"{self.measured[0]} (all)" if alike else "; ".join(self.measured) or "–"
        cells = [str(self.figure), self.statement, measured, self.optimum, self.verdict]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(runs: Path) -> None:
    """Read the stores and write the page."""
    stores = {}
    for name in NAMES:
        path = runs / name / "data.zarr"
        if not path.is_dir():
            sys.exit(f"{path}: no store; run `meanfield run studies/{name}.toml` first")
        stores[name] = xr.open_datatree(path)
    rows = [*figure_1(stores), *figure_2(stores), *controls_of_figure_2(stores)]
    rows += [*figure_3(stores), *figure_4(stores), *controls_of_figure_4(stores)]
    draw(stores)
    (DOCS / "reproduction.md").write_text(page(stores, rows))
    print(f"{DOCS / 'reproduction.md'}: {len(rows)} statements")


def final(store: xr.DataTree) -> xr.Dataset:
    """The training at the study's single γ and line search by line search."""
    train = store["train"].to_dataset()
    single = [name for name in ("gamma", "gamma_w", "gamma_b") if name in train.dims]
    return train.squeeze(single).transpose("activation", "start", "line_search", ...,
                                           missing_dims="ignore")  # fmt: skip


def optimum(stores: Stores, activation: str, test: int) -> xr.Dataset:
    """The converged optimum of a problem."""
    return stores["herty-optima"]["train"].to_dataset().isel(test=OPTIMUM[activation, test])


def optima(stores: Stores, name: str) -> xr.DataArray:
    """A variable of the three optima of Test 1."""
    return stores["herty-optima"]["train"][name].isel(test=[0, 1, 2])


def numbers(values: xr.DataArray, spec: str = ".3g") -> list[str]:
    """Numbers as text."""
    return [format(float(value), spec) for value in np.ravel(values)]


def triples(values: xr.DataArray, spec: str = ".3g") -> list[str]:
    """One text for each line search: the numbers of the activations."""
    return [", ".join(numbers(each, spec)) for each in values.transpose("line_search", ...)]


def from_both(values: xr.DataArray, spec: str = ".3g") -> list[str]:
    """One text for each start: the numbers of the line searches."""
    pairs = zip(("t", "0"), values.transpose("start", "line_search"), strict=True)
    return [f"from {start}: {', '.join(numbers(each, spec))}" for start, each in pairs]


def truths(values: xr.DataArray) -> list[bool]:
    """Truth values as a list."""
    return [bool(value) for value in np.ravel(values)]


def figure_1(stores: Stores) -> Iterator[Row]:
    """The final states of Test 1."""
    distance, there = final(stores["herty-test-1"])["w1_to_target"], optima(stores, "w1_to_target")
    own, others = distance.isel(activation=0), distance.isel(activation=[1, 2])
    yield Row(
        1, "identity: the final state recovers g (W1 to g; holds below 0.025)",
        numbers(own), numbers(there)[0], truths(own < WIDTH), bool(there[0] < WIDTH),
    )  # fmt: skip
    yield Row(
        1, "identity approximates g better than tanh and sigmoid (W1 to g: identity, tanh, "
        "sigmoid)",
        triples(distance), ", ".join(numbers(there)),
        truths(own < others.min("activation")), bool(there[0] < there[1:].min()),
    )  # fmt: skip
    nearer = (there[1:].values[:, None] < 0.9 * others).all("activation")
    yield Row(
        1, "with tanh and sigmoid more iterations are required to approximate g (W1 to g: tanh, "
        "sigmoid; holds if the optimum is nearer to g by a tenth)",
        triples(others), ", ".join(numbers(there[1:])), truths(nearer),
    )  # fmt: skip


def figure_2(stores: Stores) -> Iterator[Row]:
    """The courses of Test 1."""
    train, there = final(stores["herty-test-1"]), optima(stores, "cost")
    reasons = train["stop_reason"].transpose("line_search", ...)
    yield Row(
        2, "the relative change of the controls reaches TOL for all activations",
        [", ".join(StopReason(int(r)).meaning for r in each) for each in reasons], "–",
        truths((reasons == StopReason.CONVERGED).all("activation")),
    )  # fmt: skip
    cost = train["cost"]
    larger = (cost[1:] > cost[0]).all("activation")
    yield Row(
        2, "the costs of tanh and sigmoid are larger than that of identity (J: identity, tanh, "
        "sigmoid)",
        triples(cost, ".4g"), ", ".join(numbers(there, ".4g")), truths(larger),
        bool((there[1:] > there[0]).all()),
    )  # fmt: skip
    excess = cost[1:] / there[1:].values[:, None] - 1
    yield Row(
        2, "the costs of tanh and sigmoid are still decreasing towards a minimum (J when stopped "
        "over that of the optimum, less 1: tanh, sigmoid; holds above 0.1 %)",
        triples(excess, ".2%"), "–", truths((excess > 1e-3).all("activation")),
    )  # fmt: skip
    first = train["cost_history"].isel(iteration=0)
    best = first.argmin("activation") == NAMED.index("sigmoid")
    yield Row(
        2, "the initial guess is best for sigmoid (J at w = b = 0: identity, tanh, sigmoid)",
        triples(first), "–", truths(best),
    )  # fmt: skip


def controls_of_figure_2(stores: Stores) -> Iterator[Row]:
    """The controls of Test 1, without their pinned start."""
    train = final(stores["herty-test-1"]).isel(time=slice(1, None))
    largest, there = abs(train["w"]).max("time"), abs(optima(stores, "w")).max("time")
    yield Row(
        2, "w(t) ≈ 0 (largest |w|: identity, tanh, sigmoid; holds below 0.1)",
        triples(largest), ", ".join(numbers(there)),
        truths((largest < 0.1).all("activation")), bool((there < 0.1).all()),
    )  # fmt: skip
    spread, there = (_spread(b) for b in (train["b"], optima(stores, "b")))
    yield Row(
        2, "b(t) = C is constant (largest less least b over the mean: identity, tanh, sigmoid; "
        "holds below 10 %)",
        triples(spread, ".0%"), ", ".join(numbers(there, ".0%")),
        truths((spread < 0.1).all("activation")), bool((there < 0.1).all()),
    )  # fmt: skip
    mean, there = train["b"].mean("time"), optima(stores, "b").mean("time")
    yield Row(
        2, "C is positive and depends on the activation (mean of b: identity, tanh, sigmoid; "
        "holds if they differ by a tenth)",
        triples(mean), ", ".join(numbers(there)),
        truths(_apart(mean, "activation")), bool(_apart(there, "test")),
    )  # fmt: skip
    yield Row(
        2, "identity: C ≈ 1 (mean of b; holds within 0.1)",
        numbers(mean[0]), numbers(there)[0], truths(abs(mean[0] - 1) < 0.1),
        bool(abs(there[0] - 1) < 0.1),
    )  # fmt: skip
    kept, there = (12 * variance[0] for variance in (train["variance"], optima(stores, "variance")))
    yield Row(
        2, "identity: f_T(x) = f_0(x − C), a translation (variance of f_T over that of f_0; holds "
        "within 0.9 … 1.1)",
        numbers(kept), numbers(there)[0], truths(abs(kept - 1) < 0.1), bool(abs(there - 1) < 0.1),
    )  # fmt: skip


def _spread(b: xr.DataArray) -> xr.DataArray:
    return (b.max("time") - b.min("time")) / abs(b.mean("time"))


def _apart(mean: xr.DataArray, along: str) -> xr.DataArray:
    """Whether all are positive and each next one is larger by a tenth."""
    ordered = np.sort(mean.transpose(..., along).values, axis=-1)
    apart = (ordered[..., 0] > 0) & (ordered[..., 1:] > 1.1 * ordered[..., :-1]).all(axis=-1)
    return mean.isel({along: 0}, drop=True).copy(data=apart)


def figure_3(stores: Stores) -> Iterator[Row]:
    """Test 2."""
    train, best = (
        final(stores["herty-test-2"]).squeeze("activation"),
        optimum(stores, "identity", 2),
    )
    near = 0.1 * 0.1 * np.exp(-0.25)
    yield Row(
        3, "the final state recovers g (W1 to g; holds below a tenth of the standard deviation "
        "of g, 0.0078)",
        numbers(train["w1_to_target"]), numbers(best["w1_to_target"])[0],
        truths(train["w1_to_target"] < near), bool(best["w1_to_target"] < near),
    )  # fmt: skip
    yield Row(
        3, "the stopping criterion is met",
        [StopReason(int(r)).meaning for r in train["stop_reason"]], "–",
        truths(train["stop_reason"] == StopReason.CONVERGED),
    )  # fmt: skip
    total, there = (
        abs(controls["w"] + controls["b"]).isel(time=slice(1, None)).max("time")
        for controls in (train, best)
    )
    yield Row(
        3, "w + b ≈ 0 (largest |w + b|; holds below 0.1)", numbers(total), numbers(there)[0],
        truths(total < 0.1), bool(there < 0.1),
    )  # fmt: skip
    rise = train["cost_history"].diff("iteration").max("iteration").clip(0) / train["cost"]
    yield Row(
        3, "the cost decreases monotonically (largest rise in an iteration, over J; holds up to "
        "10⁻⁶)",
        numbers(rise, ".1g"), "–", truths(rise <= 1e-6),
    )  # fmt: skip


def figure_4(stores: Stores) -> Iterator[Row]:
    """The final states of Test 3."""
    train, best, law = (
        final(stores["herty-test-3"]).squeeze("activation"),
        optimum(stores, "sigmoid", 3),
        _target(3),
    )
    gap, there = (abs(state["mean"] - law.mean) for state in (train, best))
    yield Row(
        4, "the mean of g is reproduced from both starts (|difference|; holds below 0.025)",
        from_both(gap), numbers(there)[0], truths(gap < WIDTH), bool(there < WIDTH),
    )  # fmt: skip
    ratio, there = (state["variance"] / law.variance for state in (train, best))
    yield Row(
        4, "the variance of g is not (variance over that of g; holds outside 0.9 … 1.1)",
        from_both(ratio), numbers(there)[0], truths(abs(ratio - 1) > 0.1),
        bool(abs(there - 1) > 0.1),
    )  # fmt: skip
    tops = [
        stores[name][f"limit/cells_{cells}/density"].sel(snapshot=1.0).max("x")
        for name, cells in (("herty-test-3", 400), ("herty-optima", FINE))
    ]
    height = tops[0].squeeze() / _height(law)
    there = tops[1].isel(test=OPTIMUM["sigmoid", 3]) / _height(law)
    yield Row(
        4, "nor is the height of its peak (that of f_T over that of g; holds outside 0.9 … 1.1)",
        from_both(height), numbers(there)[0], truths(abs(height - 1) > 0.1),
        bool(abs(there - 1) > 0.1),
    )  # fmt: skip
    other = stores["herty-optima"]["train"].to_dataset().isel(test=WITH_W2)
    there, effort = other["variance"] / law.variance, float(abs(other["w"]).max())
    yield Row(
        4, "this is a consequence of the loss (variance over that of g with the loss W2² instead; "
        "holds within 0.9 … 1.1)",
        [], f"{float(there):.3g}: γ_w = {float(other['gamma_w']):g} keeps |w| ≤ {effort:.2g}", [],
        bool(abs(there - 1) < 0.1),
    )  # fmt: skip


def controls_of_figure_4(stores: Stores) -> Iterator[Row]:
    """The controls of Test 3, without their pinned start."""
    train = final(stores["herty-test-3"]).isel(activation=0, time=slice(1, None))
    both = stores["herty-optima"]["train"].to_dataset().isel(test=[FROM_T, OPTIMUM["sigmoid", 3]])
    low, high = train["w"].min("time"), train["w"].max("time")
    least, most = float(both["w"].min()), float(both["w"].max())
    ends = [[f"{float(a):.3g} … {float(b):.3g}" for a, b in zip(*each, strict=True)]
            for each in zip(low, high, strict=True)]  # fmt: skip
    yield Row(
        4, "w(t) ≈ 10⁻³, constant (range of w; holds for 0 < w < 10⁻²)",
        [f"from {s}: {', '.join(e)}" for s, e in zip(("t", "0"), ends, strict=True)],
        f"{least:.3g} … {most:.3g}", truths((low > 0) & (high < 1e-2)), least > 0 and most < 1e-2,
    )  # fmt: skip
    apart, there = (abs(b[0] - b[1]).max("time") for b in (train["b"], both["b"]))
    yield Row(
        4, "b(t) differs with the start (largest difference; holds above 0.1)",
        numbers(apart), numbers(there)[0], truths(apart > 0.1), bool(there > 0.1),
    )  # fmt: skip
    excess = train["cost"] / float(both["cost"].min()) - 1
    found = " and ".join(numbers(both["optima"], ".0f"))
    starts = Study.load(STUDIES / "herty-optima.toml").training.starts
    yield Row(
        4, "there may be several optimal controls (J when stopped over that of the optimum, less "
        "1; holds if the starts lead to several optima)",
        from_both(excess, ".2%"),
        f"{found} from {starts} starts about t and 0, {numbers(there)[0]} apart",
        [], bool(both["optima"].max() > 1 or there > 0.1),
    )  # fmt: skip


def _target(test: int) -> Distribution:
    """The target g of a test."""
    study = Study.load(STUDIES / f"herty-test-{test}.toml")
    return study.case(study.values_at(study.axes, [0] * len(study.axes))).problem.target


def _height(law: Distribution) -> float:
    """The maximum of a density."""
    return float(law.pdf(np.linspace(*law.support(1e-6), 100_001)).max())


HEAD = """# The published tests, repeated

For every statement that Herty, Thünen, Trimborn and Visconti make about their Figures 1 to 4: what
the published algorithm gives at the published settings (block Gauss–Seidel with Armijo
backtracking, at most 10 halvings, TOL = 10⁻⁴, CWENO3 on the published cells, Δt = 10⁻²; studies
`herty-test-1`, `-2`, `-3`), and the exact (σ(x) = x) or converged optimum of the same problem
(L-BFGS on an exact discrete gradient, 200 intervals, controls not pinned, the best of five starts;
study `herty-optima`). The paper states neither the initial step ρ⁰ of the backtracking nor Armijo's
constant c: five pairs (ρ⁰, c) stand side by side,

{searches}.

No setting was chosen so as to agree. "From t" and "from 0" are the starts w⁰ = b⁰ = t and 0.

This page is written by `python docs/reproduction.py` from the stores of the studies
named in it; the rule that decides stands in each row.

| Figure | published | measured, published algorithm | exact or converged optimum | agrees? |
|---|---|---|---|---|
"""

COSTS = """
## Costs

J when stopped and the number of iterations, for the same pairs (ρ⁰, c).

| problem | J when stopped | iterations | J of the optimum | its iterations | exact J* |
|---|---|---|---|---|---|
"""


def page(stores: Stores, rows: list[Row]) -> str:
    """The page as Markdown."""
    train = stores["herty-test-1"]["train"]
    pairs = zip(train["initial_step"].values, train["armijo_constant"].values, strict=True)
    searches = ", ".join(f"({step:g}, {constant:g})" for step, constant in pairs)
    costs = [
        f"| Test {test}, {name} | {'; '.join(numbers(t['cost'], '.5g'))} "
        f"| {'; '.join(numbers(t['iterations'], '.0f'))} "
        f"| {float(best['cost']):.6g} | {int(best['iterations'])} | {_exact(best)} |"
        for name, test, t, best in _problems(stores)
    ]
    parts = [
        HEAD.format(searches=searches),
        *(f"{row}\n" for row in rows),
        COSTS,
        *(f"{line}\n" for line in costs),
        gamma_section(stores["gamma-sweep"]),
        optima_section(stores["gamma-sweep"]),
        refinement_section(stores["training-refinement"]),
        convergence_section(stores["optimal-control-convergence"]),
    ]
    shown = f"(ρ⁰, c) = {searches.split('), ')[DRAWN]})"
    parts += [
        f"\n## Figure {n}\n\n![{text}](reproduction-figure-{n}.png)\n\n{text}, {shown}.\n"
        for n, text in enumerate(CAPTIONS, start=1)
    ]
    return "".join(parts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    return "\n".join(lines) + "\n"


DATA = (
    ("Test 1", 1.0, 1 / 12),
    ("Test 2", 1.0, (0.1 * np.exp(-0.25)) ** 2),
)
"""The data of gamma-sweep: name, mean and variance of g."""
LEAST = 0.1 * (1 - np.exp(-0.25)) / np.sqrt(2 * np.pi)
"""The least W1 to the g of Test 2 that flows to the right can reach."""
SMALL = 1e-3
"""The largest γ that slopes are fitted to."""


def gamma_section(store: xr.DataTree) -> str:
    """What is left of the distance to g with the loss W2², against γ."""
    train = store["train"].to_dataset().sel(loss="w2").sortby("gamma", ascending=False)
    parts = []
    for number, (name, mean, variance) in enumerate(DATA):
        at = train.isel(data=number)
        distance = at["w1_to_target"]
        columns = {
            "identity: \\|m_T − m_g\\|": abs(at["mean"].sel(activation="identity") - mean),
            "identity: \\|Var f_T − Var g\\|": abs(
                at["variance"].sel(activation="identity") - variance
            ),
            "identity: W1": distance.sel(activation="identity"),
            "tanh: W1": distance.sel(activation="tanh"),
            "tanh: W1/√γ": distance.sel(activation="tanh") / np.sqrt(at["gamma"]),
            "sigmoid: W1": distance.sel(activation="sigmoid"),
            "sigmoid: W1/√γ": distance.sel(activation="sigmoid") / np.sqrt(at["gamma"]),
        }
        rows = [
            [f"{gamma:g}", *(f"{float(c.sel(gamma=gamma)):.3g}" for c in columns.values())]
            for gamma in at["gamma"].values
        ]
        slopes = [f"**{_slope(column):.3f}**" for column in columns.values()]
        parts.append(f"\n{name}:\n\n{table(['γ', *columns], [*rows, ['**slope**', *slopes]])}")
    return GAMMA + "".join(parts)


def _slope(column: xr.DataArray) -> float:
    """The slope of log error over log γ at the small γ."""
    small = column.where(column["gamma"] <= SMALL, drop=True)
    return float(np.polyfit(np.log(small["gamma"]), np.log(small), 1)[0])


GAMMA = f"""
## The loss W2², over γ

How well the final states of Tests 1 and 2 recover g with this loss, as γ falls (study
`gamma-sweep`); the last row has the exponent of γ, fitted to γ ≤ {SMALL:g}. With σ(x) = x mean and
variance are those of g up to O(γ). With tanh and sigmoid a gap is left in Test 1, of the order √γ
but for a slowly growing factor. Test 2 is another matter: tanh can contract f_0 about its mean, and
its gap is O(γ) as well; the sigmoid is positive and moves nothing to the left, so its gap does not
vanish: W1 ≥ ∫_½^1 (Q_0 − Q_g) du = {LEAST:.3g} for all controls.
"""


def optima_section(store: xr.DataTree) -> str:
    """How many distinct optima the starts led to."""
    train = store["train"].to_dataset().sortby("gamma", ascending=False)
    rows = [
        [str(name), loss.replace("w2", "W2²"), DATA[number][0], *map(_count, points)]
        for name in train["activation"].values
        for loss in train["loss"].values
        for number in range(len(DATA))
        for at in [train.sel(activation=name, loss=loss).isel(data=number)]
        for points in [[at.sel(gamma=gamma) for gamma in train["gamma"].values]]
    ]
    header = ["σ", "loss", "data", *(f"γ = {gamma:g}" for gamma in train["gamma"].values)]
    return f"{OPTIMA}\n{table(header, rows)}"


def _count(point: xr.Dataset) -> str:
    stopped = int(point["stop_reason"]) != StopReason.CONVERGED
    return f"{int(point['optima'])}{'*' if stopped else ''}"


OPTIMA = """
## Local minima

How many distinct optima five starts lead to (study `gamma-sweep`): the first from the optimum at
ten times the γ, the others at random about it; two optima are one if their controls differ by less
than a twentieth in L². For relu w = b = 0 is one of them, where relu′ and so the gradient is 0. A
star: the best run did not meet its tolerance, 10⁻⁶ of J to first order (relu has a kink; with W2² J
becomes so small that rounding comes first).
"""


def refinement_section(store: xr.DataTree) -> str:
    """The Eulerian optimum against cells."""
    train = store["train"].to_dataset().squeeze()
    gap = (train["cost"] - train["cost_exact"]).values
    orders = ["–", *(f"{order:.2f}" for order in np.log2(gap[:-1] / gap[1:]))]
    rows = [
        [f"{int(n)}", f"{float(c):.6g}", f"{g:.3g}", o]
        for n, c, g, o in zip(
            train["training_cells"].values, train["cost"].values, gap, orders, strict=True
        )
    ]
    return f"""
## The Eulerian optimum under refinement

Test 1, σ(x) = x, γ = 10⁻³ (study `training-refinement`): J* = {float(train["cost_exact"][0]):.7g}.

{table(["cells", "J of the discretised optimum", "J − J*", "order"], rows)}"""


def convergence_section(store: xr.DataTree) -> str:
    """Optimal controls of M samples against those of the mean field."""
    train, analysis = (store[name].to_dataset().squeeze("gamma") for name in ("train", "analysis"))
    rows = []
    for name in train["activation"].values:
        at, fit = train.sel(activation=name), analysis.sel(activation=name)
        distance = at["control_distance"].sel(norm="L2").mean("seed")
        rows.append([
            str(name), *(f"{d:.3g}" for d in distance.sortby("training_particles").values),
            _fit(fit, "control_rate", norm="L2"), _fit(fit, "control_rate", norm="C0"),
            _fit(fit, "cost_gap_rate"),
        ])  # fmt: skip
    sizes = [f"M = {m:g}" for m in np.sort(train["training_particles"].values)]
    header = ["σ", *sizes, "rate, L²", "rate, C⁰", "rate of the cost"]
    return f"""
## Do the optimal controls of M samples converge to the mean-field ones?

The question that the paper leaves open (its section 5), on Test 1 with γ = 0.1: the mean over
{train["seed"].size} seeds of ‖(w, b)_M − (w, b)‖ in L², and the exponents of M with 95 % confidence
intervals, of the controls and of |J_M − J| (study `optimal-control-convergence`).

{table(header, rows)}"""


def _fit(fit: xr.Dataset, name: str, **place: str) -> str:
    low, value, high = (
        float(fit[f"{name}{end}"].sel(place) if place else fit[f"{name}{end}"])
        for end in ("_low", "", "_high")
    )
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


CAPTIONS = (
    "Final states of Test 1",
    "Change, cost and controls of Test 1",
    "Test 2",
    "Test 3 from both starts",
)


def _exact(best: xr.Dataset) -> str:
    value = float(best["cost_exact"])
    return f"{value:.6g}" if np.isfinite(value) else "–"


def _problems(stores: Stores) -> Iterator[tuple[str, int, xr.Dataset, xr.Dataset]]:
    for name, test in OPTIMUM:
        train = final(stores[f"herty-test-{test}"]).sel(activation=name)
        best = optimum(stores, name, test)
        if "start" not in train.dims:
            yield name, test, train, best
            continue
        for start, text in enumerate(("t", "0")):
            yield f"{name}, from {text}", test, train.isel(start=start), best


def draw(stores: Stores) -> None:
    """The four figures."""
    figures = [_final_states(stores), _courses(stores), _test_2(stores), _test_3(stores)]
    for number, figure in enumerate(figures, start=1):
        figure.savefig(DOCS / f"reproduction-figure-{number}.png", dpi=110)


def _drawn(stores: Stores, test: int) -> xr.Dataset:
    """The training that the figures of a test show."""
    return final(stores[f"herty-test-{test}"]).isel(line_search=DRAWN)


def _densities(panel: Axes, stores: Stores, test: int, activation: str, start: int = 0) -> None:
    """Initial, final and target density, and the final one of the optimum."""
    store = stores[f"herty-test-{test}"]
    cells = int(store["limit/cells"][0])
    field = store[f"limit/cells_{cells}/density"].sel(activation=activation)
    field = field.isel(line_search=DRAWN, start=start, missing_dims="ignore").squeeze()
    best = stores["herty-optima"][f"limit/cells_{FINE}/density"]
    best = best.isel(test=OPTIMUM[activation, test]).sel(snapshot=1.0)
    x = np.linspace(-2, 3, 2001)
    panel.plot(best["x"], best, color="0.6", lw=1, label="optimum")
    panel.plot(field["x"], field.sel(snapshot=0.0), "b:", label=r"$f_0$")
    panel.plot(x, _target(test).pdf(x), "r", lw=1, label=r"$g$")
    panel.plot(field["x"], field.sel(snapshot=1.0), "k--", label=r"$f_T$")
    panel.set(xlabel="x", xlim=(-1.0, 2.0))
    panel.legend(fontsize=8, loc="upper right" if test == 3 else "upper left")


def _label(panel: Axes, title: str, xlabel: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xlabel(xlabel)
    if panel.get_legend_handles_labels()[0] and panel.get_legend() is None:
        panel.legend(fontsize=8)


def _course(panels: Sequence[Axes], at: xr.Dataset, style: str, label: str | None) -> None:
    """Change of the controls and cost over the iterations."""
    change = at["change_history"].dropna("iteration")
    panels[0].loglog(change["iteration"], change, style, label=label)
    _cost(panels[1], at, style, label)


def _cost(panel: Axes, at: xr.Dataset, style: str, label: str | None) -> None:
    cost = at["cost_history"].dropna("iteration")
    panel.plot(cost["iteration"], cost, style, label=label)
    panel.set_xscale("symlog", linthresh=1.0)  # logarithmic, with the initial cost at 0
    panel.margins(x=0.0)


def _final_states(stores: Stores) -> Figure:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for panel, name in zip(figure.subplots(1, 3), NAMED, strict=True):
        _densities(panel, stores, 1, name)
        panel.set_title(name, fontsize=10)
    return figure


def _courses(stores: Stores) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    for name, style in zip(NAMED, ("-", "--", ":"), strict=True):
        at = _drawn(stores, 1).sel(activation=name)
        _course(panels[0], at, style, name)
        panels[1, 0].plot(at["time"], at["w"], style, label=name)
        panels[1, 1].plot(at["time"], at["b"], style, label=name)
    _label(panels[0, 0], "relative change of the controls", "iteration")
    _label(panels[0, 1], "cost", "iteration")
    _label(panels[1, 0], "w(t)", "t")
    _label(panels[1, 1], "b(t)", "t")
    return figure


def _test_2(stores: Stores) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    at = _drawn(stores, 2).squeeze("activation")
    _densities(panels[0, 0], stores, 2, "identity")
    for name, values in (("w", at["w"]), ("b", at["b"]), ("w + b", at["w"] + at["b"])):
        panels[0, 1].plot(at["time"], values, label=name)
    panels[0, 1].set_ylim(top=2.0)  # room for the legend
    _course(panels[1], at, "-", None)
    _label(panels[0, 0], "densities", "x")
    _label(panels[0, 1], "controls", "t")
    _label(panels[1, 0], "relative change of the controls", "iteration")
    _label(panels[1, 1], "cost", "iteration")
    return figure


def _test_3(stores: Stores) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3)
    best = optimum(stores, "sigmoid", 3)
    for row, name in enumerate(("t", "0")):
        at = _drawn(stores, 3).squeeze("activation").isel(start=row)
        t = at["time"]
        _densities(panels[row, 0], stores, 3, "sigmoid", row)
        panels[row, 1].plot(best["time"], best["b"], color="0.6", label="b of the optimum")
        for values, line in ((at["w"], "C0"), (at["b"], "C1")):
            panels[row, 1].plot(t, values, line, label=values.name)
        panels[row, 1].plot(t, np.exp(t) - 1, "C0:", label=r"$w_e$")
        panels[row, 1].plot(t, -5 * t**2 + t, "C1:", label=r"$b_e$")
        _cost(panels[row, 2], at, "-", None)
        _label(panels[row, 0], f"densities, from w = b = {name}", "x")
        _label(panels[row, 1], "controls", "t")
        _label(panels[row, 2], "cost", "iteration")
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs"))

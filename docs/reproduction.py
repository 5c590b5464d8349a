"""Write docs/reproduction.md and its figures from the stores of the published tests.

    meanfield run studies/herty-test-1.toml      (and the others in NAMES)
    python docs/reproduction.py [folder of the runs]

Every number on the page is read from a store; `agrees` is decided here, by the rule in each row.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from pipeline.study import Study
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
"""Distance in W1 up to which a final state counts as recovering the target: a cell of Test 1."""
OPTIMUM = {("identity", 1): 0, ("tanh", 1): 1, ("sigmoid", 1): 2, ("identity", 2): 3,
           ("sigmoid", 3): 4}  # fmt: skip
"""Where each problem stands in the study herty-optima."""


@dataclass(frozen=True)
class Row:
    """One statement of the paper about a figure.

    Attributes:
        figure: the figure.
        statement: what is said, and the rule that decides.
        measured: what the published algorithm gives for each initial step (and start).
        optimum: the same of the exact or converged optimum.
        holds: whether the statement holds, for each.
    """

    figure: int
    statement: str
    measured: list[str]
    optimum: str
    holds: list[bool]

    @property
    def verdict(self) -> str:
        """Whether measurement and statement agree."""
        if all(self.holds):
            return "yes"
        return "for some settings" if any(self.holds) else "no"


def main(runs: Path) -> None:
    """Read the stores and write the page."""
    stores = {}
    for name in NAMES:
        path = runs / name / "data.zarr"
        if not path.is_dir():
            sys.exit(f"{path}: no store; run `meanfield run studies/{name}.toml` first")
        stores[name] = xr.open_datatree(path)
    rows = [*test_1(stores), *test_2(stores), *test_3(stores)]
    draw(stores)
    (DOCS / "reproduction.md").write_text(page(stores, rows))
    print(f"{DOCS / 'reproduction.md'}: {len(rows)} statements")


def final(store: xr.DataTree) -> xr.Dataset:
    """The training at the study's single γ."""
    return store["train"].to_dataset().squeeze("gamma")


def optimum(stores: dict[str, xr.DataTree], activation: str, test: int) -> xr.Dataset:
    """The converged optimum of a problem."""
    return stores["herty-optima"]["train"].to_dataset().isel(test=OPTIMUM[activation, test])


def numbers(values: xr.DataArray, spec: str = ".3g") -> list[str]:
    """Numbers as text."""
    return [format(float(value), spec) for value in np.ravel(values)]


def test_1(stores: dict[str, xr.DataTree]) -> Iterator[Row]:
    """Figures 1 and 2."""
    train = final(stores["herty-test-1"])
    steps = train["initial_step"].size
    best = {a: optimum(stores, a, 1) for a in ("identity", "tanh", "sigmoid")}
    identity = train.sel(activation="identity")
    others = [train.sel(activation=name) for name in ("tanh", "sigmoid")]
    distance = identity["w1_to_target"]
    yield Row(
        1, "identity: the final state recovers g (W1 to g below 0.025)", numbers(distance),
        f"{float(best['identity']['w1_to_target']):.3g}", list((distance < WIDTH).values),
    )  # fmt: skip
    worse = np.min([o["w1_to_target"] for o in others], axis=0)
    yield Row(
        1, "identity approximates g better than tanh and sigmoid (W1 to g, identity / better of "
        "the others)",
        [f"{a:.3g} / {b:.3g}" for a, b in zip(distance.values, worse, strict=True)],
        " / ".join(f"{float(best[a]['w1_to_target']):.3g}" for a in ("identity", "tanh")),
        list(distance.values < worse),
    )  # fmt: skip
    converged = (train["stop_reason"] == StopReason.CONVERGED).all("activation")
    yield Row(
        2, "the relative change of the controls reaches TOL for all activations",
        [", ".join(StopReason(int(r)).meaning for r in train["stop_reason"].isel(initial_step=i))
         for i in range(steps)],
        "–", list(converged.values),
    )  # fmt: skip
    cost = train["cost"]
    larger = (cost.sel(activation=["tanh", "sigmoid"]) > cost.sel(activation="identity")).all(
        "activation"
    )
    yield Row(
        2, "the costs of tanh and sigmoid are larger than that of identity (identity, tanh, "
        "sigmoid)",
        [", ".join(numbers(cost.isel(initial_step=i), ".4g")) for i in range(steps)],
        ", ".join(f"{float(best[a]['cost']):.4g}" for a in best), list(larger.values),
    )  # fmt: skip
    excess = np.array([
        [float(o["cost"].isel(initial_step=i) / best[a]["cost"] - 1) for a, o in
         zip(("tanh", "sigmoid"), others, strict=True)] for i in range(steps)
    ])  # fmt: skip
    yield Row(
        2, "the costs of tanh and sigmoid are still decreasing towards a minimum (excess over it "
        "when stopped)",
        [", ".join(f"{100 * e:.2g} %" for e in each) for each in excess],
        "0", list((excess > 1e-3).all(axis=1)),
    )  # fmt: skip
    first = train["cost_history"].isel(iteration=0)
    yield Row(
        2, "the initial guess is better for sigmoid (cost of w = b = 0: identity, tanh, sigmoid)",
        [", ".join(numbers(first.isel(initial_step=0), ".3g"))],
        "–", [bool(np.argmin(first.isel(initial_step=0).values) == 2)],
    )  # fmt: skip
    largest = abs(train["w"]).max("time")
    yield Row(
        2, "w(t) ≈ 0 (largest |w|: identity, tanh, sigmoid; holds below 0.1)",
        [", ".join(numbers(largest.isel(initial_step=i))) for i in range(steps)],
        ", ".join(f"{float(abs(best[a]['w']).max()):.3g}" for a in best),
        list((largest < 0.1).all("activation").values),
    )  # fmt: skip
    inner = train["b"].isel(time=slice(1, None))
    spread = (inner.max("time") - inner.min("time")) / abs(inner.mean("time"))
    yield Row(
        2, "b(t) = C, constant (spread over mean, without the pinned start; holds below 10 %)",
        [", ".join(f"{100 * float(s):.2g} %" for s in spread.isel(initial_step=i))
         for i in range(steps)],
        ", ".join(
            f"{100 * np.ptp(best[a]['b'].values) / float(best[a]['b'].mean()):.2g} %" for a in best
        ),
        list((spread < 0.1).all("activation").values),
    )  # fmt: skip
    mean = inner.sel(activation="identity").mean("time")
    yield Row(
        2, "identity: C ≈ 1 (mean of b; holds within 0.1)", numbers(mean),
        f"{float(best['identity']['b'].mean()):.3g}", list((abs(mean - 1) < 0.1).values),
    )  # fmt: skip


def test_2(stores: dict[str, xr.DataTree]) -> Iterator[Row]:
    """Figure 3."""
    train = final(stores["herty-test-2"]).squeeze("activation")
    best = optimum(stores, "identity", 2)
    distance, target = train["w1_to_target"], 0.1 * np.exp(-0.25)
    yield Row(
        3, "the final state recovers g (W1 to g; holds below a tenth of the standard deviation "
        "of g, 0.0078)",
        numbers(distance), f"{float(best['w1_to_target']):.3g}",
        list((distance < 0.1 * target).values),
    )  # fmt: skip
    total = abs(train["w"] + train["b"]).isel(time=slice(1, None)).max("time")
    yield Row(
        3, "w + b ≈ 0 (largest |w + b|; holds below 0.1)", numbers(total),
        f"{float(abs(best['w'] + best['b']).max()):.3g}", list((total < 0.1).values),
    )  # fmt: skip
    rise = train["cost_history"].diff("iteration").fillna(-1.0).max("iteration")
    falls = rise <= 1e-6 * train["cost"]
    yield Row(
        3, "the cost decreases monotonically (up to 10⁻⁶ of it; iterations)",
        numbers(train["iterations"], ".0f"), f"{float(best['iterations']):.0f}", list(falls.values),
    )  # fmt: skip


def test_3(stores: dict[str, xr.DataTree]) -> Iterator[Row]:
    """Figure 4."""
    train = stores["herty-test-3"]["train"].to_dataset()
    train = train.squeeze(["activation", "gamma_w", "gamma_b"])
    best = optimum(stores, "sigmoid", 3)
    law = _target_of_test_3()
    starts = Study.load(STUDIES / "herty-optima.toml").training.starts
    gap = abs(train["mean"] - law.mean).transpose("start", "initial_step")
    yield Row(
        4, "the mean of g is reproduced from both starts (|difference|; holds below 0.025)",
        numbers(gap), f"{abs(float(best['mean']) - law.mean):.3g}",
        list(np.ravel(gap < WIDTH)),
    )  # fmt: skip
    ratio = (train["variance"] / law.variance).transpose("start", "initial_step")
    yield Row(
        4, "the variance of g is not (variance over that of g; holds outside 0.9 … 1.1)",
        numbers(ratio), f"{float(best['variance']) / law.variance:.3g}",
        list(np.ravel(abs(ratio - 1) > 0.1)),
    )  # fmt: skip
    low, high = (getattr(train["w"].isel(time=slice(1, None)), end)("time") for end in
                 ("min", "max"))  # fmt: skip
    low, high = (each.transpose("start", "initial_step") for each in (low, high))
    yield Row(
        4, "w(t) ≈ 10⁻³, constant (range of w; holds for 0 < w < 10⁻²)",
        [f"{a:.3g} … {b:.3g}" for a, b in zip(np.ravel(low), np.ravel(high), strict=True)],
        f"{float(best['w'].min()):.3g} … {float(best['w'].max()):.3g}",
        list(np.ravel((low > 0) & (high < 0.01))),
    )  # fmt: skip
    apart = abs(train["b"].isel(start=0) - train["b"].isel(start=1)).max("time")
    yield Row(
        4, "b(t) differs with the start (largest difference; holds above 0.1)", numbers(apart),
        "0", list((apart > 0.1).values),
    )  # fmt: skip
    excess = (train["cost"] / float(best["cost"]) - 1).transpose("start", "initial_step")
    yield Row(
        4, "there may be several optimal controls (excess of the cost over the one optimum found; "
        "holds above 10 %)",
        [f"{100 * float(e):.2g} %" for e in np.ravel(excess)],
        f"{int(best['optima'])} optimum from {starts} starts",
        list(np.ravel(excess > 0.1)),
    )  # fmt: skip


def _target_of_test_3():  # noqa: ANN202
    return Study.load(STUDIES / "herty-test-3.toml").case(
        {"activation": "sigmoid", "cells": 400}
    ).problem.target  # fmt: skip


HEAD = """# The published tests, repeated

For every statement that Herty, Thünen, Trimborn and Visconti make about their Figures 1 to 4: what
the published algorithm gives at the published settings (block Gauss–Seidel with Armijo
backtracking, at most 10 halvings, TOL = 10⁻⁴, CWENO3 on the published cells, Δt = 10⁻²), and the
exact (σ(x) = x) or converged optimum of the same problem (L-BFGS on an exact discrete gradient, 200
intervals, controls not pinned, five starts). The paper states neither the initial step ρ⁰ of the
backtracking nor Armijo's constant; here the constant is 10⁻⁴ and three initial steps stand side by
side: ρ⁰ = {steps}. No setting was chosen so as to agree. Where there are two starts, the values for
w⁰ = b⁰ = t come first.

This page is written by `python docs/reproduction.py` from the stores of the studies
named in it; the rule that decides stands in each row.

| Figure | published | measured, published algorithm | exact or converged optimum | agrees? |
|---|---|---|---|---|
"""

COSTS = """
## Costs

| problem | J when stopped, ρ⁰ = {steps} | iterations | J of the optimum | exact J* |
|---|---|---|---|---|
"""


def page(stores: dict[str, xr.DataTree], rows: list[Row]) -> str:
    """The page as Markdown."""
    steps = ", ".join(f"{s:g}" for s in stores["herty-test-1"]["train"]["initial_step"].values)
    lines = [
        f"| {r.figure} | {r.statement.replace('|', chr(92) + '|')} "
        f"| {'; '.join(r.measured)} | {r.optimum} | {r.verdict} |"
        for r in rows
    ]
    costs = [
        f"| Test {test}, {name} | {'; '.join(numbers(t['cost'], '.5g'))} "
        f"| {'; '.join(numbers(t['iterations'], '.0f'))} "
        f"| {float(best['cost']):.6g} | {_exact(best)} |"
        for name, test, t, best in _problems(stores)
    ]
    figures = [
        f"\n## Figure {n}\n\n![{text}](reproduction-figure-{n}.png)\n"
        for n, text in enumerate(CAPTIONS, start=1)
    ]
    parts = [HEAD.format(steps=steps), "\n".join(lines), "\n", COSTS.format(steps=steps)]
    further = [
        gamma_section(stores["gamma-sweep"]),
        refinement_section(stores["training-refinement"]),
        convergence_section(stores["optimal-control-convergence"]),
    ]
    return "".join([*parts, "\n".join(costs), "\n", *further, *figures])


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    return "\n".join(lines) + "\n"


def gamma_section(store: xr.DataTree) -> str:
    """What is left of the distance to g with the loss W2², against γ."""
    train = store["train"].to_dataset().sel(loss="w2").sortby("gamma", ascending=False)
    rows = []
    for gamma in train["gamma"].values:
        at = train.sel(gamma=gamma)
        one = at.sel(activation="identity")
        rows.append([
            f"{gamma:g}", f"{abs(float(one['mean']) - 1):.3g}",
            f"{abs(float(one['variance']) - 1 / 12):.3g}",
            f"{abs(float(one['mean']) - 1) / gamma:.3g}",
            *(f"{float(at['w1_to_target'].sel(activation=a)) / np.sqrt(gamma):.3g}"
              for a in ("tanh", "sigmoid")),
        ])  # fmt: skip
    header = ["γ", "identity: mean − m_g", "variance − var g", "(mean − m_g)/γ",
              "tanh: W1/√γ", "sigmoid: W1/√γ"]  # fmt: skip
    return f"""
## The loss W2², over γ

With σ(x) = x the final state of Test 1 recovers g, mean and variance up to a multiple of γ; with
tanh and sigmoid a gap is left, here over √γ (study `gamma-sweep`).

{table(header, rows)}"""


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
    "final states of Test 1",
    "change, cost and controls of Test 1",
    "Test 2",
    "Test 3 from both starts",
)


def _exact(best: xr.Dataset) -> str:
    value = float(best["cost_exact"])
    return f"{value:.6g}" if np.isfinite(value) else "–"


def _problems(
    stores: dict[str, xr.DataTree],
) -> Iterator[tuple[str, int, xr.Dataset, xr.Dataset]]:
    for name, test in OPTIMUM:
        train = stores[f"herty-test-{test}"]["train"].to_dataset().sel(activation=name)
        train = train.squeeze([d for d in ("gamma", "gamma_w", "gamma_b") if d in train.dims])
        starts = train["start"].size if "start" in train.dims else 1
        for start in range(starts):
            which = f", start {'t' if start == 0 else '0'}" if starts > 1 else ""
            at = train.isel(start=start) if starts > 1 else train
            yield name + which, test, at, optimum(stores, name, test)


def draw(stores: dict[str, xr.DataTree]) -> None:
    """The four figures, at initial step 1."""
    one = stores["herty-test-1"]
    _final_states(one).savefig(DOCS / "reproduction-figure-1.png", dpi=110)
    _courses(final(one).sel(initial_step=1.0)).savefig(DOCS / "reproduction-figure-2.png", dpi=110)
    _test_2_figure(stores).savefig(DOCS / "reproduction-figure-3.png", dpi=110)
    _test_3_figure(stores).savefig(DOCS / "reproduction-figure-4.png", dpi=110)


def _densities(panel, store: xr.DataTree, cells: int, **place) -> None:  # noqa: ANN001, ANN003
    field = store[f"limit/cells_{cells}"].to_dataset().sel(place).squeeze()
    panel.plot(field["x"], field["density"].sel(snapshot=0.0), "b:", label=r"$f_0$")
    panel.plot(field["x"], field["density"].sel(snapshot=1.0), "k--", label=r"$f_T$")


def _target(panel, law) -> None:  # noqa: ANN001
    x = np.linspace(-2, 3, 2001)
    panel.plot(x, law.pdf(x), "r", lw=1, label=r"$g$")
    panel.set(xlabel="x", xlim=(-1.0, 2.0))
    panel.legend(fontsize=7)


def _final_states(store: xr.DataTree) -> Figure:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    law = Study.load(STUDIES / "herty-test-1.toml").case({"activation": "tanh"}).problem.target
    for panel, name in zip(figure.subplots(1, 3), ("identity", "tanh", "sigmoid"), strict=True):
        _densities(panel, store, 200, activation=name, initial_step=1.0)
        _target(panel, law)
        panel.set_title(name, fontsize=10)
    return figure


def _courses(train: xr.Dataset) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    for name, style in (("identity", "-"), ("tanh", "--"), ("sigmoid", ":")):
        at = train.sel(activation=name)
        panels[0, 0].loglog(at["iteration"][1:], at["change_history"][1:], style, label=name)
        panels[0, 1].semilogx(at["iteration"] + 1, at["cost_history"], style, label=name)
        panels[1, 0].plot(at["time"], at["w"], style, label=name)
        panels[1, 1].plot(at["time"], at["b"], style, label=name)
    for panel, title in zip(
        panels.flat, ("change of the controls", "cost", "w(t)", "b(t)"), strict=True
    ):
        panel.set_title(title, fontsize=10)
        panel.legend(fontsize=7)
    return figure


def _test_2_figure(stores: dict[str, xr.DataTree]) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2)
    train = final(stores["herty-test-2"]).squeeze("activation").sel(initial_step=1.0)
    _densities(panels[0, 0], stores["herty-test-2"], 400, initial_step=1.0)
    _target(panels[0, 0], Study.load(STUDIES / "herty-test-2.toml").case(
        {"activation": "identity"}).problem.target)  # fmt: skip
    for name, values in (("w", train["w"]), ("b", train["b"]), ("w + b", train["w"] + train["b"])):
        panels[0, 1].plot(train["time"], values, label=name)
    panels[0, 1].legend(fontsize=7)
    panels[1, 0].loglog(train["iteration"][1:], train["change_history"][1:])
    panels[1, 0].set_title("change of the controls", fontsize=10)
    panels[1, 1].semilogx(train["iteration"] + 1, train["cost_history"])
    panels[1, 1].set_title("cost", fontsize=10)
    return figure


def _test_3_figure(stores: dict[str, xr.DataTree]) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3)
    store = stores["herty-test-3"]
    train = store["train"].to_dataset().squeeze(["activation", "gamma_w", "gamma_b"])
    law = _target_of_test_3()
    for row, name in enumerate(("t", "0")):
        start = train["start"].values[row]
        at = train.isel(start=row).sel(initial_step=1.0)
        _densities(panels[row, 0], store, 400, start=start, initial_step=1.0)
        _target(panels[row, 0], law)
        panels[row, 0].set_title(f"start w = b = {name}", fontsize=10)
        t = at["time"]
        panels[row, 1].plot(t, at["w"], "C0", label="w")
        panels[row, 1].plot(t, at["b"], "C1", label="b")
        panels[row, 1].plot(t, np.exp(t) - 1, "C0:", label=r"$w_e$")
        panels[row, 1].plot(t, -5 * t**2 + t, "C1:", label=r"$b_e$")
        panels[row, 1].legend(fontsize=7)
        panels[row, 2].semilogx(at["iteration"] + 1, at["cost_history"])
        panels[row, 2].set_title("cost", fontsize=10)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs"))

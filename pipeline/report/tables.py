"""The tables of a report: fits, trainings and times, with the numbers behind what is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures.style import show, word
from pipeline.figures.tables import frame, keys_of
from pipeline.statistics.plane import TERMS
from pipeline.status import Status


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read, and the number behind it."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of a report; its first columns, so many as ``keys``, say what a row is about."""

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    keys: int = 1


def tables_of(tree: xr.DataTree) -> list[Table]:
    """Every table that a store has numbers for."""
    makers = (_rates, _sliced, _plane, _budgets, _orders, _control_rates, _training, _times)
    return [table for make in makers if (table := make(tree))]


def number(value: object, digits: int = 3) -> Cell:
    """A number as a cell; a dash where there is none."""
    known = float(value) if isinstance(value, (int, float, np.number)) else math.nan
    if not math.isfinite(known):
        return Cell("–")
    return Cell(figure(known, digits), known)


def whole(value: object) -> Cell:
    """A whole number as a cell, with all its digits up to a million."""
    known = number(value, 0)
    if known.value is None:
        return known
    text = f"{known.value:,.0f}".replace(",", " ")
    return Cell(text if known.value < 1e6 else f"{known.value:.3g}", known.value)


def figure(value: float, digits: int) -> str:
    """A number as text: so many decimals, or so many digits where it is large or small."""
    extreme = value != 0 and not 1e-3 <= abs(value) < 1e5
    return (f"{value:.{digits}g}" if extreme else f"{value:.{digits}f}").replace("-", "−")


def _interval(row: Mapping[str, Any], name: str, digits: int = 3) -> Cell:
    """A fitted number with its 95 % interval."""
    value = number(row[name], digits)
    low, high = (number(row.get(f"{name}{end}"), digits) for end in ("_low", "_high"))
    if value.value is None or low.value is None:
        return value
    return Cell(f"{value.text} [{low.text}, {high.text}]", value.value)


def _label(value: object) -> Cell:
    return Cell(show(value))


def _table(
    tree: xr.DataTree,
    name: str,
    caption: str,
    group: str,
    names: Sequence[str],
    optional: Sequence[str],
    columns: Mapping[str, Any],
    shown_if: Sequence[str] = (),
) -> Table | None:
    """A table of a group of the store: its axes, and a cell of each row for each column.

    Rows are left out where none of the names, or of what ``shown_if`` names, has a number.
    """
    try:
        found = frame(tree, group, names, optional)
    except FigureError:
        return None
    keys = keys_of(found, *names, *optional)
    found = found[found[list(shown_if or names)].notna().any(axis=1)]
    rows = [
        [*(_label(row[key]) for key in keys), *(make(row) for make in columns.values())]
        for row in found.to_dict(orient="records")
    ]
    return Table(name, caption, [*map(word, keys), *columns], rows, len(keys))


def _rates(tree: xr.DataTree) -> Table | None:
    optional = (
        "rate_low", "rate_high", "prefactor_low", "prefactor_high", "r_squared", "first_particles",
        "rate_expected", "prefactor_expected", "underpowered", "points_missing",
        "dobrushin_measured", "dobrushin_factor",
    )  # fmt: skip
    columns = {
        "rate [95 %]": lambda row: _interval(row, "rate"),
        "expected": lambda row: number(row["rate_expected"]),
        "R²": lambda row: number(row["r_squared"], 4),
        "fit from M": lambda row: number(row["first_particles"], 0),
        "prefactor [95 %]": lambda row: _interval(row, "prefactor", 4),
        "expected prefactor": lambda row: number(row["prefactor_expected"], 4),
        "growth": lambda row: number(row["dobrushin_measured"]),
        "its bound": lambda row: number(row["dobrushin_factor"]),
        "underpowered": lambda row: Cell({1: "yes", 0: "no"}.get(row["underpowered"], "–")),
        "points missing": lambda row: number(row["points_missing"], 0),
    }
    return _table(
        tree,
        "rates",
        "W₁ = prefactor · M^rate (rows whose points are missing have no fit)",
        "analysis",
        ["rate", "prefactor"],
        optional,
        columns,
        ["rate", "points_missing"],
    )


def _sliced(tree: xr.DataTree) -> Table | None:
    optional = ("sliced_rate_low", "sliced_rate_high", "sliced_rate_expected")
    columns = {
        "rate [95 %]": lambda row: _interval(row, "sliced_rate"),
        "expected": lambda row: number(row["sliced_rate_expected"]),
    }
    caption = "sliced W₁ = C · M^rate"
    return _table(tree, "sliced-rates", caption, "analysis", ["sliced_rate"], optional, columns)


def _plane(tree: xr.DataTree) -> Table | None:
    fitted = {
        "a": "sampling_rate",
        "C": "sampling_prefactor",
        "b": "grid_order",
        "D": "grid_prefactor",
        "floor": "plane_floor",
    }
    optional = [f"{name}{end}" for name in fitted.values() for end in ("_low", "_high")]
    optional += ["plane_power", "plane_misfit"]
    columns: dict[str, Any] = {
        f"{letter} [95 %]": lambda row, name=name: _interval(row, name, 4)
        for letter, name in fitted.items()
    }
    columns["p"] = lambda row: number(row["plane_power"], 0)
    columns["misfit"] = lambda row: number(row["plane_misfit"])
    columns["told apart"] = lambda row: Cell(_terms(row["plane_terms"]))
    caption = "(W₁ to the PDE solution)^p = (C · M^a)^p + (D · cells^−b)^p + floor^p"
    names = [*fitted.values(), "plane_terms"]
    return _table(tree, "plane", caption, "analysis", names, optional, columns)


def _terms(code: float) -> str:
    return TERMS[int(code)] if code >= 0 else "–"


def _budgets(tree: xr.DataTree) -> Table | None:
    try:
        sizes = frame(tree, "particles", ["w1_pde"])
    except FigureError:
        return None
    most = {key: sizes[key].max() for key in ("particles", "cells") if key in sizes}
    columns = {
        "particles M": lambda row: whole(row["best_particles"]),
        "cells N": lambda row: whole(row["best_cells"]),
        "W₁ of the fit": lambda row: number(row["best_error"], 5),
        "within the data": lambda row: Cell(_within(row, most)),
    }
    caption = "the best pair for each budget (nominal core-seconds of one realisation)"
    names = ["best_particles", "best_cells", "best_error"]
    return _table(tree, "budgets", caption, "analysis", names, (), columns)


def _within(row: Mapping[str, Any], most: Mapping[str, float]) -> str:
    """Whether a pair needs no extrapolation of the fit."""
    inside = all(row[f"best_{key}"] <= largest for key, largest in most.items())
    return "yes" if inside else "no: extrapolated"


def _orders(tree: xr.DataTree) -> Table | None:
    optional = (
        "l1_order_deviation", "l1_order_expected", "w1_order", "w1_order_deviation",
        "w1_order_expected",
    )  # fmt: skip
    columns = {
        "order in L1": lambda row: number(row["l1_order"], 2),
        "± (standard error)": lambda row: number(row["l1_order_deviation"], 2),
        "expected": lambda row: number(row["l1_order_expected"], 2),
        "order in W₁": lambda row: number(row["w1_order"], 2),
        "± (standard error) ": lambda row: number(row["w1_order_deviation"], 2),
        "expected ": lambda row: number(row["w1_order_expected"], 2),
    }
    caption = "error = C · cells^−order"
    return _table(tree, "orders", caption, "analysis", ["l1_order"], optional, columns)


def _control_rates(tree: xr.DataTree) -> Table | None:
    optional = ("control_rate_low", "control_rate_high")
    columns = {"rate [95 %]": lambda row: _interval(row, "control_rate")}
    caption = "distance to the mean-field controls = C · M^rate"
    return _table(tree, "control-rates", caption, "analysis", ["control_rate"], optional, columns)


def _training(tree: xr.DataTree) -> Table | None:
    try:
        optional = ["iterations", "w1_to_target", "cost_exact", "optima", "status"]
        found = frame(tree, "train", ["cost"], optional)
    except FigureError:
        return None
    numbers = ["cost", "iterations", "w1_to_target", "cost_exact", "optima", "stopped"]
    found["stopped"] = (found.pop("status") == Status.NOT_CONVERGED).astype(float)
    keys = keys_of(found, *numbers, "seed")
    means = found.groupby(keys, sort=False)[numbers].mean().reset_index()
    rows = [
        [
            *(_label(row[key]) for key in keys),
            number(row["cost"], 6),
            number(row["cost_exact"], 6),
            number(row["w1_to_target"], 5),
            number(row["iterations"], 0),
            number(row["optima"], 1),
            Cell("–" if row["stopped"] == 0 else f"{row['stopped']:.0%} of the runs"),
        ]
        for row in means.to_dict(orient="records")
    ]
    header = [
        *map(word, keys), "cost J", "exact minimum", "W₁ to the target", "iterations", "optima",
        "not converged",
    ]  # fmt: skip
    return Table("training", "trained controls, means over seeds", header, rows, len(keys))


def _times(tree: xr.DataTree) -> Table | None:
    rows = []
    for step in tree.children:
        try:
            seconds = frame(tree, str(step), ["wall_seconds"])["wall_seconds"].dropna()
        except FigureError:
            continue
        total, median, largest = seconds.sum(), seconds.median(), seconds.max()
        rows.append(
            [Cell(str(step)), number(len(seconds), 0), number(total, 1), number(median, 4),
             number(largest, 3)]
        )  # fmt: skip
    header = ["step", "points", "core seconds", "median s", "largest s"]
    return Table("times", "computing time by step", header, rows) if rows else None

"""What a run and a store say of themselves on the terminal."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from pipeline.analysis import expected_rate
from pipeline.analysis_tables import CONTROL_RATES, ORDERS, RATES
from pipeline.axes import brief, label
from pipeline.inner_coordinates import NORMS
from pipeline.layout import analysis_axes, analysis_tables, distinct
from pipeline.monitor import duration
from pipeline.orders import ERRORS, refinements
from pipeline.plan import Count, Estimate
from pipeline.session import Summary
from pipeline.status import Status
from pipeline.step_tables import print_steps
from pipeline.store import Store
from pipeline.text_table import print_table

if TYPE_CHECKING:
    from pipeline.compare import Difference


RATE_HEADER = (
    "t", "rate [95 % CI]", "expected rate", "prefactor [95 % CI]", "expected prefactor",
    "growth ≤ bound",
)  # fmt: skip


def analysis_records(store: Store) -> dict[str, Any]:
    """The analysis as numbers for scripts: the rates and the orders that the study has."""
    tables = analysis_tables(store.study)
    found: dict[str, Any] = {}
    if RATES in tables:
        found["rates"] = rate_records(store)
    if ORDERS in tables:
        found["orders"] = order_records(store)
    if CONTROL_RATES in tables:
        found["control_rates"] = control_rate_records(store)
    return found


def control_rate_records(store: Store) -> list[dict[str, Any]]:
    """Rates in M of the optimal controls (in L2 and C0) and of their cost, for scripts."""
    axes = [store.axes[a.name] for a in analysis_axes(store.study, CONTROL_RATES)]
    found = {
        v.name: np.asarray(store.array(f"analysis/{v.name}")[...]) for v in CONTROL_RATES.variables
    }
    records = []
    for index in store.points(axes):
        record = {key: label(v) for key, v in (store.values_at(axes, index) or {}).items()}
        for name, values in found.items():
            at = values[index]
            if at.ndim:
                record |= {f"{name}_{n}": _known(at[i]) for i, n in enumerate(NORMS)}
            else:
                record[name] = _known(at)
        records.append(record)
    return records


def print_control_rates(console: Console, store: Store) -> None:
    """The table of the rates of the optimal controls."""
    axes = analysis_axes(store.study, CONTROL_RATES)
    keys = [key for axis in axes for key in axis.telling_keys()]
    rows = [
        [
            *(brief(record[key]) for key in keys),
            *(
                _interval(*(record[f"control_rate{end}_{norm}"] for end in ("", "_low", "_high")))
                for norm in NORMS
            ),
            _interval(*(record[f"cost_gap_rate{end}"] for end in ("", "_low", "_high"))),
        ]
        for record in control_rate_records(store)
    ]
    header = [*keys, *(f"controls in {norm} [95 % CI]" for norm in NORMS), "cost [95 % CI]"]
    print_table(console, f"{store.study.name}: rates in training_particles", header, rows)


def rate_records(store: Store) -> list[dict[str, Any]]:
    """The analysis as a list: one dictionary per activation (and further axes) and snapshot."""
    axes = [store.axes[a.name] for a in analysis_axes(store.study, RATES)]
    names = [variable.name for variable in RATES.variables]
    found = {name: np.asarray(store.array(f"analysis/{name}")[...]) for name in names}
    records = []
    for index in map(tuple, np.argwhere(store.wanted(axes)).tolist()):
        values = store.values_at(axes, index) or {}
        sampling = str(values.get("sampling", store.study.numerics.sampling))
        point = {key: label(value) for key, value in values.items()}
        for s, time in enumerate(store.study.snapshots):
            known = {name: _known(found[name][(*index, s)]) for name in names}
            expected = {"rate_expected": expected_rate(sampling)}
            records.append({**point, "snapshot": time, **known, **expected})
    return records


def rate_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """The analysis as a table of text: its header and its rows."""
    axes = analysis_axes(store.study, RATES)
    keys = [key for axis in axes for key in axis.telling_keys()]
    rows = [
        [
            *(brief(record[key]) for key in keys),
            f"{record['snapshot']:g}",
            _interval(record["rate"], record["rate_low"], record["rate_high"]),
            f"{record['rate_expected']:g}",
            _interval(record["prefactor"], record["prefactor_low"], record["prefactor_high"]),
            _number(record["prefactor_expected"]),
            f"{_number(record['dobrushin_measured'])} ≤ {_number(record['dobrushin_factor'])}",
        ]
        for record in rate_records(store)
    ]
    return [*keys, *RATE_HEADER], rows


def print_run(console: Console, store: Store, summary: Summary) -> None:
    """The end of a run: the tables of its steps and of the analysis, and what was done."""
    print_steps(console, store)
    print_analysis(console, store)
    print_counts(console, summary.points)
    console.print(
        f"computed {summary.computed} points in {summary.wall_seconds:.1f} s, "
        f"{summary.core_seconds:.1f} core-seconds"
    )


def print_analysis(console: Console, store: Store) -> None:
    """The tables of the analysis that the study has."""
    tables = analysis_tables(store.study)
    if RATES in tables:
        print_rates(console, store)
    if ORDERS in tables and len(distinct(store.study.axes, "cells")) > 1:
        print_orders(console, store)
    if CONTROL_RATES in tables:
        print_control_rates(console, store)


def print_rates(console: Console, store: Store) -> None:
    """The table of rates."""
    header, rows = rate_rows(store)
    print_table(console, f"{store.study.name}: w1 = prefactor · M^rate", header, rows)


def order_records(store: Store) -> list[dict[str, Any]]:
    """The orders as a list: one dictionary per activation (and further axes) and snapshot."""
    axes = [store.axes[a.name] for a in analysis_axes(store.study, ORDERS)]
    fitted = {v.name: np.asarray(store.array(f"analysis/{v.name}")[...]) for v in ORDERS.variables}
    errors = {e: np.asarray(store.array(f"limit/{e}_error")[...]) for e in ERRORS}
    local = {e: np.asarray(store.array(f"analysis/{e}_order_local")[...]) for e in ERRORS}
    records = []
    for index, cells, places in refinements(store):
        point = {key: label(v) for key, v in (store.values_at(axes, index) or {}).items()}
        for s, time in enumerate(store.study.snapshots):
            at = {name: _known(values[(*index, s)]) for name, values in fitted.items()}
            rows = {f"{e}_error": [_known(errors[e][(*p, s)]) for p in places] for e in ERRORS}
            rows |= {
                f"{e}_order_local": [_known(local[e][(*p, s)]) for p in places] for e in ERRORS
            }
            records.append({**point, "snapshot": time, "cells": cells, **rows, **at})
    return records


def print_orders(console: Console, store: Store) -> None:
    """The table of errors and orders: a row for each number of cells, and the fit below them."""
    keys = [k for axis in analysis_axes(store.study, ORDERS) for k in axis.telling_keys()]
    rows = []
    for record in order_records(store):
        head = [*(brief(record[key]) for key in keys), f"{record['snapshot']:g}"]
        for i, cells in enumerate(record["cells"]):
            numbers = [
                text
                for e in ERRORS
                for text in (
                    _number(record[f"{e}_error"][i]),
                    _number(record[f"{e}_order_local"][i], ".2f"),
                )
            ]
            rows.append([*(head if i == 0 else [""] * len(head)), str(cells), *numbers])
        fits = [
            text
            for e in ERRORS
            for text in ("", _plus_minus(record[f"{e}_order"], record[f"{e}_order_deviation"]))
        ]
        rows.append([*[""] * len(head), "fit", *fits])
    header = [*keys, "t", "cells", "L1 error", "order", "W1 error", "order"]
    print_table(console, f"{store.study.name}: error of the PDE solution", header, rows)


def print_counts(console: Console, points: dict[str, Count]) -> None:
    """One line per step: how many points are done, failed (and why), pending."""
    for step, count in points.items():
        causes = ", ".join(
            f"{number} {Status(int(code)).meaning}" for code, number in sorted(count.failed.items())
        )
        failed = f"{count.failures} failed" + (f" ({causes})" if causes else "")
        console.print(
            f"{step}: {count.done} of {count.total} points done, {failed}, {count.pending} pending"
        )


def print_plan(console: Console, estimates: Sequence[Estimate]) -> None:
    """What a study will take."""
    rows = [
        [
            estimate.step,
            " × ".join(f"{axis.name} {len(axis)}" for axis in estimate.axes),
            str(estimate.points),
            str(estimate.shards),
            f"{estimate.core_seconds / 3600:.3g}",
            size(estimate.stored_bytes),
        ]
        for estimate in estimates
    ]
    header = ["step", "axes", "points", "shards", "core-hours", "size"]
    print_table(console, "plan (estimated)", header, rows)
    total = sum(estimate.core_seconds for estimate in estimates)
    console.print(f"about {duration(total)} on one core")


def print_differences(console: Console, differences: Sequence["Difference"]) -> None:
    """How the variables of two stores compare."""
    rows = [
        [d.variable, str(d.common), str(d.only_one), str(d.other_bits), f"{d.largest:.3g}"]
        for d in differences
    ]
    header = ["variable", "numbers", "in one only", "other bits", "largest relative difference"]
    print_table(console, "points that both stores have", header, rows)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _number(value: float | None, spec: str = ".4g") -> str:
    return "–" if value is None else format(value, spec)


def _plus_minus(value: float | None, deviation: float | None) -> str:
    """A value with its standard error."""
    return _number(value, ".2f") + ("" if deviation is None else f" ± {deviation:.2f}")


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def size(number: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"

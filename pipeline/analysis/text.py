"""The analysis as tables of text, for the terminal and for artifacts."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from pipeline.analysis.gaps import Gap, gaps
from pipeline.analysis.orders import ERRORS
from pipeline.analysis.records import (
    Record,
    control_rate_records,
    order_records,
    plane_records,
    rate_records,
    rate_table,
)
from pipeline.analysis_tables import CLOUD_RATES, CONTROL_RATES, ORDERS, PLANE, AnalysisTable
from pipeline.axes import brief, label
from pipeline.inner_coordinates import NORMS
from pipeline.layout import analysis_axes, analysis_tables, distinct
from pipeline.statistics.plane import TERMS
from pipeline.store import Store
from pipeline.text_table import print_table

MAX_ROWS = 60
MAX_POINTS = 4


def print_analysis(console: Console, store: Store) -> None:
    """The tables of the analysis that the study has, and which fits lack points."""
    tables = analysis_tables(store.study)
    name = store.study.name
    if rate_table(store):
        header, rows = rate_rows(store)
        _print(console, f"{name}: w1 = prefactor · M^rate", header, rows)
        if any("*" in row[-1] for row in rows):
            console.print("* too wide to tell -1/2 from -1/3: more seeds, or a wider range of M")
    if PLANE in tables and len(distinct(store.study.axes, "cells")) > 1:
        _print(
            console,
            f"{name}: w1_pde^p = (C · M^a)^p + (D · cells^-b)^p + floor^p",
            *plane_rows(store),
        )
    if ORDERS in tables and len(distinct(store.study.axes, "cells")) > 1:
        _print(console, f"{name}: error of the PDE solution", *order_rows(store))
    if CONTROL_RATES in tables:
        _print(console, f"{name}: rates in training_particles", *control_rate_rows(store))
    print_gaps(console, gaps(store))


def print_gaps(console: Console, found: Sequence[Gap]) -> None:
    """Which fits lack points, and which points these are."""
    for gap in found[:MAX_ROWS]:
        console.print(gap_line(gap), highlight=False, soft_wrap=True)
    if len(found) > MAX_ROWS:
        console.print(f"… {len(found) - MAX_ROWS} more rows lack points")
    if found:
        console.print("rows that lack points have no fit; --partial fits what is there")


def gap_line(gap: Gap) -> str:
    """Which fits of a row lack points, and the first of these."""
    row = ", ".join(f"{key} = {brief(label(value))}" for key, value in gap.row.items())
    points = "; ".join(
        f"{', '.join(f'{k} = {brief(label(v))}' for k, v in at.items())}: {status.meaning}"
        for at, status in gap.points[:MAX_POINTS]
    )
    more = len(gap.points) - MAX_POINTS
    rest = f"; {more} more" if more > 0 else ""
    return f"{', '.join(gap.fits)} at {row}: {len(gap.points)} points missing ({points}{rest})"


def rate_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """The rates: their header and their rows."""
    table = rate_table(store)
    if table is None:
        return [], []
    if table is CLOUD_RATES:
        columns = ["M ≥", "sliced rate [95 % CI]", "expected sliced"]
    else:
        columns = ["M ≥", "prefactor [95 % CI]", "expected prefactor", "growth ≤ bound"]
    keys = _keys(store, table)
    header = [*keys, "t", "rate [95 % CI]", "expected rate", "R²", *columns, ""]
    return header, [
        [
            *_head(record, keys),
            _interval(record, "rate"),
            _number(record["rate_expected"], ".3g"),
            _number(record["r_squared"], ".4f"),
            _number(record["first_particles"], "g"),
            *(_in_space(record) if table is CLOUD_RATES else _on_the_line(record)),
            "*" if record["underpowered"] == 1 else "",
        ]
        for record in rate_records(store, table)
    ]


def _in_space(record: Record) -> list[str]:
    return [_interval(record, "sliced_rate"), _number(record["sliced_rate_expected"], ".3g")]


def _on_the_line(record: Record) -> list[str]:
    growth, bound = record["dobrushin_measured"], record["dobrushin_factor"]
    return [
        _interval(record, "prefactor"),
        _number(record["prefactor_expected"]),
        f"{_number(growth)} ≤ {_number(bound)}",
    ]


def plane_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """The joint fits of sampling and grid error: their header and their rows."""
    keys = _keys(store, PLANE)
    columns = ["a", "C", "b", "D", "floor"]
    names = ["sampling_rate", "sampling_prefactor", "grid_order", "grid_prefactor", "plane_floor"]
    fitted = [f"{column} [95 % CI]" for column in columns]
    header = [*keys, "t", "p", *fitted, "misfit", "told apart"]
    return header, [
        [
            *_head(record, keys),
            _number(record["plane_power"], "g"),
            *(_interval(record, name) for name in names),
            _number(record["plane_misfit"], ".1%"),
            "–" if record["plane_terms"] is None else TERMS[int(record["plane_terms"])],
        ]
        for record in plane_records(store)
    ]


def order_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """Errors and orders: a row for each number of cells, and the fit below them."""
    keys = _keys(store, ORDERS)
    rows: list[list[str]] = []
    for record in order_records(store):
        head = _head(record, keys)
        for i, cells in enumerate(record["cells"]):
            numbers = _flat(
                (
                    _number(record[f"{e}_error"][i]),
                    _number(record[f"{e}_order_local"][i], ".2f"),
                )
                for e in ERRORS
            )
            rows.append([*(head if i == 0 else [""] * len(head)), str(cells), *numbers])
        fits = _flat(
            ("", _plus_minus(record[f"{e}_order"], record[f"{e}_order_deviation"])) for e in ERRORS
        )
        theory = _flat(("", _number(record[f"{e}_order_expected"], "g")) for e in ERRORS)
        rows.append([*[""] * len(head), "fit", *fits])
        rows.append([*[""] * len(head), "theory", *theory])
    return [*keys, "t", "cells", "L1 error", "order", "W1 error", "order"], rows


def control_rate_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """The rates of the optimal controls and of their cost."""
    keys = _keys(store, CONTROL_RATES)
    header = [*keys, *(f"controls in {norm} [95 % CI]" for norm in NORMS), "cost [95 % CI]"]
    return header, [
        [
            *(brief(record[key]) for key in keys),
            *(_interval(record, "control_rate", f"_{norm}") for norm in NORMS),
            _interval(record, "cost_gap_rate"),
        ]
        for record in control_rate_records(store)
    ]


def _print(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    print_table(console, title, header, rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        console.print(f"… {len(rows) - MAX_ROWS} more rows in /analysis")


def _keys(store: Store, table: AnalysisTable) -> list[str]:
    return [key for axis in analysis_axes(store.study, table) for key in axis.telling_keys()]


def _head(record: Record, keys: Sequence[str]) -> list[str]:
    return [*(brief(record[key]) for key in keys), f"{record['snapshot']:g}"]


def _flat(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (text for pair in pairs for text in pair)


def _interval(record: Record, name: str, suffix: str = "") -> str:
    value, low, high = (record[f"{name}{end}{suffix}"] for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    return f"{value:.3g}" if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _number(value: float | None, spec: str = ".4g") -> str:
    return "–" if value is None else format(value, spec)


def _plus_minus(value: float | None, deviation: float | None) -> str:
    """A value with its standard error."""
    return _number(value, ".2f") + ("" if deviation is None else f" ± {deviation:.2f}")

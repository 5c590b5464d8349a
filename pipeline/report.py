"""What a run and a store say of themselves on the terminal."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from pipeline.analysis import NO_FIT, expected_rate
from pipeline.axes import label
from pipeline.layout import RATES, analysis_axes, analysis_tables
from pipeline.monitor import duration
from pipeline.plan import Count, Estimate
from pipeline.session import Summary
from pipeline.status import Status
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.compare import Difference


RATE_HEADER = (
    "t", "rate [95 % CI]", "expected rate", "prefactor [95 % CI]", "expected prefactor",
)  # fmt: skip


def rate_records(store: Store) -> list[dict[str, Any]]:
    """The analysis as a list: one dictionary per activation (and further axes) and snapshot."""
    axes = [store.axes[a.name] for a in analysis_axes(store.study, RATES)]
    names = [*vars(NO_FIT), "prefactor_expected"]
    found = {name: np.asarray(store.array(f"analysis/{name}")[...]) for name in names}
    records = []
    for index in map(tuple, np.argwhere(store.wanted(axes)).tolist()):
        values = store.values_at(axes, index) or {}
        sampling = str(values.get("sampling", store.study.numerics.sampling))
        point = {key: label(value) for key, value in values.items()}
        for s, time in enumerate(store.study.snapshots):
            numbers = {name: float(found[name][(*index, s)]) for name in names}
            known = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
            expected = {"rate_expected": expected_rate(sampling)}
            records.append({**point, "snapshot": time, **known, **expected})
    return records


def rate_rows(store: Store) -> tuple[list[str], list[list[str]]]:
    """The analysis as a table of text: its header and its rows."""
    axes = analysis_axes(store.study, RATES)
    keys = [key for axis in axes for key in axis.keys]
    rows = [
        [
            *(str(record[key]) for key in keys),
            f"{record['snapshot']:g}",
            _interval(record["rate"], record["rate_low"], record["rate_high"]),
            f"{record['rate_expected']:g}",
            _interval(record["prefactor"], record["prefactor_low"], record["prefactor_high"]),
            _number(record["prefactor_expected"]),
        ]
        for record in rate_records(store)
    ]
    return [*keys, *RATE_HEADER], rows


def print_run(console: Console, store: Store, summary: Summary) -> None:
    """The end of a run: the table of rates, and what was done."""
    if RATES in analysis_tables(store.study):
        print_rates(console, store)
    print_counts(console, summary.points)
    console.print(
        f"computed {summary.computed} points in {summary.wall_seconds:.1f} s, "
        f"{summary.core_seconds:.1f} core-seconds"
    )


def print_rates(console: Console, store: Store) -> None:
    """The table of rates."""
    header, rows = rate_rows(store)
    print_table(console, f"{store.study.name}: w1 = prefactor · M^rate", header, rows)


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


def print_table(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """A table, whole also where no terminal tells its width."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    Console(file=console.file, width=max(console.width, needed)).print(table)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if low is None else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def size(number: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"

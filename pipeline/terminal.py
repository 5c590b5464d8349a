"""What a run and a store say of themselves on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.analysis.text import print_analysis
from pipeline.monitor import duration
from pipeline.plan import Count, Estimate
from pipeline.power import Outlook
from pipeline.session import Summary
from pipeline.status import Status
from pipeline.step_tables import print_steps
from pipeline.store import Store
from pipeline.text_table import print_table
from pipeline.words import in_words

if TYPE_CHECKING:
    from pipeline.compare import Difference


def print_run(console: Console, store: Store, summary: Summary) -> None:
    """The end of a run: the tables of its steps and of the analysis, and what was done."""
    print_steps(console, store)
    print_analysis(console, store)
    print_counts(console, summary.points)
    console.print(
        f"computed {summary.computed} points in {summary.wall_seconds:.1f} s, "
        f"{summary.core_seconds:.1f} core-seconds"
    )
    if summary.precision:
        console.print(str(summary.precision), highlight=False)


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


def print_plan(
    console: Console, estimates: Sequence[Estimate], outlook: Outlook | None = None
) -> None:
    """What a study will take, and what its rates will be able to tell."""
    rows = [
        [
            estimate.step,
            " × ".join(f"{axis.name} {len(axis)}" for axis in estimate.axes),
            str(estimate.points),
            str(estimate.shards),
            f"{estimate.core_seconds / 3600:.3g}",
            in_words(estimate.stored_bytes),
            "unknown" if estimate.peak_bytes is None else in_words(estimate.peak_bytes),
        ]
        for estimate in estimates
    ]
    header = ["step", "axes", "points", "shards", "core-hours", "size", "memory per worker"]
    print_table(console, "plan (estimated)", header, rows)
    total = sum(estimate.core_seconds for estimate in estimates)
    console.print(f"about {duration(total)} on one core")
    for line in outlook.lines() if outlook else ():
        console.print(line, highlight=False, soft_wrap=True)


def print_differences(console: Console, differences: Sequence["Difference"]) -> None:
    """How the variables of two stores compare."""
    rows = [
        [d.variable, str(d.common), str(d.only_one), str(d.other_bits), f"{d.largest:.3g}"]
        for d in differences
    ]
    header = ["variable", "numbers", "in one only", "other bits", "largest relative difference"]
    print_table(console, "points that both stores have", header, rows)

"""Tables of what a step found at each point, for the terminal: controls, and their dependence."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console

from pipeline.axes import brief
from pipeline.steps.base import Variable
from pipeline.store import Store
from pipeline.text_table import print_table

SHOWN = {
    "train": (
        "cost",
        "cost_exact",
        "iterations",
        "stop_reason",
        "mean",
        "variance",
        "w1_to_target",
        "optima",
    ),
    "dependence": ("w1_perturbed", "bound_integral", "bound_supremum"),
}
"""The steps that have a table, and its columns."""
MAX_ROWS = 40


def print_steps(console: Console, store: Store) -> None:
    """The tables of those steps that the study has."""
    for step in store.study.header.steps:
        if step in SHOWN:
            _print_step(console, store, step)


def _print_step(console: Console, store: Store, name: str) -> None:
    step = store.study.step(name)
    axes = store.table_axes(step.tables[0])
    known = {variable.name: variable for variable in step.tables[0].variables}
    variables = [known[column] for column in SHOWN[name]]
    variables = [v for v in variables if set(v.dims) <= {"snapshot"}]
    found = [np.asarray(store.array(f"{name}/{v.name}")[...]) for v in variables]
    keys = [key for axis in axes if len(axis) > 1 for key in axis.telling_keys()]
    rows = []
    for index in store.points(axes):
        labels = {key: axis.labels(key)[i] for axis, i in zip(axes, index, strict=True)
                  for key in axis.keys}  # fmt: skip
        head = [brief(labels[key]) for key in keys]
        for time, numbers in _numbers(store, variables, found, index):
            rows.append([*head, *time, *numbers])
    timed = ["t"] if any(v.dims for v in variables) else []
    header = [*keys, *timed, *(v.name for v in variables)]
    print_table(console, f"{store.study.name}: {name}", header, rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        console.print(f"… {len(rows) - MAX_ROWS} more rows in /{name}")


def _numbers(
    store: Store, variables: Sequence[Variable], found: Sequence[np.ndarray], index: tuple[int, ...]
) -> Iterator[tuple[list[str], list[str]]]:
    """The time, if the variables have one, and the numbers there, as text."""
    if not any(variable.dims for variable in variables):
        yield [], [_text(v, values[index]) for v, values in zip(variables, found, strict=True)]
        return
    for s, time in enumerate(store.study.snapshots):
        yield (
            [f"{time:g}"],
            [_text(v, values[(*index, s)]) for v, values in zip(variables, found, strict=True)],
        )


def _text(variable: Variable, value: float) -> str:
    if variable.flags:
        return variable.flags[int(value)] if value >= 0 else "–"
    return f"{value:.5g}" if math.isfinite(value) else "–"

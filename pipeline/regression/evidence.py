"""Evidence for an alarm: the smallest study that shows it, one command, its numbers, a figure."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import tomli_w
import xarray as xr

from pipeline.alignment import aligned, two_stores, zip_label
from pipeline.axes import Axis, label
from pipeline.errors import StudyError
from pipeline.figures.files import write_chart
from pipeline.figures.style import PALETTE, config, word
from pipeline.files import write_atomically
from pipeline.place import Place
from pipeline.regression.defaults import rule_of
from pipeline.regression.findings import Finding, place
from pipeline.study import Study

ROWS = 10_000
HEIGHT = 240


@dataclass(frozen=True)
class Evidence:
    """What shows one alarm.

    Attributes:
        finding: the alarm.
        command: runs the smallest study and compares it with the baseline.
        points: how many points that study has.
        files: what there is, by kind.
    """

    finding: Finding
    command: str
    points: int
    files: Mapping[str, Path]


def write_evidence(
    finding: Finding, study: Study, old: Place, new: Place, folder: Path
) -> Evidence:
    """Write the evidence for an alarm into a folder of its own.

    Args:
        finding: the alarm.
        study: its study.
        old: the baseline's results.
        new: tonight's.
        folder: a new folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with new.open_tree() as tree:
        small = smallest(finding, study, tree, folder.name)
    file = folder / "study.toml"
    parts = ("meanfield", "regress", str(file.resolve()), "--baseline", old.address)
    files = _written(small, folder) | _drawn(finding, old, new, folder)
    cut = Study(**small, folder=study.folder, where=str(file))
    return Evidence(finding, shlex.join(parts), _points(cut), files)


def write_times(
    finding: Finding,
    study: Study,
    old: Place,
    new: Place,
    folder: Path,
    past: Sequence[tuple[str, float]],
    again: str,
) -> Evidence:
    """Write the evidence for an alarm about time or memory: the nights, and the points' times.

    Such a number is one of all points of a study, and is judged by earlier nights: the smallest
    study that shows it is the whole one, run once more into the same history.

    Args:
        finding: the alarm.
        study: its study.
        old: the baseline's results.
        new: tonight's.
        folder: a new folder.
        past: the number in all nights, tonight's last.
        again: the command that runs the night once more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = _written(study.document(), folder) | _drawn(finding, old, new, folder)
    files["nights"] = folder / "nights.csv"
    table = pd.DataFrame(past, columns=["night", finding.variable])
    table.to_csv(files["nights"], index=False, lineterminator="\n")
    return Evidence(finding, again, _points(study), files)


def _written(document: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    file = folder / "study.toml"
    write_atomically(file, tomli_w.dumps(document))
    return {"study": file}


def _drawn(finding: Finding, old: Place, new: Place, folder: Path) -> dict[str, Path]:
    """The points' values in both stores, as a table and as a figure, where there are any."""
    table = values(finding, old, new)
    if not len(table):
        return {}
    file = folder / "values.csv"
    table.to_csv(file, index=False, lineterminator="\n")
    return {"values": file, "figure": write_chart(figure(finding, table), folder / "values.svg")}


def _points(study: Study) -> int:
    return sum(_size(study.step_axes(step)) for step in study.steps)


def smallest(finding: Finding, study: Study, tree: xr.DataTree, mark: str) -> dict[str, Any]:
    """The tables of the smallest study that shows an alarm.

    Axes on which the alarm has a place are cut to it; of axes that the variable does not depend on
    one value is left. An analysis is made of many points, so it keeps the others. Steps that are
    not needed, and their axes, are left out, where the study makes sense without them. Only the
    variable is judged, by the rule that it had.

    Args:
        finding: the alarm.
        study: its study.
        tree: its results.
        mark: what tells this study's name from the whole one's.
    """
    document = study.document()
    group, _, name = finding.variable.rpartition("/")
    variables = tree[group].data_vars if f"/{group}" in tree.groups else {}
    document["regression"] = _judged(finding, study, variables)
    document["study"]["name"] = f"{study.name[:80]}-alarm-{mark}"
    fixed = not finding.variable.startswith("analysis/")
    dimensions = variables[name].dims if name in variables else ()
    for axis in study.axes:
        _cut(document["axes"], axis, finding.at, fixed and axis.name not in dimensions)
    steps = _needed(finding.variable, study)
    chosen = document | {
        "study": document["study"] | {"steps": steps},
        "axes": _used(document["axes"], study, steps),
    }
    try:
        Study(**chosen, folder=study.folder)
    except StudyError:
        return document
    return chosen


def _judged(
    finding: Finding, study: Study, variables: Mapping[Any, xr.DataArray]
) -> dict[str, Any]:
    """The table [regression] that judges one variable alone, as the whole study's does."""
    name, settings = finding.variable.rpartition("/")[2], study.regression
    ignored = [{"variables": "*", "rule": "ignored"}]
    rules = [rule.model_dump(exclude_none=True) for rule in settings.rules]
    if name in variables:
        names = [str(other) for other in variables]
        rule = rule_of(finding.variable, variables[name], names, settings.rules)
        rules = [rule.model_dump(exclude_none=True) | {"variables": finding.variable}, *ignored]
    return {"false_alarms": settings.false_alarms, "rules": rules}


def values(finding: Finding, old: Place, new: Place) -> pd.DataFrame:
    """The numbers at the place of an alarm, in both stores: one row for each of the other axes."""
    name = finding.variable.rpartition("/")[2]
    with two_stores(old, new) as (left, right):
        for pair in aligned(left, right):
            if pair.path == finding.variable and not pair.reason:
                old_at, new_at = (_at(array, finding.at) for array in (pair.one, pair.other))
                found = xr.Dataset({f"{name}_old": old_at, f"{name}_new": new_at})
                if not found.sizes:  # one number is no table to xarray
                    return pd.DataFrame({key: [float(found[key])] for key in found.data_vars})
                return found.to_dataframe().reset_index().head(ROWS)
    return pd.DataFrame()


def figure(finding: Finding, table: pd.DataFrame) -> alt.Chart:
    """Both stores' numbers against the axis that has the most values."""
    keys = [key for key in table.columns if not key.endswith(("_old", "_new"))]
    ends = {"baseline": "_old", "tonight": "_new"}
    columns = {which: next(c for c in table.columns if c.endswith(e)) for which, e in ends.items()}
    parts = [table[keys].assign(which=k, value=table[column]) for k, column in columns.items()]
    long = pd.concat(parts).replace([np.inf, -np.inf], np.nan)
    x = max(keys, key=lambda key: table[key].nunique(), default="which")
    numeric = pd.api.types.is_numeric_dtype(long[x])
    title = f"{finding.study}: {finding.variable}{place(finding.at)}"
    chart: alt.Chart = (
        alt.Chart(long)
        .mark_point(filled=True, size=36, opacity=0.8)
        .encode(
            x=alt.X(f"{x}:{'Q' if numeric else 'N'}", title=word(x), scale=_scale(numeric)),
            y=alt.Y("value:Q", title=finding.variable.rpartition("/")[2], scale=_scale(True)),
            color=alt.Color(
                "which:N",
                title=None,
                scale=alt.Scale(domain=list(ends), range=[PALETTE[0], PALETTE[1]]),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("which:N", title=None, scale=alt.Scale(domain=list(ends))),
        )
        .properties(width=520, height=HEIGHT, title=title)
        .configure(**config())
    )
    return chart


def _scale(numeric: bool) -> alt.Scale | alt.utils.schemapi.UndefinedType:
    return alt.Scale(zero=False) if numeric else alt.Undefined


def _cut(axes: dict[str, Any], axis: Axis, at: Mapping[str, str | float], one: bool) -> None:
    """Cut an axis in the table [axes] to the place of an alarm; whole where it has none there."""
    wanted = {key: at[key] for key in (*axis.keys, axis.name) if key in at}
    found = [i for i, value in enumerate(axis.values) if _fits(axis, value, wanted)]
    kept = (found or [0])[: 1 if one else None]
    if axis.zipped:
        table = next(table for table in axes["zip"] if table["name"] == axis.name)
        table.update({key: [table[key][i] for i in kept] for key in axis.keys})
    else:
        axes[axis.name] = [axes[axis.name][i] for i in kept]


def _fits(axis: Axis, position: Sequence[Any], wanted: Mapping[str, str | float]) -> bool:
    labels = {key: label(value) for key, value in zip(axis.keys, position, strict=True)}
    if axis.zipped:  # the alignment of two stores tells its places by the labels of all keys
        labels[axis.name] = zip_label(list(labels.values()))
    return all(labels.get(key) == value for key, value in wanted.items())


def _needed(variable: str, study: Study) -> list[str]:
    """The steps that a variable is made of, in their order; all for an analysis."""
    group, name = variable.partition("/")[0], variable.rpartition("/")[2]
    tables = [table for step in study.steps if step.name == group for table in step.tables]
    found = {
        step
        for table in tables
        if name == table.status or name in {known.name for known in table.variables}
        for step in table.steps
    }
    steps = [step for step in study.listed_steps if step in found | {"train"}]
    return steps if found and found <= set(steps) else list(study.listed_steps)


def _used(axes: Mapping[str, Any], study: Study, steps: Sequence[str]) -> dict[str, Any]:
    """The table [axes] without the axes that none of the steps uses."""
    keys = {key for step in study.steps if step.name in steps for key in step.keys}
    unused = {axis.name for axis in study.axes if not keys.intersection(axis.keys)}
    if not set(steps) <= {step.name for step in study.steps}:  # steps of the user's own
        unused = set()
    found = {name: value for name, value in axes.items() if name not in unused}
    if "zip" in found:
        found["zip"] = [table for table in found["zip"] if table["name"] not in unused]
    return found


def _at(array: xr.DataArray, at: Mapping[str, str | float]) -> xr.DataArray:
    """An array at some coordinates, as far as it has them."""
    known = {key: list(array.indexes[key]) for key in at if key in array.indexes}
    places = {key: labels.index(at[key]) for key, labels in known.items() if at[key] in labels}
    return array.isel(places, drop=True)


def _size(axes: Sequence[Axis]) -> int:
    return int(np.prod([len(axis.values) for axis in axes], dtype=np.int64))

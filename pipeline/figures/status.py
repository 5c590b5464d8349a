"""What became of the points of each step."""

import altair as alt
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, labelled, present
from pipeline.figures.tables import distinct, frame, keys_of
from pipeline.status import Status

COLUMNS = ("particles", "training_particles", "cells", "gamma", "seed", "activation")
"""What stands along the top: the first of these that a step varies."""
HUES = {
    "done": "#2f7d6b", "not-converged": "#d9a520", "pending": "#c3cad3", "upstream": "#8a7fb8",
}  # fmt: skip
FAILED = "#b3261e"
MAX_ROWS = 60
SHOWN = 36
"""Characters of a row's name that are surely seen."""


def status_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_status`.

    Returns:
        one row per step, row and column of its matrix: ``points`` there, how many are ``done``,
        and the ``worst`` status with how many have it. Rows are the axes but seed and column.

    Raises:
        FigureError: if the store has no status.
    """
    parts = [_of_step(tree, step, name) for step, name in status_sources(tree)]
    if not parts:
        raise FigureError("the store has no status")
    return pd.concat(parts, ignore_index=True)


def status_sources(tree: xr.DataTree) -> list[tuple[str, str]]:
    """The steps of a store and their variables of status."""
    return [
        (str(group), str(name))
        for group, node in tree.children.items()
        for name in node.data_vars
        if str(name).startswith("status")
    ]


def _of_step(tree: xr.DataTree, step: str, name: str) -> pd.DataFrame:
    points = frame(tree, step, [name]).rename(columns={name: "status"})
    keys = keys_of(points, "status")
    column = next((key for key in COLUMNS if key in keys and points[key].nunique() > 1), "")
    rows = [k for k in keys if k not in (column, "seed") and points[k].nunique() > 1]
    points["row"] = _names(points, rows)
    points["column"] = _columns(points[column]) if column else "all"
    counts = points.groupby(["row", "column", "status"], sort=False).size().reset_index(name="many")
    counts["rank"] = counts["status"].map(_rank)
    worst = counts.sort_values("rank").groupby(["row", "column"], sort=False).last()
    total = counts.groupby(["row", "column"], sort=False)["many"].sum()
    done = counts[counts["status"] == Status.DONE].set_index(["row", "column"])["many"]
    table = pd.DataFrame(
        {
            "points": total,
            "done": done.reindex(total.index, fill_value=0),
            "worst": worst["status"].reindex(total.index).map(lambda s: Status(int(s)).meaning),
            "worst_points": worst["many"].reindex(total.index),
        }
    ).reset_index()
    label = step if name == "status" else f"{step} against PDE"
    return table.assign(step=label, axis=style.word(column) if column else "")


def _rank(status: int) -> float:
    """How bad a status is."""
    return {int(Status.DONE): -1.0, int(Status.PENDING): -0.5}.get(int(status), float(status))


def _columns(values: pd.Series) -> pd.Series:
    found = values.unique().tolist()
    names = distinct([style.show(value) for value in found])
    return values.map(dict(zip(found, names, strict=True)))


def _names(points: pd.DataFrame, keys: list[str]) -> pd.Series:
    if not keys:
        return pd.Series("all", index=points.index)
    combinations = points[keys].drop_duplicates()
    names = [
        ", ".join(labelled(k, v) for k, v in zip(keys, row, strict=True))
        for row in combinations.itertuples(index=False, name=None)
    ]
    names = distinct(names, SHOWN)
    return points[keys].merge(combinations.assign(name=names), on=keys, how="left")["name"]


def plot_status(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """A matrix of the points of a step, coloured by the worst status, with counts of done points.

    It opens at the step with the worst status.

    Raises:
        FigureError: if the store has no status.
    """
    table = status_table(tree)
    kept = table.groupby("step", sort=False)["row"].transform(lambda r: pd.factorize(r)[0])
    table = table[kept < MAX_ROWS]
    words = [status.meaning for status in Status]
    hues = [HUES.get(word, FAILED) for word in words]
    text = (table["done"].astype(str) + "/" + table["points"].astype(str)).where(
        table["points"] > 1, ""
    )
    shown = table.assign(text=text)
    base = alt.Chart().encode(
        x=alt.X(
            "column:N",
            sort=None,
            axis=alt.Axis(title=None, orient="top", labelAngle=0, labelSeparation=6),
        ),
        y=alt.Y("row:N", sort=None, axis=alt.Axis(title=None, labelLimit=240)),
    )
    present_words = [word for word in words if word in set(table["worst"])]
    legend = alt.Legend(orient="bottom", title=None, values=present_words, symbolType="square")
    layers = [
        base.mark_rect(stroke="white", strokeWidth=1.5, cornerRadius=2).encode(
            color=alt.Color("worst:N", scale=alt.Scale(domain=words, range=hues), legend=legend),
            tooltip=[
                alt.Tooltip("row:N", title=" "),
                alt.Tooltip("column:N", title="column"),
                alt.Tooltip("points:Q"),
                alt.Tooltip("done:Q"),
                alt.Tooltip("worst:N", title="worst status"),
                alt.Tooltip("worst_points:Q", title="with it"),
            ],
        ),
        base.mark_text(color="#ffffff", fontSize=10).encode(text="text:N"),
    ]
    ranks = {status.meaning: _rank(int(status)) for status in Status}
    first = {"step": shown["step"].iloc[int(shown["worst"].map(ranks).argmax())]}
    return present(
        layers, shown, None, ["step"], static=static, independent=True, height=alt.Step(22),
        first=first,
    )  # fmt: skip

"""The controls w(t) and b(t), trained or given."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.tables import curves, dataset, keys_of, mean_interval

NUMBERS = ("time", "value", "low", "high")


def controls_table(tree: xr.DataTree, others: pd.DataFrame | None = None) -> pd.DataFrame:
    """The numbers behind :func:`plot_controls`.

    Args:
        tree: a store, as xarray opens it.
        others: further controls with the same columns, such as given ones.

    Returns:
        one row per control (w, b, or an entry of them), activation (and further axes) and time:
        its ``value``; over several seeds the mean with its 95 % interval.

    Raises:
        FigureError: if the store has no trained controls, nor others are given.
    """
    parts = [_of(tree, group, name) for group in _groups(tree) for name in ("w", "b")]
    if others is not None and not others.empty:
        parts.append(others)
    parts = [part for part in parts if not part.empty]
    if not parts:
        raise FigureError("the store has no trained controls")
    return pd.concat(parts, ignore_index=True)


def _groups(tree: xr.DataTree) -> list[str]:
    """Where controls are: one group, or one for each number of intervals."""
    if "train" not in tree.children:
        return []
    if "w" in tree["train"]:
        return ["train"]
    return [f"train/{name}" for name, node in tree["train"].children.items() if "w" in node]


def _of(tree: xr.DataTree, group: str, name: str) -> pd.DataFrame:
    found = dataset(tree, group)
    if "time" not in found.coords:  # its nodes move with an axis: they divide [0, T] evenly
        found = found.assign_coords(time=np.linspace(0.0, 1.0, found.sizes["time"]))
    table = found[name].to_dataframe()[[name]].reset_index().rename(columns={name: "value"})
    table["control"] = _entry(table, name)
    table = table.drop(columns=["component", "other_component"], errors="ignore").dropna()
    if group != "train":
        table["intervals"] = int(group.rsplit("_", 1)[1])
    keys = keys_of(table, "value", "seed")
    return (
        mean_interval(table, "value", keys).rename(columns={"mean": "value"}).drop(columns="count")
    )


def _entry(table: pd.DataFrame, name: str) -> pd.Series:
    """The name of each row's control: in R^d that of an entry of a matrix or vector."""
    parts = [table[key] + 1 for key in ("component", "other_component") if key in table]
    label = pd.Series(name, index=table.index)
    for part in parts:
        label = label + "_" + part.astype(int).astype(str)
    return label


def plot_controls(
    tree: xr.DataTree, others: pd.DataFrame | None = None, *, static: bool = False
) -> Chart:
    """The controls against time; over several seeds their mean with its 95 % band.

    Raises:
        FigureError: if the store has no trained controls, nor others are given.
    """
    table = controls_table(tree, others)
    row = ["control", *keys_of(table, *NUMBERS, "control")]
    colour = colour_key(table, row[1:]) if row[1:] else "control"
    if colour not in table:
        colour = "control"
    shown = curves(table, row, NUMBERS)
    values = table[colour].unique().tolist()
    hue = style.colour(colour, values, symbol="stroke")
    x = alt.X("time:Q", axis=alt.Axis(title="time t", tickCount=6), scale=alt.Scale(nice=False))
    y = style.linear_axis("control")
    base = alt.Chart().encode(x=x, color=hue, detail=_detail(row, colour))
    band = base.mark_area(opacity=style.haze(values)).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    layers = [
        *([band] if table["low"].notna().any() else []),
        base.mark_line().encode(y=alt.Y("value:Q", **y)),
        base.mark_point(opacity=0, size=50).encode(
            y=alt.Y("value:Q", **y),
            tooltip=[
                *style.name_tips(shown, row),
                style.tip("time", "t"),
                style.tip("value", "value"),
                style.tip("low", "95 % from"),
                style.tip("high", "95 % to"),
            ],
        ),
    ]
    return present(layers, shown, colour, row, static=static, flatten=NUMBERS)


def _detail(row: Sequence[str], colour: str) -> list[str]:
    return [f"{key}:N" for key in row if key != colour]

"""How training went: cost and change of the controls after each iteration."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.tables import curves, dataset, keys_of, mean_interval

QUANTITIES = {"cost_history": "cost J", "change_history": "change of controls"}
NUMBERS = ("iteration", "value", "low", "high")
POINTS = 90
"""Iterations that are shown, evenly spread over the logarithm of their number."""


def costs_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_costs`.

    Returns:
        one row per quantity, activation (and further axes) and iteration: its ``value``; over
        several seeds the mean with its 95 % interval. A training that has ended keeps its last
        value; iterations behind the end of all are left out.

    Raises:
        FigureError: if the store has no histories.
    """
    parts = [
        _of(tree, group, name).assign(quantity=title)
        for name, title in QUANTITIES.items()
        for group in _groups(tree, name)
    ]
    parts = [part for part in parts if not part.empty]
    if not parts:
        raise FigureError("the store has no cost histories")
    return pd.concat(parts, ignore_index=True)


def _groups(tree: xr.DataTree, name: str) -> list[str]:
    if "train" not in tree.children:
        return []
    if name in tree["train"]:
        return ["train"]
    return [f"train/{child}" for child, node in tree["train"].children.items() if name in node]


def _of(tree: xr.DataTree, group: str, name: str) -> pd.DataFrame:
    """The histories of a group at iterations that are spread evenly over their logarithm."""
    found = dataset(tree, group)[name]
    length = int(found.notnull().any([d for d in found.dims if d != "iteration"]).sum())
    places = np.unique(np.geomspace(1, max(length, 1), POINTS).round().astype(int)) - 1
    found = found.load()
    last = found.notnull().sum("iteration") - 1
    # As long as one of the seeds goes on, the others keep their last value.
    ends = last.max("seed") if "seed" in found.dims else last
    shown = xr.DataArray(places, dims="iteration")
    found = found.isel(iteration=np.minimum(shown, last).clip(0)).where(shown <= ends)
    found = found.assign_coords(iteration=places)
    table = found.to_dataframe()[[name]].reset_index().rename(columns={name: "value"}).dropna()
    if group != "train":
        table["max_iterations"] = int(group.rsplit("_", 1)[1])
    keys = keys_of(table, "value", "seed")
    return (
        mean_interval(table, "value", keys).rename(columns={"mean": "value"}).drop(columns="count")
    )


def plot_costs(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """Cost, or change of the controls, against iterations.

    Raises:
        FigureError: if the store has no histories.
    """
    table = costs_table(tree)
    table = table[table["value"] > 0]
    row = ["quantity", *keys_of(table, *NUMBERS, "quantity")]
    colour = colour_key(table, row[1:])
    shown = curves(table, row, NUMBERS)
    values = table[colour].unique().tolist()
    hue = style.colour(colour, values, symbol="stroke")
    x = alt.X(
        "iteration:Q",
        scale=alt.Scale(type="symlog", nice=False),
        axis=alt.Axis(
            title="iteration",
            values=[0, 1, 10, 100, 1000, 10000, 100000],
            format="~s",
            labelSeparation=8,
        ),
    )
    y = style.free_log_axis(None)
    base = alt.Chart().encode(x=x, color=hue, detail=[f"{key}:N" for key in row if key != colour])
    band = base.mark_area(opacity=style.haze(values)).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    layers = [
        *([band] if table["low"].notna().any() else []),
        base.mark_line().encode(y=alt.Y("value:Q", **y)),
        base.mark_point(opacity=0, size=50).encode(
            y=alt.Y("value:Q", **y),
            tooltip=[
                *style.name_tips(shown, row),
                alt.Tooltip("iteration:Q", format="d"),
                style.tip("value", "value"),
            ],
        ),
    ]
    return present(layers, shown, colour, row, static=static, flatten=NUMBERS, independent=True)

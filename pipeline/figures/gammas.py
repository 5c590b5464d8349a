"""What γ does: cost, distance to the target, size of the controls and iterations along γ."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.tables import dataset, frame, keys_of, mean_interval

QUANTITIES = {
    "cost": "cost J",
    "w1_to_target": "W₁ to the target",
    "w_norm": "largest |w|",
    "b_norm": "largest |b|",
    "variance": "final variance",
    "iterations": "iterations",
}
GAMMAS = ("gamma", "gamma_w", "gamma_b")
NUMBERS = ("mean", "low", "high", "count")


def gammas_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_gammas`.

    Returns:
        one row per quantity, activation, γ (and further axes): its ``mean`` over the seeds with
        its 95 % interval.

    Raises:
        FigureError: if the store has no training, or one γ only.
    """
    axis = _axis(frame(tree, "train", ["cost"]))
    parts = []
    for name, title in QUANTITIES.items():
        try:
            points = _points(tree, name)
        except FigureError:
            continue
        keys = keys_of(points, name, "seed")
        parts.append(mean_interval(points, name, keys).assign(quantity=title))
    table = pd.concat(parts, ignore_index=True).rename(columns={axis: "weight"})
    return table.sort_values("weight", kind="stable").rename(columns={"weight": axis})


def _axis(table: pd.DataFrame) -> str:
    for key in GAMMAS:
        if key in table and table[key].nunique() > 1:
            return key
    raise FigureError("the store has one γ only: there is no path to see")


def _points(tree: xr.DataTree, name: str) -> pd.DataFrame:
    """A quantity at every point; the norms of the controls are taken here."""
    if not name.endswith("_norm"):
        return frame(tree, "train", [name])
    found, control = dataset(tree, "train"), name[0]
    if control not in found:
        raise FigureError(f"the store has no 'train/{control}'")
    inner: list[Any] = [
        d for d in ("time", "component", "other_component") if d in found[control].dims
    ]
    largest = np.abs(found[control]).max(inner).rename(name)
    table: pd.DataFrame = largest.to_dataframe()[[name]].reset_index()
    return table


def plot_gammas(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """A quantity against γ, log–log: with a menu for which.

    Raises:
        FigureError: if the store has no training, or one γ only.
    """
    table = gammas_table(tree)
    axis = _axis(table)
    table = table[(table["mean"] > 0) & (table[axis] > 0)]
    row = keys_of(table, axis, *NUMBERS)
    first = ["quantity", *(key for key in row if key != "quantity")]
    colour = colour_key(table, [key for key in row if key != "quantity"])
    values = table[colour].unique().tolist()
    shown = table.assign(low=table["low"].where(table["low"] > 0))
    x = alt.X(f"{axis}:Q", **style.log_axis(table[axis], style.word(axis)))
    y = style.free_log_axis(None)
    base = alt.Chart().encode(x=x, color=style.colour(colour, values))
    band = base.mark_area(opacity=style.haze(values)).encode(y=alt.Y("low:Q", **y), y2="high:Q")
    layers = [
        *([band] if table["low"].notna().any() else []),
        base.mark_line(strokeWidth=1.4).encode(y=alt.Y("mean:Q", **y)),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            y=alt.Y("mean:Q", **y),
            shape=style.shape(colour, values),
            tooltip=[*style.name_tips(shown, [*first, axis]), style.tip("mean", "value")],
        ),
    ]
    return present(layers, shown, colour, first, static=static, independent=True)

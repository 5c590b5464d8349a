"""What the points cost: computing time against their size."""

import altair as alt
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, present
from pipeline.figures.tables import frame

SIZES = ("particles", "training_particles", "cells", "training_cells", "gamma")


def timings_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_timings`.

    Returns:
        one row per step, activation and size (M, cells or γ): ``median``, ``largest`` and
        ``total`` seconds of ``count`` points, all further axes taken together.

    Raises:
        FigureError: if the store has no times.
    """
    parts = [_of_step(tree, str(step)) for step in tree.children if "wall_seconds" in tree[step]]
    parts = [part for part in parts if not part.empty]
    if not parts:
        raise FigureError("the store has no times")
    return pd.concat(parts, ignore_index=True)


def _of_step(tree: xr.DataTree, step: str) -> pd.DataFrame:
    try:
        points = frame(tree, step, ["wall_seconds"])
    except FigureError:
        return pd.DataFrame()
    varying = [key for key in SIZES if key in points and points[key].nunique() > 1]
    size = varying[0] if varying else ""
    points = points.assign(
        size=points[size] if size else 1.0, over=style.word(size) if size else ""
    )
    keys = [key for key in ("activation", "size", "over") if key in points]
    groups = points.dropna(subset=["wall_seconds"]).groupby(keys, sort=False)["wall_seconds"]
    table = groups.agg(["median", "max", "sum", "count"]).reset_index()
    return table.rename(columns={"max": "largest", "sum": "total"}).assign(step=step)


def plot_timings(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """Median computing time of a point, and the largest, against its size, log–log.

    Raises:
        FigureError: if the store has no times.
    """
    table = timings_table(tree)
    colour = "activation" if "activation" in table else "step"
    values = table[colour].unique().tolist()
    x = style.free_log_axis("size of the point: M, cells or γ")
    y = style.free_log_axis("seconds")
    base = alt.Chart().encode(x=alt.X("size:Q", **x), color=style.colour(colour, values))
    layers = [
        base.mark_line(strokeWidth=1.2).encode(y=alt.Y("median:Q", **y)),
        base.mark_tick(thickness=1.5, size=9, orient="horizontal").encode(
            y=alt.Y("largest:Q", **y)
        ),
        base.mark_point(filled=True, size=46, opacity=1).encode(
            y=alt.Y("median:Q", **y),
            shape=style.shape(colour, values),
            tooltip=[
                *style.name_tips(table, ["step", colour]),
                alt.Tooltip("size:Q", format=",.6~g"),
                style.tip("median", "median s"),
                style.tip("largest", "largest s"),
                style.tip("total", "all s"),
                alt.Tooltip("count:Q", title="points"),
            ],
        ),
    ]
    return present(layers, table, colour, ["step"], static=static, independent=True)

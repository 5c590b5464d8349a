"""The distance to the PDE solution over the (M, cells) plane, and where both errors balance."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, present
from pipeline.figures.tables import frame, joined, keys_of, mean_interval

BALANCE = ("balanced_particles", "balanced_particles_low", "balanced_particles_high")
EDGES = ("left", "right", "below", "above")


def plane_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_plane`.

    Returns:
        one row per activation (and further axes), cells, M and snapshot: ``mean`` of w1_pde over
        the seeds with its 95 % interval, and the M at which sampling error equals grid error.

    Raises:
        FigureError: if the store has no such distances, or one M or one number of cells only.
    """
    points = frame(tree, "particles", ["w1_pde"])
    if not {"cells", "particles"} <= set(points):
        raise FigureError("the store has one axis for M and cells: there is no plane")
    row = keys_of(points, "w1_pde", "particles", "cells", "seed")
    table = mean_interval(points, "w1_pde", [*row, "cells", "particles"])
    if table["cells"].nunique() < 2 or table["particles"].nunique() < 2:
        raise FigureError("the store has one M or one number of cells only: there is no plane")
    keys = [*row, "cells"]
    try:
        found = frame(tree, "analysis", BALANCE[:1], BALANCE[1:])
        return joined(table, found, keys, BALANCE)
    except FigureError:
        return table.assign(**dict.fromkeys(BALANCE, np.nan))


def plot_plane(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """Mean w1_pde over M and cells as colour, with the balanced line and its 95 % band.

    Raises:
        FigureError: if the store has no such distances, or one M or one number of cells only.
    """
    table = plane_table(tree)
    whole = table
    if static:
        table = table[table["snapshot"] == table["snapshot"].max()]
    for key, (low, high) in {"particles": EDGES[:2], "cells": EDGES[2:]}.items():
        table = table.merge(_edges(table, key, low, high), on=key)
    row = keys_of(table, "particles", "cells", "mean", "low", "high", "count", *BALANCE, *EDGES)
    wide = style.log_axis(pd.concat([table["left"], table["right"]]), "particles M", room=1.0)
    tall = style.log_axis(pd.concat([table["below"], table["above"]]), "cells N", room=1.0)
    x = alt.X("left:Q", **wide)
    low, high = table["mean"].min(), table["mean"].max()
    scale = alt.Scale(type="log", scheme="viridis", domain=[float(low), float(high)])
    legend = alt.Legend(
        title="W₁ to the PDE solution", orient="top", format=".1e", gradientLength=180
    )
    tooltips = [
        *style.name_tips(table, [*row, "particles", "cells"]),
        style.tip("mean", "W₁ to the PDE solution"),
        style.tip("low", "95 % from"),
        style.tip("high", "95 % to"),
        style.count_tip("count", "seeds"),
        style.count_tip("balanced_particles", "balanced at M"),
    ]
    cells = (
        alt.Chart()
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=x, x2="right:Q", y=alt.Y("below:Q", **tall), y2="above:Q",
            color=alt.Color("mean:Q", scale=scale, legend=legend), tooltip=tooltips,
        )
    )  # fmt: skip
    smallest = f"datum.particles === {table['particles'].min()}"
    line = alt.Chart().transform_filter(smallest).encode(y=alt.Y("cells:Q", **tall))
    balanced = alt.X("balanced_particles:Q", **wide)
    layers = [
        cells,
        line.mark_area(clip=True, opacity=0.3, color="#ffffff", orient="horizontal").encode(
            x=alt.X("balanced_particles_low:Q", **wide), x2="balanced_particles_high:Q"
        ),
        line.mark_line(clip=True, color="#ffffff", strokeWidth=4, order=None).encode(
            x=balanced, order="cells:Q"
        ),
        line.mark_line(clip=True, color="#d4145a", strokeWidth=2).encode(
            x=balanced, order="cells:Q"
        ),
        line.mark_point(clip=True, filled=True, color="#d4145a", size=40, stroke="#ffffff").encode(
            x=balanced, tooltip=tooltips
        ),
    ]
    return present(layers, table, None, row, static=static, whole=whole)


def _edges(table: pd.DataFrame, key: str, low: str, high: str) -> pd.DataFrame:
    """Borders between neighbouring values, halfway on the logarithmic axis."""
    values = np.sort(table[key].unique()).astype(float)
    middle = np.sqrt(values[1:] * values[:-1])
    first, last = values[0] ** 2 / middle[0], values[-1] ** 2 / middle[-1]
    borders = np.concatenate([[first], middle, [last]])
    return pd.DataFrame({key: np.sort(table[key].unique()), low: borders[:-1], high: borders[1:]})

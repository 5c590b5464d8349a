"""The slope between neighbouring M: whether the decay has settled at its rate."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.tables import frame, joined, keys_of

LOCAL = ("rate_local", "rate_local_low", "rate_local_high")


def local_rates_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_local_rates`: ``rate_local`` with its 95 % interval.

    Raises:
        FigureError: if the store has none.
    """
    table = frame(tree, "analysis", LOCAL[:1], LOCAL[1:]).sort_values("particles", kind="stable")
    row = keys_of(table, "particles", *LOCAL)
    try:
        expected = frame(tree, "analysis", ["rate_expected"])
    except FigureError:
        return table.assign(rate_expected=np.nan)
    return joined(table, expected, row, ["rate_expected"])


def plot_local_rates(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """The local rate against M, with its 95 % band and the expected rate dashed.

    Raises:
        FigureError: if the store has none.
    """
    table = local_rates_table(tree)
    row = keys_of(table, "particles", *LOCAL, "rate_expected")
    colour = colour_key(table, row)
    values = table[colour].unique().tolist()
    x = alt.X("particles:Q", **style.log_axis(table["particles"], "particles M"))
    heights = style.linear_axis("slope from the next smaller M")
    base = alt.Chart().encode(x=x, color=style.colour(colour, values))
    layers = [
        base.mark_area(opacity=style.haze(values)).encode(
            y=alt.Y("rate_local_low:Q", **heights), y2="rate_local_high:Q"
        ),
        base.mark_line(strokeDash=[6, 4], strokeWidth=1.1).encode(y="rate_expected:Q"),
        base.mark_line(strokeWidth=1.2).encode(y="rate_local:Q"),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            y=alt.Y("rate_local:Q", **heights),
            shape=style.shape(colour, values),
            tooltip=[
                *style.name_tips(table, [*row, "particles"]),
                style.tip("rate_local", "local rate"),
                style.tip("rate_local_low", "95 % from"),
                style.tip("rate_local_high", "95 % to"),
                style.tip("rate_expected", "expected"),
            ],
        ),
    ]
    return present(layers, table, colour, row, static=static)

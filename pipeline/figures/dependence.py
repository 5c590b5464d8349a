"""How far other controls move the law, and how far they may."""

import altair as alt
import pandas as pd
import xarray as xr

from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.tables import frame, keys_of

BOUNDS = ("bound_integral", "bound_supremum")


def dependence_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_dependence`: ``w1_perturbed`` and its two bounds.

    Raises:
        FigureError: if the store has no such distances.
    """
    return frame(tree, "dependence", ["w1_perturbed"], BOUNDS)


def plot_dependence(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """W1 between the laws under two controls over time (solid), and its bounds (dashed, dotted).

    Raises:
        FigureError: if the store has no such distances.
    """
    table = dependence_table(tree)
    row = keys_of(table, "snapshot", "w1_perturbed", *BOUNDS)
    colour = colour_key(table, row)
    values = table[colour].unique().tolist()
    x = alt.X("snapshot:Q", axis=alt.Axis(title="time t"), scale=alt.Scale(nice=False))
    y = style.linear_axis("W₁ of the two laws", zero=True)
    base = alt.Chart().encode(x=x, color=style.colour(colour, values))
    layers = [
        base.mark_line(strokeDash=[6, 4]).encode(y=alt.Y("bound_integral:Q", **y)),
        base.mark_line(strokeDash=[2, 3]).encode(y=alt.Y("bound_supremum:Q", **y)),
        base.mark_line().encode(y=alt.Y("w1_perturbed:Q", **y)),
        base.mark_point(filled=True, size=46, opacity=1).encode(
            y=alt.Y("w1_perturbed:Q", **y),
            shape=style.shape(colour, values),
            tooltip=[
                *style.name_tips(table, [*row, "snapshot"]),
                style.tip("w1_perturbed", "W₁"),
                style.tip("bound_integral", "bound by the integral"),
                style.tip("bound_supremum", "bound by the supremum"),
            ],
        ),
    ]
    return present(layers, table, colour, row, static=static)

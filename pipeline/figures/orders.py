"""Error of the PDE solution against cells, with the fitted order."""

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.lines import with_line
from pipeline.figures.tables import frame, joined, keys_of

ERRORS = {"l1": "L1 of cell averages", "w1": "W₁"}
ROUNDING = 1e-10  # errors of this size, as at time 0, have no order
FIT = ("order", "order_deviation", "order_expected")
NUMBERS = ("error", *FIT, "order_local", "fitted", "expected")


def orders_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_orders`.

    Returns:
        one row per norm, activation (and further axes), cells and snapshot: ``error``, the
        ``order`` fitted over all cells with its standard error, ``order_local`` from the next
        coarser grid, ``order_expected`` where theory gives one, and the lines of the orders:
        ``fitted`` and ``expected``.

    Raises:
        FigureError: if the store has no errors, or one number of cells only.
    """
    parts = [_of_norm(tree, name).assign(norm=title) for name, title in ERRORS.items()]
    table = pd.concat(parts, ignore_index=True)
    if table["cells"].nunique() < 2:
        raise FigureError("the store has one number of cells only: there is no order to see")
    return table.sort_values("cells", kind="stable")


def _of_norm(tree: xr.DataTree, name: str) -> pd.DataFrame:
    error = f"{name}_error"
    table = frame(tree, "limit", [error], along="cells").rename(columns={error: "error"})
    row = keys_of(table, "error", "cells")
    local = [f"{name}_order_local"]
    for names, keys in (([f"{name}_{n}" for n in FIT], row), (local, [*row, "cells"])):
        try:
            found = frame(tree, "analysis", [], names, along="cells")
            table = joined(table, found, keys, names)
        except FigureError:
            table = table.assign(**dict.fromkeys(names, np.nan))
    table = table.rename(columns=lambda column: column.removeprefix(f"{name}_"))
    slopes = table.assign(fall=-table["order"], ideal=-table["order_expected"])
    table["fitted"] = with_line(slopes, "cells", "error", "fall", row, ROUNDING)
    table["expected"] = with_line(slopes, "cells", "error", "ideal", row, ROUNDING)
    return table


def plot_orders(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """Error against cells, log–log: points, fitted order, and the order that theory gives dashed.

    Raises:
        FigureError: if the store has no errors, or one number of cells only.
    """
    table = orders_table(tree)
    table = table[table["error"] > ROUNDING]
    if table.empty:
        raise FigureError("the errors of the PDE solution are rounding errors")
    whole = table
    if static:
        table = table[table["snapshot"] == table["snapshot"].max()]
    row = ["norm", *keys_of(table, "cells", "norm", *NUMBERS)]
    colour = colour_key(table, row[1:])
    values = table[colour].unique().tolist()
    x = alt.X("cells:Q", **style.log_axis(table["cells"], "cells N"))
    heights = style.free_log_axis("error of the PDE solution")
    base = alt.Chart().encode(x=x, color=style.colour(colour, values))
    expected = base.mark_line(strokeDash=[6, 4], strokeWidth=1.1, opacity=0.8)
    layers = [
        *([expected.encode(y=alt.Y("expected:Q", **heights))] if _known(table) else []),
        base.mark_line().encode(y=alt.Y("fitted:Q", **heights)),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            y=alt.Y("error:Q", **heights),
            shape=style.shape(colour, values),
            tooltip=[
                *style.name_tips(table, [*row, "cells"]),
                style.tip("error", "error"),
                style.tip("order", "order"),
                style.tip("order_deviation", "its standard error"),
                style.tip("order_expected", "order expected"),
                style.tip("order_local", "order from the coarser grid"),
            ],
        ),
    ]
    return present(layers, table, colour, row, static=static, independent=True, whole=whole)


def _known(table: pd.DataFrame) -> bool:
    """Whether theory gives an order anywhere."""
    return bool(table["expected"].notna().any())

"""Densities over time: f_0, f_t of the PDE, the target g, and histograms of particles."""

import re
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, present
from pipeline.figures.tables import curves, dataset, keys_of, several, study_axes

KINDS = ("f₀", "f_t", "particles", "g")
NUMBERS = ("kind", "x", "density")
MAX_ROWS = 60_000
"""Points of all curves in an interactive figure; above, neighbouring cells are averaged."""
FEWEST_CELLS = 60


def densities_table(tree: xr.DataTree, others: pd.DataFrame | None = None) -> pd.DataFrame:
    """The numbers behind :func:`plot_densities`.

    Args:
        tree: a store, as xarray opens it.
        others: further curves with the same columns, such as histograms of particles.

    Returns:
        one row per curve and place x: ``kind``, the axes, ``x`` and ``density``.

    Raises:
        FigureError: if the store has no densities, nor others are given.
    """
    parts = [_of_cells(tree, path, cells) for path, cells in _fields(tree)]
    parts = [part for part in parts if not part.empty]
    if parts:
        density = pd.concat(parts, ignore_index=True)
        parts = [density, _initial(density)]
    if others is not None and not others.empty:
        parts = _crossed(parts, others)
    if not parts:
        raise FigureError("the store has no densities")
    return pd.concat(parts, ignore_index=True)


def _fields(tree: xr.DataTree) -> list[tuple[str, int]]:
    """The groups of densities of the study's numbers of cells, and these numbers."""
    children = tree["limit"].children if "limit" in tree.children else {}
    found = {int(m[1]): name for name in children if (m := re.fullmatch(r"cells_(\d+)", name))}
    axis = next((axis for axis in study_axes(tree) if "cells" in axis.keys), None)
    wanted = axis.labels("cells") if axis else list(found)
    return [(f"limit/{found[n]}", n) for n in sorted(set(wanted) & set(found))]


def _of_cells(tree: xr.DataTree, path: str, cells: int) -> pd.DataFrame:
    found = dataset(tree, path)[["density", "position"]]
    found = found.drop_vars("x", errors="ignore")
    table = found.to_dataframe().reset_index().rename(columns={"x": "cell", "position": "place"})
    table = table.rename(columns={"place": "x"}).drop(columns="cell").dropna(subset=["density"])
    return table.assign(cells=cells, kind="f_t")


def _initial(density: pd.DataFrame) -> pd.DataFrame:
    """The density at time 0 once more, to stand beside those of later snapshots."""
    at_zero = density[density["snapshot"] == 0].drop(columns="snapshot")
    later = pd.DataFrame({"snapshot": density["snapshot"].unique()})
    return at_zero.assign(kind="f₀").merge(later, how="cross")


def _crossed(parts: list[pd.DataFrame], others: pd.DataFrame) -> list[pd.DataFrame]:
    """Densities and further curves, each repeated along the axes that only the others have."""
    if not parts:
        return [others]
    return [*(_along(part, others) for part in parts), _along(others, parts[0])]


def _along(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    keys = [key for key in keys_of(other, *NUMBERS) if key not in table]
    return table.merge(other[keys].drop_duplicates(), how="cross") if keys else table


def plot_densities(
    tree: xr.DataTree, others: pd.DataFrame | None = None, *, static: bool = False
) -> Chart:
    """f_0, f_t, g and particle histograms against x, with a slider over the snapshots.

    Raises:
        FigureError: if the store has no densities, nor others are given.
    """
    table = densities_table(tree, others)
    keys = keys_of(table, *NUMBERS)
    whole = table
    varying = several(table, [key for key in keys if key != "snapshot"])
    if static:
        varying = []
        table = _first(table, [key for key in keys if key not in ("snapshot", "activation")])
    shown = curves(_coarser(table, keys), ["kind", *keys], ["x", "density"], digits=4)
    kinds = [kind for kind in KINDS if kind in set(table["kind"])]
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=_range(table), nice=False),
        axis=alt.Axis(title="x", tickCount=7),
    )
    top = float(np.nanquantile(table["density"], 0.998)) * 1.08
    y = alt.Y(
        "density:Q",
        stack=None,
        scale=alt.Scale(domain=[0, top]),
        axis=alt.Axis(title="density", tickCount=5),
    )
    hue = alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS), range=_hues()), title=None)
    hue = hue.legend(alt.Legend(orient="top", values=kinds, symbolType="square", symbolOpacity=1))
    base = alt.Chart().encode(x=x, y=y, color=hue)
    layers = [
        _only(base, "particles").mark_area(clip=True, opacity=0.3),
        _only(base, "f₀").mark_line(clip=True, strokeWidth=1.2, strokeDash=[2, 2]),
        _only(base, "g").mark_line(clip=True, strokeDash=[6, 4]),
        _only(base, "f_t").mark_line(clip=True, strokeWidth=2),
        _only(base, "f_t")
        .mark_point(clip=True, opacity=0, size=60)
        .encode(
            tooltip=[
                *style.name_tips(shown, [*varying, "snapshot"]),
                style.tip("x", "x"),
                style.tip("density", "f_t"),
            ]
        ),
        _clock(),
    ]
    order = sorted(keys, key=lambda key: key == "snapshot")
    return present(
        layers, shown, None, order, static=static, slider="snapshot", flatten=("x", "density"),
        whole=whole,
    )  # fmt: skip


def _only(chart: alt.Chart, kind: str) -> alt.Chart:
    found: alt.Chart = chart.transform_filter(alt.FieldEqualPredicate(field="kind", equal=kind))
    return found


def _clock() -> alt.Chart:
    """The time that is shown, in the corner."""
    found: alt.Chart = (
        alt.Chart()
        .transform_aggregate(t="min(snapshot)")
        .transform_calculate(clock="'t = ' + format(datum.t, '.4~g')")
        .mark_text(align="right", baseline="top", dx=-8, dy=8, fontSize=13, color=style.INK)
        .encode(x=alt.value("width"), y=alt.value(0), text="clock:N")
    )
    return found


def _hues() -> list[str]:
    return [style.PALETTE[0], style.PALETTE[3], style.PALETTE[5], style.PALETTE[4]]


def _range(table: pd.DataFrame) -> list[float]:
    """The part of the line where there is mass."""
    some = table[table["density"] > 1e-3 * table["density"].max()]["x"]
    room = 0.03 * (some.max() - some.min())
    return [float(some.min() - room), float(some.max() + room)]


def _first(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows at the first value of each key; at the finest grid."""
    for key in keys:
        first = table[key].max() if key == "cells" else table[key].iloc[0]
        table = table[table[key] == first]
    return table


def _coarser(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Averages of neighbouring places, where all would be too many for a page."""
    if len(table) <= MAX_ROWS:
        return table
    groups = ["kind", *keys]
    number = table.groupby(groups, sort=False, dropna=False).ngroups
    wanted = max(FEWEST_CELLS, MAX_ROWS // number)
    grouped = table.groupby(groups, sort=False, dropna=False)
    place = grouped.cumcount()
    length = grouped["x"].transform("size")
    block = (place * np.minimum(wanted, length) // length).rename("block")
    averaged = table.groupby([*groups, block], sort=False, dropna=False)[["x", "density"]].mean()
    return averaged.reset_index().drop(columns="block")

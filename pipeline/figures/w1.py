"""W1 against M: mean over the seeds with its interval, the fit, and the slope that theory gives."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.lines import with_line
from pipeline.figures.tables import frame, joined, keys_of, mean_interval, several

FIT = ("rate", "rate_low", "rate_high", "prefactor")
MAYBE = ("first_particles", "rate_expected", "prefactor_expected")
LINES: dict[str, dict[str, Any]] = {
    "expected": {"strokeDash": [6, 4], "strokeWidth": 1.1, "opacity": 0.9},
    "before": {"strokeDash": [1, 3]},
    "fitted": {},
}
TITLE = "W₁, mean over seeds"
MEANS = ("w1_mean", "w1_mean_low", "w1_mean_high")


def w1_table(tree: xr.DataTree, distance: str = "w1") -> pd.DataFrame:
    """The numbers behind :func:`plot_w1`.

    Args:
        tree: a store, as xarray opens it.
        distance: ``w1``, or in R^d ``sliced_w1``.

    Returns:
        one row per activation (and further axes), M and snapshot: ``mean`` over ``count`` seeds,
        ``low`` and ``high`` of its 95 % interval, ``fitted`` and ``expected`` W1, and the fit.

    Raises:
        FigureError: if the store has no such distances.
    """
    points = frame(tree, "particles", [distance])
    row = keys_of(points, distance, "particles", "seed")
    table = mean_interval(points, distance, [*row, "particles"])
    if distance == "w1":
        table = _with_stored_means(tree, table, [*row, "particles"])
    table = table.sort_values("particles", kind="stable")
    return _with_fit(tree, table, row, "sliced_" if distance.startswith("sliced_") else "")


def _with_stored_means(tree: xr.DataTree, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The means as the analysis has them: it leaves out those that lack seeds."""
    try:
        stored = frame(tree, "analysis", MEANS)
    except FigureError:
        return table
    merged = joined(table, stored, keys, MEANS)
    for own, name in zip(("mean", "low", "high"), MEANS, strict=True):
        merged[own] = merged[name]
    return merged.drop(columns=list(MEANS))


def _with_fit(tree: xr.DataTree, table: pd.DataFrame, row: list[str], prefix: str) -> pd.DataFrame:
    names = [f"{prefix}{name}" for name in (*FIT, *MAYBE)]
    try:
        fits = frame(tree, "analysis", [], names)
    except FigureError:
        fits = table[row].drop_duplicates().assign(**dict.fromkeys(names, np.nan))
    fits = fits.rename(columns=dict(zip(names, (*FIT, *MAYBE), strict=True)))
    found = joined(table, fits, row, [*FIT, *MAYBE])
    fitted = found["prefactor"] * found["particles"].astype(float) ** found["rate"]
    through = with_line(found, "particles", "mean", "rate", row)
    found["fitted"] = fitted.where(found["prefactor"].notna(), through)
    found["expected"] = _expected(found, row)
    return found


def _expected(table: pd.DataFrame, row: list[str]) -> pd.Series:
    """The line of theory; through the last mean where theory gives only the slope."""
    last = table.sort_values("particles").groupby(row, sort=False)[["particles", "mean"]].last()
    ends = table[row].merge(last.reset_index(), on=row, how="left")
    size = table["particles"].astype(float)
    through = (
        ends["mean"].to_numpy() * (size / ends["particles"].to_numpy()) ** table["rate_expected"]
    )
    known = table["prefactor_expected"] * size ** table["rate_expected"]
    return known.where(known.notna(), through)


def plot_w1(tree: xr.DataTree, distance: str = "w1", *, static: bool = False) -> Chart:
    """W1 against M, log–log: points with 95 % bands, fitted lines, expected slopes dashed.

    Args:
        tree: a store, as ``xarray.open_datatree(path)`` gives it.
        distance: ``w1``, or in R^d ``sliced_w1``.
        static: small multiples in place of inputs, as for a paper.

    Raises:
        FigureError: if the store has no such distances.
    """
    table = w1_table(tree, distance)
    row = keys_of(
        table, "particles", "mean", "low", "high", "count", "fitted", "expected", *FIT, *MAYBE
    )
    shown = table.assign(low=table["low"].where(table["low"] > 0))
    shown["before"] = shown["fitted"].where(shown["particles"] <= shown["first_particles"])
    shown["fitted"] = shown["fitted"].where(~(shown["particles"] < shown["first_particles"]))
    shown["note"] = [_note(*fit) for fit in shown[[*FIT[:3]]].itertuples(index=False, name=None)]
    colour = colour_key(table, row)
    several_scales = several(table, [key for key in row if key not in (colour, "snapshot")])
    heights = style.free_log_axis(TITLE)
    if not several_scales:
        heights = style.log_axis(pd.concat([shown[n] for n in ("low", "high", "mean")]), TITLE)
    layers = _layers(shown, colour, row, heights)
    return present(layers, shown, colour, row, static=static)


def _layers(
    table: pd.DataFrame, colour: str, row: list[str], heights: dict[str, Any]
) -> list[alt.Chart]:
    values = table[colour].unique().tolist()
    x = alt.X("particles:Q", **style.log_axis(table["particles"], "particles M"))
    hue = style.colour(colour, values)
    base = alt.Chart().encode(x=x, color=hue)

    def line(field: str, **mark: Any) -> alt.Chart:
        drawn: alt.Chart = base.mark_line(**mark).encode(y=alt.Y(f"{field}:Q", **heights))
        return drawn

    return [
        base.mark_area(opacity=style.haze(values)).encode(y=alt.Y("low:Q", **heights), y2="high:Q"),
        *(line(field, **mark) for field, mark in LINES.items() if table[field].notna().any()),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            y=alt.Y("mean:Q", **heights),
            shape=style.shape(colour, values),
            tooltip=[*style.name_tips(table, [*row, "particles"]), *_numbers()],
        ),
        *_notes(table, colour, values),
    ]


def _numbers() -> list[alt.Tooltip]:
    return [
        style.tip("mean", "W₁"),
        style.tip("low", "95 % from"),
        style.tip("high", "95 % to"),
        style.count_tip("count", "seeds"),
        style.tip("rate", "rate"),
        style.tip("rate_low", "rate, 95 % from"),
        style.tip("rate_high", "rate, 95 % to"),
        style.tip("rate_expected", "rate expected"),
    ]


def _notes(table: pd.DataFrame, colour: str, values: list[Any]) -> list[alt.Chart]:
    """The fitted rates, in the corner that falling curves leave free."""
    last = table["particles"].max()
    return [
        alt.Chart()
        .mark_text(align="left", baseline="bottom", fontSize=11, dx=8, dy=-6 - 14 * number)
        .transform_filter(f"datum.particles === {last}")
        .transform_filter(alt.FieldEqualPredicate(field=colour, equal=value))
        .encode(
            x=alt.value(0),
            y=alt.value("height"),
            text="note:N",
            color=style.colour(colour, values),
        )
        for number, value in enumerate(reversed(values))
    ]


def _note(rate: float, low: float, high: float) -> str:
    if not np.isfinite(rate):
        return ""
    interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
    return f"rate {rate:.3f}{interval}".replace("-", "−")

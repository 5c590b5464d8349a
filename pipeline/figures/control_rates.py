"""How fast optimal controls of M samples, and their cost, approach those of the mean field."""

import altair as alt
import pandas as pd
import xarray as xr

from pipeline.errors import FigureError
from pipeline.figures import style
from pipeline.figures.choices import Chart, colour_key, present
from pipeline.figures.lines import with_line
from pipeline.figures.tables import frame, joined, keys_of, mean_interval

SIZE = "training_particles"
NUMBERS = ("mean", "low", "high", "count", "rate", "rate_low", "rate_high", "fitted")


def control_rates_table(tree: xr.DataTree) -> pd.DataFrame:
    """The numbers behind :func:`plot_control_rates`.

    Returns:
        one row per quantity (distance of the controls in C0 and L2, gap of the cost), activation
        (and further axes) and M: its ``mean`` over the seeds with its 95 % interval, the fitted
        ``rate`` and the line.

    Raises:
        FigureError: if the store has no controls trained on several numbers of samples.
    """
    distance = frame(tree, "train", ["control_distance"], along=SIZE)
    if SIZE not in distance:
        raise FigureError("the store has one number of training particles only")
    distance = distance.rename(columns={"control_distance": "value"})
    distance["quantity"] = "controls in " + distance["norm"].astype(str)
    gap = frame(tree, "train", ["cost_gap"], along=SIZE).rename(columns={"cost_gap": "value"})
    gap = gap.assign(value=gap["value"].abs(), quantity="|cost gap|", norm="")
    points = pd.concat([distance, gap], ignore_index=True)
    row = keys_of(points, "value", SIZE, "seed")
    table = mean_interval(points, "value", [*row, SIZE]).sort_values(SIZE, kind="stable")
    table = joined(table, _rates(tree), row, NUMBERS[4:7])
    slope = table.assign(slope=table["rate"])
    table["fitted"] = with_line(slope, SIZE, "mean", "slope", row)
    return table.drop(columns="norm")


def _rates(tree: xr.DataTree) -> pd.DataFrame:
    ends = ("", "_low", "_high")
    parts = []
    for name in ("control_rate", "cost_gap_rate"):
        names = {f"{name}{end}": f"rate{end}" for end in ends}
        found = frame(tree, "analysis", list(names)[:1], list(names)[1:]).rename(columns=names)
        if "norm" in found:
            found["quantity"] = "controls in " + found["norm"].astype(str)
        else:
            found = found.assign(quantity="|cost gap|", norm="")
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def plot_control_rates(tree: xr.DataTree, *, static: bool = False) -> Chart:
    """Distances to the mean-field optimum against M, log–log, with their fitted rates.

    Raises:
        FigureError: if the store has no controls trained on several numbers of samples.
    """
    table = control_rates_table(tree)
    row = keys_of(table, SIZE, *NUMBERS)
    first = ["quantity", *(key for key in row if key != "quantity")]
    colour = colour_key(table, [key for key in row if key != "quantity"])
    values = table[colour].unique().tolist()
    shown = table.assign(low=table["low"].where(table["low"] > 0))
    x = alt.X(f"{SIZE}:Q", **style.log_axis(table[SIZE], "training particles M"))
    heights = style.log_axis(pd.concat([table["mean"], table["high"]]), "mean over seeds")
    base = alt.Chart().encode(x=x, color=style.colour(colour, values))
    layers = [
        base.mark_area(opacity=style.haze(values), clip=True).encode(
            y=alt.Y("low:Q", **heights), y2="high:Q"
        ),
        base.mark_line(clip=True).encode(y=alt.Y("fitted:Q", **heights)),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            y=alt.Y("mean:Q", **heights),
            shape=style.shape(colour, values),
            tooltip=[
                *style.name_tips(shown, [*first, SIZE]),
                style.tip("mean", "mean"),
                style.count_tip("count", "seeds"),
                style.tip("rate", "rate"),
                style.tip("rate_low", "rate, 95 % from"),
                style.tip("rate_high", "rate, 95 % to"),
            ],
        ),
    ]
    return present(layers, shown, colour, first, static=static)

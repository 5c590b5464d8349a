"""How figures look: colours that are told apart without colour vision, axes, words and fonts."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

PALETTE = (
    "#4b5563", "#d55e00", "#008f68", "#0072b2", "#b3448f", "#a67400", "#3d9fd6", "#7a1f1f",
)  # fmt: skip
"""Okabe and Ito's hues, darkened until thin lines stand out from white."""
SHAPES = (
    "circle", "triangle-up", "square", "diamond", "cross", "triangle-down", "triangle-right",
    "stroke",
)  # fmt: skip
ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh", "gcu")
"""Each has the same colour and shape in every figure."""
MUTED = "#6b7280"
INK = "#1f2933"
GRID = "#e3e7ec"
FONT = "'DejaVu Sans', 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
"""The first has superscripts and subscripts, which files must not miss."""
HEIGHT = 320
WORDS = {
    "activation": "activation",
    "gamma": "γ",
    "gamma_w": "γ (w)",
    "gamma_b": "γ (b)",
    "cells": "cells N",
    "particles": "particles M",
    "training_particles": "training particles M",
    "snapshot": "time t",
    "seed": "seed",
    "store": "store",
}


def word(key: str) -> str:
    """What an axis is called in figures."""
    return WORDS.get(key, key.replace("_", " "))


def show(value: Any) -> str:
    """A value of an axis in figures."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def looks(values: Sequence[Any]) -> dict[Any, int]:
    """For each value of the coloured axis its place in PALETTE and SHAPES."""
    free = (i for i in range(len(ACTIVATIONS), 10**6))
    if not set(values) & set(ACTIVATIONS):
        return {value: (number + 3) % len(PALETTE) for number, value in enumerate(values)}
    return {
        value: (ACTIVATIONS.index(value) if value in ACTIVATIONS else next(free)) % len(PALETTE)
        for value in values
    }


def haze(values: Sequence[Any]) -> float:
    """The opacity of bands: thinner where more of them overlap."""
    return 0.16 if len(values) < 4 else 0.07


def colour(key: str, values: Sequence[Any], *, symbol: str | None = None) -> alt.Color:
    """The colour of a series, and the symbol that stands for it in the legend."""
    hues = [PALETTE[place] for place in looks(values).values()]
    scale = alt.Scale(domain=list(values), range=hues)
    return alt.Color(f"{key}:N", scale=scale, legend=_legend(symbol), title=None)


def shape(key: str, values: Sequence[Any]) -> alt.Shape:
    """The mark of a series, which tells it apart without colour."""
    marks = [SHAPES[place] for place in looks(values).values()]
    scale = alt.Scale(domain=list(values), range=marks)
    return alt.Shape(f"{key}:N", scale=scale, legend=_legend(None), title=None)


def _legend(symbol: str | None) -> alt.Legend:
    kind: dict[str, Any] = {"symbolType": symbol, "symbolStrokeWidth": 2} if symbol else {}
    return alt.Legend(
        orient="top", direction="horizontal", offset=6, symbolSize=70, symbolOpacity=1, **kind
    )


def log_axis(numbers: Iterable[float], title: str, *, room: float = 1.25) -> dict[str, Any]:
    """Scale and axis for positive numbers: a fixed logarithmic range with ticks at decades.

    Where there is less than two decades, ticks are at 1, 2 and 5 times powers of ten.
    """
    known = np.array([n for n in numbers if n is not None and np.isfinite(n) and n > 0])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.1, 1.0)
    low, high = low / room, high * room
    ticks = _ticks(low, high)
    labels = [_power(tick) for tick in ticks]
    axis = alt.Axis(
        title=title,
        values=ticks,
        grid=True,
        labelExpr=f"{labels!r}[indexof({ticks!r}, datum.value)]",
    )
    return {"scale": alt.Scale(type="log", domain=[low, high], nice=False), "axis": axis}


def free_log_axis(title: str | None) -> dict[str, Any]:
    """A logarithmic scale that fits itself to what is shown, its grid strong at powers of ten."""
    power = "abs(log(datum.value) / LN10 - round(log(datum.value) / LN10)) < 1e-6"
    axis = alt.Axis(
        title=title,
        gridOpacity=alt.condition(power, alt.value(1), alt.value(0.3)),
        labelExpr="indexof('125', slice(format(datum.value, '.0e'), 0, 1)) < 0 ? '' : "
        "datum.value >= 1e-3 && datum.value < 1e4 ? format(datum.value, '~g')"
        " : format(datum.value, '~e')",
        labelSeparation=6,
    )
    return {"scale": alt.Scale(type="log", nice=False, padding=10), "axis": axis}


def linear_axis(title: str, *, zero: bool = False) -> dict[str, Any]:
    """Scale and axis for numbers of any sign."""
    return {"scale": alt.Scale(zero=zero, nice=True), "axis": alt.Axis(title=title, grid=True)}


def _ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = math.log10(high / low)
    steps = (
        (1.0,) if span >= 2 else (1.0, 2.0, 5.0) if span > 0.5 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    )
    stride = max(1, math.ceil(span / 9))
    ticks = [float(f"{s}e{e}") for e in range(first, last + 1, stride) for s in steps]
    return [tick for tick in ticks if low <= tick <= high]


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(tick: float) -> str:
    """A tick of a logarithmic axis: powers of ten as such where they are long to write."""
    exponent = math.floor(math.log10(tick) + 1e-12)
    factor = tick / 10.0**exponent
    if -2 <= exponent <= 3:
        return f"{tick:g}"
    power = "10" + str(exponent).translate(SUPERSCRIPTS)
    return power if abs(factor - 1) < 1e-9 else f"{factor:g}·{power}"


def tip(field: str, title: str, digits: int = 4) -> alt.Tooltip:
    """A number that hovering shows."""
    return alt.Tooltip(f"{field}:Q", title=title, format=f".{digits}g")


def count_tip(field: str, title: str) -> alt.Tooltip:
    """A whole number that hovering shows."""
    return alt.Tooltip(f"{field}:Q", title=title, format=",.0f")


def name_tips(table: pd.DataFrame, keys: Iterable[str]) -> list[alt.Tooltip]:
    """The place of a point on the axes, for hovering."""
    return [
        alt.Tooltip(f"{key}:Q", title=word(key), format=",.6~g")
        if pd.api.types.is_numeric_dtype(table[key])
        else alt.Tooltip(f"{key}:N", title=word(key))
        for key in keys
    ]


def config() -> dict[str, Any]:
    """The look of a figure on white."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12}
    return {
        "background": "white",
        "font": FONT,
        "view": {"stroke": GRID},
        "axis": text
        | {
            "titleFontWeight": "normal", "gridColor": GRID, "domainColor": MUTED,
            "tickColor": MUTED, "tickSize": 4, "labelOverlap": "greedy",
        },
        "legend": text | {"titleFontWeight": "normal", "labelLimit": 260},
        "header": text | {"labelFontSize": 12, "labelLimit": 420},
        "title": {
            "color": INK, "subtitleColor": MUTED, "fontSize": 14, "fontWeight": 600,
            "subtitleFontSize": 12, "anchor": "start", "offset": 12,
        },
        "line": {"strokeWidth": 1.75},
    }  # fmt: skip

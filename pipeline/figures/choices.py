"""How a figure of many rows is looked at: inputs that choose among them, or small multiples."""

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import pandas as pd

from pipeline.figures.style import HEIGHT, config, show, word
from pipeline.figures.tables import records, several

MAX_PANELS = 12
MAX_COLOURS = 8
FINEST_LAST = ("snapshot", "cells")
"""Keys whose largest value is what one looks at first."""
Layers = Sequence[alt.Chart]
Chart: TypeAlias = alt.LayerChart | alt.FacetChart


def colour_key(table: pd.DataFrame, keys: Sequence[str]) -> str:
    """The axis that colours tell apart: the activations, or the first other one that varies."""
    varying = [key for key in several(table, keys) if table[key].nunique() <= MAX_COLOURS]
    if "activation" in varying or not varying:
        return "activation" if "activation" in table else keys[0]
    return next((key for key in varying if key != "snapshot"), varying[0])


def present(
    layers: Layers,
    table: pd.DataFrame,
    colour: str | None,
    keys: Sequence[str],
    *,
    static: bool = False,
    slider: str = "",
    flatten: Sequence[str] = (),
    independent: bool = False,
    height: int | alt.Step = HEIGHT,
    whole: pd.DataFrame | None = None,
    first: Mapping[str, Any] | None = None,
) -> Chart:
    """A chart of some layers over a table.

    Args:
        layers: marks and encodings, without data.
        table: the numbers.
        colour: the axis that has a colour for each value, and a checkbox; None for a figure whose
            colours mean numbers.
        keys: further axes; those with several values get a menu each.
        static: small multiples in place of the inputs, as for a paper.
        slider: the key that has a slider instead of a menu.
        flatten: columns whose lists are the points of a row's curve.
        independent: whether each of the small multiples has scales of its own.
        height: in pixels, or so many for each row of names.
        whole: the table with what small multiples leave out; what they hold is said above them.
        first: values that menus open at.
    """
    chosen = [key for key in several(table, keys) if key != colour]
    if static:
        table = table.explode(list(flatten), ignore_index=True) if flatten else table
        held = _held(table, table if whole is None else whole, keys)
        return _small_multiples(layers, table, chosen, height, held, independent=independent)
    conditions: list[str] = []
    parameters = []
    for key in chosen:
        values = _values(table, key)
        parameter, condition = _slider(key, values) if key == slider else _menu(key, values, first)
        parameters.append(parameter)
        conditions.append(condition)
    toggles, shown = _toggles(colour, table[colour].unique().tolist()) if colour else ([], [])
    chart: Any = alt.layer(*layers, data=alt.InlineData(values=records(table)))
    for text in (*conditions, *shown):
        chart = chart.transform_filter(text)
    if flatten:
        chart = chart.transform_flatten(list(flatten))
    chart = chart.add_params(*parameters, *toggles)
    fit = alt.AutoSizeParams(type="fit-x", contains="padding")
    chart = chart.properties(width="container", height=height, autosize=fit)
    sized: Chart = chart.configure(**config())
    return sized


def _menu(
    key: str, values: list[Any], first: Mapping[str, Any] | None
) -> tuple[alt.Parameter, str]:
    name = f"choose_{key}"
    opened = (first or {}).get(key, values[-1] if key in FINEST_LAST else values[0])
    bound = alt.binding_select(
        options=values, labels=[show(value) for value in values], name=f"{word(key)} "
    )
    return alt.param(name=name, value=opened, bind=bound), f"datum[{json.dumps(key)}] === {name}"


def _slider(key: str, values: list[Any]) -> tuple[alt.Parameter, str]:
    """A slider over the positions of the values."""
    name = f"choose_{key}"
    bound = alt.binding_range(min=0, max=len(values) - 1, step=1, name=f"{word(key)} ")
    numbers = json.dumps(values)
    return alt.param(
        name=name, value=len(values) - 1, bind=bound
    ), f"datum[{json.dumps(key)}] === {numbers}[{name}]"


def _toggles(key: str, values: list[Any]) -> tuple[list[alt.Parameter], list[str]]:
    if len(values) < 2:
        return [], []
    names = [f"show_{number}" for number in range(len(values))]
    boxes = [
        alt.param(name=name, value=True, bind=alt.binding_checkbox(name=f"{show(value)} "))
        for name, value in zip(names, values, strict=True)
    ]
    return boxes, [f"[{', '.join(names)}][indexof({json.dumps(values)}, datum[{json.dumps(key)}])]"]


def _values(table: pd.DataFrame, key: str) -> list[Any]:
    """The values of a key: numbers ascending where they measure something, else as they come."""
    found = table[key].unique().tolist()
    return sorted(found) if key in (*FINEST_LAST, "particles") else found


def _small_multiples(
    layers: Layers,
    table: pd.DataFrame,
    chosen: list[str],
    height: int | alt.Step,
    held: tuple[list[str], bool],
    *,
    independent: bool,
) -> Chart:
    table, chosen, fixed = _fewer(table, chosen)
    panels = len(table[chosen].drop_duplicates()) if chosen else 1
    table, names = _panels(table, chosen)
    shown = [*held[0], *fixed, *([f"{MAX_PANELS} of {panels} panels"] * (panels > MAX_PANELS))]
    rest = "; the rest is in the CSV" if held[1] or fixed or panels > MAX_PANELS else ""
    above = {"title": _above(", ".join(shown) + rest)} if shown else {}
    data = alt.InlineData(values=records(table))
    single = len(names) < 2
    size: dict[str, Any] = {"width": 420, "height": height}
    if not single:
        size = {"width": 250, "height": 220 if isinstance(height, int) else height}
    chart: Any = alt.layer(*layers).properties(**size)
    found: Chart
    if single:
        found = chart.properties(data=data, **above).configure(**config())
        return found
    header = alt.Header(labelAnchor="start", titleAnchor="start", titleFontWeight="normal")
    panel = alt.Facet("panel:N", sort=names, title=None, header=header)
    last = table[chosen[-1]].nunique()
    columns = last * max(1, 4 // last) if 2 <= last <= 5 else min(len(names), 4)
    chart = chart.facet(facet=panel, columns=columns, data=data, spacing=18).properties(**above)
    if independent:
        chart = chart.resolve_scale(x="independent", y="independent")
    found = chart.configure(**config())
    return found


def _held(table: pd.DataFrame, whole: pd.DataFrame, keys: Sequence[str]) -> tuple[list[str], bool]:
    """What a table holds at one value, the time always, and whether this leaves anything out."""
    left_out = [key for key in several(whole, keys) if table[key].nunique() == 1]
    one_time = "snapshot" in table and table["snapshot"].nunique() == 1
    said = [*(["snapshot"] if one_time else []), *(key for key in left_out if key != "snapshot")]
    return [labelled(key, table[key].iloc[0]) for key in said], bool(left_out)


def _above(text: str) -> alt.TitleParams:
    return alt.TitleParams(text=wrap(text, 76), fontSize=12, fontWeight="normal")


def _fewer(table: pd.DataFrame, chosen: list[str]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Hold axes at one value, the last of them first, until the panels are few enough."""
    fixed = []
    while len(chosen) > 1 and len(table[chosen].drop_duplicates()) > MAX_PANELS:
        key = next((k for k in reversed(chosen) if k != "snapshot"), chosen[-1])
        values = _values(table, key)
        value = values[-1] if key in FINEST_LAST else values[0]
        fixed.append(f"{_short(key)} = {show(value)}")
        table = table[table[key] == value]
        chosen = [k for k in chosen if k != key]
    return table, chosen, fixed


def _panels(table: pd.DataFrame, chosen: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows of at most twelve panels, spread over all, and the panels' names."""
    if not chosen:
        return table, []
    order = {key: {v: i for i, v in enumerate(_values(table, key))} for key in chosen}
    combinations = table[chosen].drop_duplicates()
    combinations = combinations.sort_values(
        chosen, key=lambda column: column.map(order[str(column.name)])
    )
    places = sorted({round(i) for i in np.linspace(0, len(combinations) - 1, MAX_PANELS)})
    kept = combinations.iloc[places]
    names = [
        ", ".join(labelled(key, value) for key, value in zip(chosen, row, strict=True))
        for row in kept.itertuples(index=False, name=None)
    ]
    return table.merge(kept.assign(panel=names), on=chosen, how="inner"), names


def labelled(key: str, value: Any) -> str:
    """A value with the name of its axis, where it does not speak for itself."""
    plain = key in ("activation", "norm", "quantity", "control", "step")
    return show(value) if plain else f"{_short(key)} = {show(value)}"


def _short(key: str) -> str:
    return {"snapshot": "t", "cells": "N", "particles": "M"}.get(key, word(key))

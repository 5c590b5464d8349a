"""The history of every tracked number as charts of the page: one per variable, alarms first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from pipeline.regression.findings import Number, Step, place
from pipeline.regression.history import Record
from pipeline.regression.verdict import Verdict, step_text
from pipeline.regression.versions import versions
from pipeline.report.charts import embedded

MOST_NIGHTS = 200
"""The page shows so many of the newest; the history keeps all."""
HEIGHT = 190
SHOWN = ("commit", "meanfield", "numpy", "numba", "llvmlite", "llvm", "cpu", "host")
"""What of a night is shown on hover."""
LINE, BAD, GOOD, STEP = "var(--series-3)", "var(--series-1)", "var(--series-2)", "var(--series-4)"


@dataclass(frozen=True)
class Chart:
    """The history of one variable.

    Attributes:
        key: of its element.
        study: the study.
        variable: its path in the store.
        alarmed: whether there is an alarm about it tonight.
        steps: how many steps its numbers have.
        numbers: how many numbers of it are tracked.
        specification: Vega-Lite, as text that is safe inside a script element.
    """

    key: str
    study: str
    variable: str
    alarmed: bool
    steps: int
    numbers: int
    specification: Markup


def charts_of(records: Sequence[Record], verdict: Verdict) -> list[Chart]:
    """A chart per variable that tonight tracks: those with alarms first, then those that moved."""
    nights = [record for record in records if record.judged][-MOST_NIGHTS:]
    alarmed = {(finding.study, finding.variable) for finding in verdict.alarms}
    new = {step.number for step in verdict.step_alarms}
    grouped: dict[tuple[str, str], list[Number]] = {}
    for number in nights[-1].numbers if nights else ():
        grouped.setdefault((number.study, number.variable), []).append(number)
    found = []
    for i, ((study, variable), numbers) in enumerate(grouped.items()):
        keys = {number.key for number in numbers}
        steps = [step for step in verdict.steps if step.number in keys]
        numbers.sort(key=lambda n: (n.key not in new, n.key not in {s.number for s in steps}))
        bad = (study, variable) in alarmed or bool(new & keys)
        drawn = embedded(_specification(numbers, steps, nights, verdict, bad=bad))
        key = f"history-{i}"
        found.append(Chart(key, study, variable, bad, len(steps), len(numbers), drawn))
    return sorted(found, key=lambda chart: (not chart.alarmed, not chart.steps))


def _specification(
    numbers: Sequence[Number],
    steps: Sequence[Step],
    nights: Sequence[Record],
    verdict: Verdict,
    *,
    bad: bool,
) -> dict[str, Any]:
    """The chart of a variable; a menu chooses among its numbers."""
    places = {number.key: place(number.at).strip(" ()") or "–" for number in numbers}
    values: list[dict[str, Any]] = [
        {"night": record.night, "at": places[n.key], "value": n.value, "low": n.low, "high": n.high}
        for record in nights
        for n in record.numbers
        if n.key in places and math.isfinite(n.value)
    ]
    base = [row for row in values if row["night"] == verdict.baseline_night]
    marks = [_mark(step, places[step.number]) for step in steps]
    layers = [
        _layer(base, {"type": "rule", "strokeDash": [5, 4], "color": GOOD}, y=_y("value")),
        _layer(
            [row for row in values if math.isfinite(row["low"]) and math.isfinite(row["high"])],
            {"type": "rule", "color": LINE, "opacity": 0.45},
            x=_x(), y=_y("low"), y2={"field": "high"},
        ),
        _layer(values, {"type": "line", "color": LINE}, x=_x(), y=_y("value")),
        _layer(
            marks, {"type": "rule", "color": STEP, "strokeWidth": 2.5, "opacity": 0.75},
            x=_x(), tooltip=[{"field": "text", "title": "step"}],
        ),
        _points(values, nights, bad=bad),
    ]  # fmt: skip
    return {
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": [_menu(list(places.values()))],
        "layer": [layer for layer in layers if layer["data"]["values"]],
    }


def _menu(places: Sequence[str]) -> dict[str, Any]:
    bound = {"bind": {"input": "select", "options": list(places), "name": "at "}}
    return {"name": "place", "value": places[0]} | (bound if len(places) > 1 else {})


def _layer(values: Sequence[Mapping[str, Any]], mark: dict[str, Any], **encoding: Any) -> Any:
    finite = [{k: v for k, v in row.items() if v == v} for row in values]  # NaN is no JSON
    rows = [row | {"when": _time(row["night"])} for row in finite]
    only = [{"filter": "datum.at === place"}]
    return {"data": {"values": rows}, "transform": only, "mark": mark, "encoding": encoding}


def _points(
    values: Sequence[Mapping[str, Any]], nights: Sequence[Record], *, bad: bool
) -> dict[str, Any]:
    """The nights as points; tonight's is marked where there is an alarm about it."""
    last = nights[-1].night
    tips = [
        {"field": "night", "title": "night"},
        {"field": "value", "type": "quantitative", "title": "value", "format": ".8~g"},
        {"field": "low", "type": "quantitative", "title": "from", "format": ".6~g"},
        {"field": "high", "type": "quantitative", "title": "to", "format": ".6~g"},
        {"field": "outcome", "title": "outcome"},
        *({"field": name, "title": name} for name in SHOWN),
    ]
    layer: dict[str, Any] = _layer(
        values, {"type": "point", "filled": True, "size": 55, "opacity": 1},
        x=_x(), y=_y("value"), tooltip=tips,
        color={"condition": {"test": f"datum.night === '{last}'", "value": BAD if bad else LINE},
               "value": LINE},
    )  # fmt: skip
    facts = {record.night: versions(record.provenance) for record in nights}
    rows = [
        {"night": r.night, "outcome": r.outcome}
        | {name: facts[r.night].get(name, "unknown") for name in SHOWN}
        for r in nights
    ]
    layer["transform"].append(
        {
            "lookup": "night",
            "from": {"data": {"values": rows}, "key": "night", "fields": ["outcome", *SHOWN]},
        }
    )
    return layer


def _mark(step: Step, at: str) -> dict[str, Any]:
    return {"night": step.night, "at": at, "text": step_text(step)}


def _x() -> dict[str, Any]:
    axis = {"title": None, "labelFlush": True, "tickCount": 6}
    return {"field": "when", "type": "temporal", "scale": {"type": "utc"}, "axis": axis}


def _y(field: str) -> dict[str, Any]:
    axis = {"title": None, "format": ".4~g", "tickCount": 5}
    return {"field": field, "type": "quantitative", "scale": {"zero": False}, "axis": axis}


def _time(night: str) -> str:
    """When a night began, as JavaScript reads it."""
    return datetime.strptime(night[:16], "%Y%m%dT%H%M%S%z").isoformat()

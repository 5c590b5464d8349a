"""Figures as a page needs them: specifications without colours of their own, safe inside HTML."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from markupsafe import Markup

from pipeline.errors import FigureError
from pipeline.figures.catalogue import FIGURES, Figure
from pipeline.figures.files import write_figure
from pipeline.figures.style import GRID, INK, MUTED, PALETTE
from pipeline.report.recompute import Recomputed

THEME = {
    **{hue: f"var(--series-{number})" for number, hue in enumerate(PALETTE)},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    "white": "var(--card)",
}
"""Colours of the files, and the style sheet's names for them: these follow the page's theme."""


@dataclass(frozen=True)
class Drawn:
    """A figure of a page.

    Attributes:
        key: of its element.
        figure: what it is.
        specification: its Vega-Lite specification, as text that is safe inside a script element.
        files: addresses of its files, relative to the page.
    """

    key: str
    figure: Figure
    specification: Markup
    files: Mapping[str, str]


def draw_all(tree: xr.DataTree, others: Recomputed, folder: Path, prefix: str) -> dict[str, Drawn]:
    """Draw every figure that a store has something for, and write its files.

    Args:
        tree: the store.
        others: curves that the store does not hold.
        folder: where files go.
        prefix: of the files' names, which keeps two stores apart.
    """
    found = {}
    for figure in FIGURES:
        options = {**figure.options, **_others(figure, others)}
        try:
            chart = figure.plot(tree, **options)
            static = figure.plot(tree, **options, static=True)
            table = figure.table(tree, **options)
        except FigureError:
            continue
        name = f"{prefix}{figure.name}"
        described = figure.of_store(tree)
        files = write_figure(static, table, folder, name)
        found[figure.name] = Drawn(
            name,
            described,
            embedded(themed(chart.to_dict(validate=False), described)),
            {file.suffix[1:].upper(): f"{folder.name}/{file.name}" for file in files},
        )
    return found


def _others(figure: Figure, others: Recomputed) -> dict[str, pd.DataFrame]:
    curves = {"densities": others.densities, "controls": others.controls}
    return {"others": curves[figure.name]} if figure.name in curves else {}


def themed(specification: dict[str, Any], figure: Figure) -> dict[str, Any]:
    """A specification that takes its colours from the page."""
    bare = {k: v for k, v in specification.items() if k not in ("config", "$schema", "background")}
    found: dict[str, Any] = _replaced(bare)
    return {**found, "description": f"{figure.title}. {figure.caption}"}


def _replaced(value: Any) -> Any:
    """The same with the page's names for colours; the data are left as they are."""
    if isinstance(value, dict):
        return {k: v if k == "values" and _is_data(v) else _replaced(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    return THEME.get(value, value) if isinstance(value, str) else value


def _is_data(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def embedded(value: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def script(text: str) -> tuple[Markup, str]:
    """A program inside a script element, and the hash by which the page allows it to run."""
    safe = text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    digest = base64.b64encode(hashlib.sha256(safe.encode()).digest()).decode()
    return Markup(safe), f"'sha256-{digest}'"  # noqa: S704 - from our own files

"""Figures as files: PNG, SVG and PDF for a paper, and the numbers behind them as CSV."""

import json
from pathlib import Path

import altair as alt
import pandas as pd
import vl_convert

from pipeline.files import write_atomically

PNG_SCALE = 2.0
FORMATS = (".png", ".svg", ".pdf")


def write_chart(chart: alt.TopLevelMixin, path: Path) -> Path:
    """Write a static chart in the format that the file's name says; whole or not at all."""
    return _write(path, _converted(svg_of(chart), path.suffix))


def write_figure(
    chart: alt.TopLevelMixin, table: pd.DataFrame, folder: Path, name: str
) -> list[Path]:
    """Write a static chart as PNG, SVG and PDF, and its numbers as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    svg = svg_of(chart)
    files = [_write(folder / f"{name}{end}", _converted(svg, end)) for end in FORMATS]
    csv = table.to_csv(index=False, lineterminator="\n").encode()
    return [*files, _write(folder / f"{name}.csv", csv)]


def svg_of(chart: alt.TopLevelMixin) -> str:
    """A static chart as SVG."""
    return vl_convert.vegalite_to_svg(json.dumps(chart.to_dict(validate=False)))


def _converted(svg: str, suffix: str) -> bytes:
    if suffix == ".png":
        return vl_convert.svg_to_png(svg, scale=PNG_SCALE)
    return vl_convert.svg_to_pdf(svg) if suffix == ".pdf" else svg.encode()


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, content)
    return path

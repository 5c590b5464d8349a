"""The figures that a run leaves in its folder."""

from pathlib import Path

import altair as alt

from pipeline.errors import FigureError
from pipeline.figures.catalogue import FIGURES
from pipeline.figures.choices import Chart
from pipeline.figures.files import write_chart
from pipeline.store import Store

AT_THE_END = ("w1-against-m", "error-against-cells")


def draw_figures(store: Store, folder: Path) -> list[Path]:
    """Draw what an analysed store has to show, as PNG files; return these.

    Each is written whole or not at all.
    """
    drawn = []
    with store.place.open_tree() as tree:
        for figure in FIGURES:
            if figure.name not in AT_THE_END:
                continue
            try:
                chart = figure.plot(tree, **figure.options, static=True)
            except FigureError:
                continue
            titled = chart.properties(title=_titled(chart, f"{store.study.name}: {figure.title}"))
            drawn.append(write_chart(titled, folder / f"{figure.name}.png"))
    return drawn


def _titled(chart: Chart, text: str) -> alt.TitleParams:
    """A title above what the chart says that it holds."""
    if isinstance(chart.title, alt.TitleParams):
        return alt.TitleParams(text=text, subtitle=chart.title.text)
    return alt.TitleParams(text=text)

"""Which figures a store has."""

from pathlib import Path

from pipeline.analysis_tables import ORDERS, RATES
from pipeline.figure import draw_w1
from pipeline.layout import analysis_tables, distinct
from pipeline.refinement_figure import draw_refinement
from pipeline.store import Store


def draw_figures(store: Store, folder: Path) -> list[Path]:
    """Draw every figure that an analysed store has something for; return their files."""
    drawn = []
    tables = analysis_tables(store.study)
    if RATES in tables:
        drawn.append(folder / "w1-against-m.png")
        draw_w1(store, drawn[-1])
    if ORDERS in tables and len(distinct(store.study.axes, "cells")) > 1:
        drawn.append(folder / "error-against-cells.png")
        draw_refinement(store, drawn[-1])
    return drawn

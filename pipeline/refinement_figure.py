"""The figure of a refinement study: error of the PDE solution against cells, with its order."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.analysis_tables import ORDERS
from pipeline.axes import Axis
from pipeline.figure import MAX_CURVES, row_name, save
from pipeline.layout import analysis_axes
from pipeline.orders import refinements
from pipeline.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = (("l1", "L1 distance of cell averages"), ("w1", "W1 distance"))


def draw_refinement(store: Store, path: Path) -> None:
    """Draw the errors of /limit at the last snapshot against cells, with the fitted orders.

    One panel for L1 and one for W1, one colour per activation (and further axes, at most ten
    curves).

    Args:
        store: an analysed store.
        path: the PNG file; written whole or not at all.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only runs need it

    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axes = [store.axes[axis.name] for axis in analysis_axes(store.study, ORDERS)]
    for panel, (error, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        panel.set(xscale="log", yscale="log", xlabel="cells", ylabel="error", title=title)
        _draw_panel(panel, store, axes, error)
    time = store.study.snapshots[-1]
    figure.suptitle(f"{store.study.name}: error of the PDE solution at t = {time:g}")
    save(figure, path)


def _draw_panel(panel: "Axes", store: Store, axes: list[Axis], error: str) -> None:
    errors = np.asarray(store.array(f"limit/{error}_error")[...])[..., -1]
    orders = np.asarray(store.array(f"analysis/{error}_order")[...])[..., -1]
    ticks: set[int] = set()
    for number, (index, cells, places) in enumerate(refinements(store)):
        if number >= MAX_CURVES:
            break
        measured = np.array([errors[place] for place in places])
        order = f": order {orders[index]:.2f}" if math.isfinite(orders[index]) else ""
        panel.plot(cells, measured, "o-", ms=4, lw=1, label=row_name(axes, index)[:40] + order)
        ticks.update(cells)
    if ticks and len(ticks) <= 8:
        panel.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
        panel.xaxis.minorticks_off()
    panel.grid(visible=True, which="major", alpha=0.3)
    if panel.has_data():
        panel.legend(fontsize=7)

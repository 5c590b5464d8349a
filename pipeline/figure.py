"""The figure of a convergence study: W1 against M, with its fit, per activation and snapshot."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.analysis import expected_rate, read_axis_last
from pipeline.analysis_tables import RATES
from pipeline.axes import Axis, brief
from pipeline.layout import analysis_axes
from pipeline.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 4
MAX_CURVES = 10


def draw_w1(store: Store, path: Path) -> None:
    """Draw the mean of w1 over seeds against M, with error bars, fits and the expected slope.

    One panel per snapshot (at most four, the first and the last among them), one colour per
    activation (and further axes, at most ten curves).

    Args:
        store: an analysed store.
        path: the PNG file; written whole or not at all.
    """
    from matplotlib.figure import Figure  # takes a second to import, and only runs need it

    snapshots = store.study.snapshots
    shown = sorted({round(i) for i in np.linspace(0, len(snapshots) - 1, MAX_PANELS)})
    width = 1.2 + 3.6 * len(shown)
    figure = Figure(figsize=(width, 4.2))
    figure.subplots_adjust(
        left=1.0 / width, right=1 - 0.2 / width, bottom=0.13, top=0.84, wspace=0.06
    )
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    distances = read_axis_last(store, "w1", RATES)
    for panel, snapshot in zip(panels, shown, strict=True):
        _draw_panel(panel, store, distances, snapshot)
    panels[0].set_ylabel(r"$W_1(f_t^M, f_t)$, mean and std over seeds")
    figure.suptitle(f"{store.study.name}: distance of M particles to the mean-field limit")
    save(figure, path)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    scratch = path.with_name(f"{path.name}.partial")
    figure.savefig(scratch, dpi=150, format="png", metadata={"Software": "meanfield"})
    scratch.replace(path)


def row_name(axes: Sequence[Axis], index: Sequence[int]) -> str:
    """What a curve is called: its activation, and its place on every axis that has more."""
    return ", ".join(
        brief(axis.labels(key)[i])
        for axis, i in zip(axes, index, strict=True)
        for key in axis.telling_keys()
        if len(axis) > 1 or key == "activation"
    )


def _draw_panel(panel: "Axes", store: Store, distances: np.ndarray, snapshot: int) -> None:
    axes = [store.axes[a.name] for a in analysis_axes(store.study, RATES)]
    particles = _numbers(store)
    panel.set_xscale("log")
    panel.set_xlim(particles[0] / 1.5, particles[-1] * 1.5)
    points = np.argwhere(store.wanted(axes))
    for number, index in enumerate(map(tuple, points[:MAX_CURVES].tolist())):
        curves = distances[index][..., snapshot]
        if np.isnan(curves).all():
            continue
        kept = ~np.isnan(curves).all(axis=1)
        mean = np.nanmean(curves[kept], axis=1)
        name = row_name(axes, index)
        rate = float(np.asarray(store.array("analysis/rate")[(*index, snapshot)]))
        prefactor = float(np.asarray(store.array("analysis/prefactor")[(*index, snapshot)]))
        panel.errorbar(
            particles[kept],
            mean,
            yerr=_error_bars(curves[kept], mean),
            fmt="o",
            ms=4,
            capsize=2,
            color=f"C{number}",
            label=name[:40] + (f": $M^{{{rate:.3f}}}$" if math.isfinite(rate) else ""),
        )
        if math.isfinite(rate):
            panel.plot(particles, prefactor * particles**rate, color=f"C{number}", lw=1)
    _draw_expected(panel, store, distances[..., snapshot], particles)
    if panel.has_data():
        panel.legend(loc="lower left", fontsize=7)
    panel.set(yscale="log", xlabel="particles M")
    panel.set_title(f"t = {store.study.snapshots[snapshot]:g}", fontsize=10)
    panel.grid(visible=True, which="major", alpha=0.3)
    if len(points) > MAX_CURVES:
        panel.text(0.02, 0.02, f"{len(points) - MAX_CURVES} more curves", transform=panel.transAxes)


def _error_bars(curves: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """One standard deviation over the seeds, kept above zero for the logarithmic axis."""
    if curves.shape[1] < 2:
        return np.zeros((2, len(mean)))
    deviation = np.nanstd(curves, axis=1, ddof=1)
    return np.array([np.minimum(deviation, 0.9 * mean), deviation])


def _draw_expected(
    panel: "Axes", store: Store, distances: np.ndarray, particles: np.ndarray
) -> None:
    """The slope that theory gives, above the curves."""
    positive = distances[distances > 0]
    if store.study.axis("sampling") is not None or len(particles) < 2 or not positive.size:
        return
    slope = expected_rate(store.study.numerics.sampling)
    line = 1.5 * positive.max() * (particles / particles[0]) ** slope
    panel.plot(particles, line, "k--", lw=1, label=f"slope {slope:g}")


def _numbers(store: Store) -> np.ndarray:
    axis = next(a for a in store.axes.values() if "particles" in a.keys)
    labels = axis.labels("particles")
    return np.array(sorted(labels[i] for i in store.positions(axis.name)), dtype=float)

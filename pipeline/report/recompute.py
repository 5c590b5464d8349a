"""What a report shows although a store does not hold it: particles, given controls, the target.

Positions of particles would fill a store many times over; one sample per row of the study takes
seconds to follow again, by the very functions that the step uses; without a GPU, so that a page can
be made anywhere.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline.axes import Axis, Value
from pipeline.case import Case
from pipeline.errors import StoreError, StudyError
from pipeline.figures.tables import axis_names
from pipeline.place import Place
from pipeline.status import UpstreamError
from pipeline.steps.particles import follow
from pipeline.store import Store, open_store, stored_study
from pipeline.upstream import Results
from solvers.errors import MeanfieldError, PointTimeoutError
from solvers.wasserstein import PointMasses

MAX_PARTICLES = 100_000
MAX_SECONDS = 30.0
SIZES = {"particles", "seed", "cells"}
BINS = 80
NODES = 201


@dataclass
class Recomputed:
    """Curves to stand beside those of the store, and why some are missing.

    Attributes:
        densities: histograms and targets, as ``densities_table`` takes them.
        controls: given controls, as ``controls_table`` takes them.
        notes: what could not be computed, in words.
    """

    densities: pd.DataFrame = field(default_factory=pd.DataFrame)
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: list[str] = field(default_factory=list)


def recompute(place: Place) -> Recomputed:
    """Follow one sample for each row of a study again; whatever fails becomes a note."""
    found = Recomputed()
    try:
        store = open_store(place, stored_study(place))
    except (StudyError, StoreError) as error:
        found.notes.append(f"Histograms of particles are left out: {error}")
        return found
    if store.study.dimension > 1:
        return found
    found.densities = _densities(store, found.notes)
    if not store.study.trains:
        found.controls = _controls(store, found.notes)
    return found


def _densities(store: Store, notes: list[str]) -> pd.DataFrame:
    """Histograms of the first seed's particles, at the largest M up to 10⁵, and the targets."""
    steps = [name for name in ("particles", "limit") if name in store.study.header.steps]
    if not steps:
        return pd.DataFrame()
    axes = store.study.step_axes(store.study.step(steps[0]))
    rows = [axis for axis in axes if not SIZES.intersection(axis.keys)]
    sizes = _size([axis for axis in axes if SIZES.intersection(axis.keys)])
    results, end, parts = Results(store), time.monotonic() + MAX_SECONDS, []
    for names, values in _points(rows):
        try:
            parts.append(_target(store.study.case({**values, **sizes})).assign(**names))
            if steps[0] == "particles":
                case = replace(results.case("particles", {**values, **sizes}), device="cpu")
                parts.append(_histograms(case, _followed(case, end)).assign(**names))
        except (MeanfieldError, UpstreamError, OSError) as error:
            row = ", ".join(map(str, names.values()))
            notes.append(f"The histogram of particles for {row} is left out: {error}.")
    parts = [part for part in parts if not part.empty]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _followed(case: Case, end: float) -> np.ndarray:
    """The particles at the snapshots.

    Raises:
        PointTimeoutError: after the end of the time that there is for all of them.
    """

    def poll() -> None:
        if time.monotonic() > end:
            raise PointTimeoutError(f"all of them may take {MAX_SECONDS:g} s")

    poll()
    return follow(case, poll).snapshots


def _points(axes: Sequence[Axis]) -> Iterator[tuple[dict[str, Any], dict[str, Value]]]:
    """Every combination of the values of some axes: their names in figures, and the settings."""
    if not axes:
        yield {}, {}
        return
    first, *others = axes
    for name, settings in zip(axis_names(first), first.values, strict=True):
        for names, values in _points(others):
            yield (
                {first.name: name, **names},
                {**dict(zip(first.keys, settings, strict=True)), **values},
            )


def _size(axes: Sequence[Axis]) -> dict[str, Value]:
    """The first seed, and the most particles that a page can wait for."""
    values: dict[str, Value] = {}
    for axis in axes:
        positions = list(axis.values)
        if "particles" in axis.keys:
            column = axis.keys.index("particles")
            few = [p for p in positions if p[column] <= MAX_PARTICLES]
            positions = sorted(few or positions, key=lambda p: -p[column])
        position = positions[0]
        values |= dict(zip(axis.keys, position, strict=True))
    return values


def _histograms(case: Case, snapshots: np.ndarray) -> pd.DataFrame:
    parts = []
    for time_, particles in zip(case.problem.snapshots, snapshots, strict=True):
        height, edges = np.histogram(particles, bins=BINS, density=True)
        parts.append(_steps(edges, height).assign(snapshot=float(time_)))
    return pd.concat(parts, ignore_index=True).assign(kind="particles")


def _steps(edges: np.ndarray, height: np.ndarray) -> pd.DataFrame:
    """A histogram as a curve with corners, which ends on the axis."""
    x = np.repeat(edges, 2)
    y = np.concatenate([[0.0], np.repeat(height, 2), [0.0]])
    return pd.DataFrame({"x": x, "density": y})


def _target(case: Case) -> pd.DataFrame:
    """The target law as a density, at every snapshot; nothing for point masses."""
    target = case.problem.target
    if target is None or isinstance(target, PointMasses):
        return pd.DataFrame(columns=["x", "density", "snapshot", "kind"])
    low, high = target.support(1e-4)
    room = 0.02 * (high - low)
    edges = np.linspace(low - room, high + room, BINS * 2 + 1)
    curve = pd.DataFrame(
        {"x": (edges[1:] + edges[:-1]) / 2, "density": target.cell_averages(edges)}
    )
    times = pd.DataFrame({"snapshot": np.asarray(case.problem.snapshots, dtype=float)})
    return curve.merge(times, how="cross").assign(kind="g")


def _controls(store: Store, notes: list[str]) -> pd.DataFrame:
    """W and b as the study gives them, for each value of an axis that changes them."""
    axes = [axis for axis in store.study.axes if {"controls", "horizon"} & set(axis.keys)]
    activation = store.study.axis("activation")
    if activation is None:
        return pd.DataFrame()
    fixed = dict(zip(activation.keys, activation.values[0], strict=True))
    parts = []
    for names, values in _points(axes):
        try:
            problem = store.study.case({**fixed, **values}).problem
            t = np.linspace(0.0, problem.horizon, NODES)
            w, b = problem.controls.evaluate(t)
        except (MeanfieldError, OSError) as error:
            notes.append(f"Given controls are left out: {error}.")
            continue
        for name, numbers in (("w", w), ("b", b)):
            curve = pd.DataFrame({"time": t, "value": np.broadcast_to(numbers, t.shape)})
            parts.append(curve.assign(control=name, low=np.nan, high=np.nan, **names))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

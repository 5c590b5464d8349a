"""The time grid: multiples of the time step and the controls' knots, so no step straddles one.

Across a knot, where a control has a kink, a method of order 3 loses one to two orders; with the
knots among the ends of the steps it loses none.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray, vector
from solvers.errors import InputError

MERGE = 1e-12
MULTIPLE = 1e-9
MAX_STEPS = 10**8


def time_grid(
    horizon: float,
    time_step: float,
    knots: ArrayLike = (),
    snapshots: Sequence[float] | FloatArray = (),
) -> tuple[FloatArray, IntArray]:
    """Return the times at which steps end, and which of them are the snapshots.

    Args:
        horizon: The final time T > 0, a multiple of `time_step`.
        time_step: The step; multiples are formed as T k/n, the last is T exactly.
        knots: Times that must be on the grid too; those outside (0, T) are ignored.
        snapshots: Output times in [0, T], multiples of `time_step`, increasing.

    Returns:
        The times, shape (n + 1 + knots,), from 0 to T, and for each snapshot its index there.

    Raises:
        InputError: if horizon or a snapshot is not a multiple of `time_step` to within rounding.
    """
    steps = _steps(horizon, time_step)
    multiples = horizon * np.arange(steps + 1, dtype=np.float64) / steps
    multiples[-1] = horizon
    times = _merge(multiples, np.asarray(knots, dtype=np.float64).reshape(-1), horizon)
    wanted = np.array([_snapshot(s, steps, horizon) for s in snapshots], dtype=np.int64)
    if np.any(np.diff(wanted) <= 0):
        raise InputError(f"snapshots must increase strictly, not {list(snapshots)}")
    return times, np.searchsorted(times, multiples[wanted]).astype(np.int64)


def _steps(horizon: float, time_step: float) -> int:
    for name, value in (("horizon", horizon), ("time_step", time_step)):
        if not (math.isfinite(value) and value > 0.0):
            raise InputError(f"{name} = {value} must be positive and finite")
    ratio = horizon / time_step
    if ratio > MAX_STEPS:
        raise InputError(f"horizon / time_step = {ratio:.3g} steps are more than {MAX_STEPS:.0e}")
    steps = round(ratio)
    if steps < 1 or abs(ratio - steps) > MULTIPLE * ratio:
        raise InputError(f"horizon = {horizon} is not a multiple of time_step = {time_step}")
    return steps


def _snapshot(time: float, steps: int, horizon: float) -> int:
    index = round(time / horizon * steps) if math.isfinite(time) else -1
    if not 0 <= index <= steps:
        raise InputError(f"snapshot {time} is outside [0, {horizon}]")
    if abs(time / horizon * steps - index) > MULTIPLE * max(1.0, index):
        raise InputError(f"snapshot {time} is not a multiple of the time step {horizon / steps}")
    return index


def _merge(multiples: FloatArray, knots: FloatArray, horizon: float) -> FloatArray:
    """Add the knots that are not within 1e-12 T of another time."""
    if knots.size == 0:
        return multiples
    knots = vector(knots, "knots")
    inner = np.unique(knots[(knots > 0.0) & (knots < horizon)])
    after = np.searchsorted(multiples, inner)
    gap = np.minimum(multiples[after] - inner, inner - multiples[after - 1])
    new = inner[gap > MERGE * horizon]
    if new.size:
        new = new[np.concatenate([[True], np.diff(new) > MERGE * horizon])]
    return np.sort(np.concatenate([multiples, new]))

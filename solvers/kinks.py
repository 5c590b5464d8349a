"""Where the map from initial to present positions has kinks, for relu.

With sigma(z) = max(z, 0) every stage of a one-step method is a piecewise linear function of the
initial position x0, and so is the position after any number of steps. New kinks arise only where an
argument w v + b of sigma changes its sign. So all stages are carried along as values on common
nodes; a sign change between two nodes, between which everything is linear, becomes a node.

The methods below are those of :mod:`solvers.euler`, :mod:`solvers.ssprk3` and :mod:`solvers.rk4`.
"""

from collections.abc import Callable

import numpy as np

from solvers.arrays import FloatArray, Poll

START, NOW, STAGE, SUM = range(4)
POLLED = 64


class _BrokenLines:
    """Continuous piecewise linear functions of x0 on common nodes: the rows of `values`."""

    def __init__(self, low: float, high: float) -> None:
        self.values = np.tile(np.array([low, high]), (4, 1))

    def relu(self, w: float, b: float, row: int) -> FloatArray:
        """Return max(w v + b, 0) for one row; its kinks become nodes."""
        z = w * self.values[row] + b
        after = np.flatnonzero((z[:-1] < 0.0) & (z[1:] > 0.0) | (z[:-1] > 0.0) & (z[1:] < 0.0)) + 1
        if after.size:
            left, right = self.values[:, after - 1], self.values[:, after]
            share = z[after - 1] / (z[after - 1] - z[after])
            self.values = np.insert(self.values, after, left + share * (right - left), axis=1)
            z = np.insert(z, after, 0.0)
        return np.asarray(np.maximum(z, 0.0))


def _euler(lines: _BrokenLines, h: float, w: FloatArray, b: FloatArray) -> None:
    k = lines.relu(w[0], b[0], NOW)
    lines.values[NOW] += h * k


def _ssprk3(lines: _BrokenLines, h: float, w: FloatArray, b: FloatArray) -> None:
    k = lines.relu(w[0], b[0], NOW)
    lines.values[STAGE] = lines.values[NOW] + h * k
    k = lines.relu(w[1], b[1], STAGE)
    lines.values[STAGE] = (3.0 * lines.values[NOW] + (lines.values[STAGE] + h * k)) / 4.0
    k = lines.relu(w[2], b[2], STAGE)
    lines.values[NOW] = (lines.values[NOW] + 2.0 * (lines.values[STAGE] + h * k)) / 3.0


def _rk4(lines: _BrokenLines, h: float, w: FloatArray, b: FloatArray) -> None:
    lines.values[STAGE], lines.values[SUM] = lines.values[NOW], 0.0
    for stage, weight, share in ((0, 1.0, 0.5), (1, 2.0, 0.5), (1, 2.0, 1.0), (2, 1.0, 0.0)):
        k = lines.relu(w[stage], b[stage], STAGE)
        lines.values[SUM] += weight * k
        lines.values[STAGE] = lines.values[NOW] + share * h * k
    lines.values[NOW] += h / 6.0 * lines.values[SUM]


STEPS: dict[str, Callable[[_BrokenLines, float, FloatArray, FloatArray], None]] = {
    "euler": _euler,
    "ssprk3": _ssprk3,
    "rk4": _rk4,
}


def relu_kinks(
    low: float,
    high: float,
    integrator: str,
    h: FloatArray,
    w: FloatArray,
    b: FloatArray,
    poll: Poll | None = None,
) -> FloatArray:
    """Return the kinks inside (low, high) of the map that the steps make, increasing.

    Args:
        low: The least initial position.
        high: The greatest.
        integrator: "euler", "ssprk3" or "rk4".
        h: Lengths of the steps, shape (n,).
        w: Control w at the stage times, shape (n, stages).
        b: Control b likewise.
        poll: Called every few steps; may raise PointTimeoutError.
    """
    lines = _BrokenLines(low, high)
    step = STEPS[integrator]
    for j in range(h.size):
        if poll is not None and j % POLLED == 0:
            poll()
        step(lines, float(h[j]), w[j], b[j])
    return np.asarray(lines.values[START, 1:-1])

"""Dividing time steps so that the CFL condition h max|sigma(w x + b)| <= cfl dx holds.

The maximum is taken over all faces and the stage times of SSP-RK3. A step that violates it is
divided into equal substeps; as their stage times differ from those of the whole step, the count is
raised until the condition holds at theirs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from solvers.activations import Activation
from solvers.arrays import FloatArray, IntArray
from solvers.controls import Controls
from solvers.errors import CflError
from solvers.ssprk3 import STAGES
from solvers.stages import stage_controls

MAX_SUBSTEPS = 10**6
CHUNK = 256
GROUP = 1 << 16
ARGUMENTS = 1 << 20  # at which a speed is evaluated at once: 8 MiB


@dataclass(frozen=True)
class Substeps:
    """Some steps and what they are divided into.

    Attributes:
        ends: The ends of the substeps, shape (m + 1,).
        counts: How many each step has, of sum m.
        w: Control w at their stage times, shape (m, 3).
        b: Control b likewise.
    """

    ends: FloatArray
    counts: IntArray
    w: FloatArray
    b: FloatArray


@dataclass(frozen=True)
class CflCondition:
    """The condition.

    Attributes:
        activation: The activation.
        edges: Faces of the cells, shape (N + 1,).
        dx: Cell width.
        cfl: Bound on h max|sigma| / dx.
        most: The most substeps of one step.
    """

    activation: Activation
    edges: FloatArray
    dx: float
    cfl: float
    most: int = MAX_SUBSTEPS

    def divide(self, controls: Controls, times: FloatArray) -> Iterator["Substeps"]:
        """Yield substeps that satisfy it, in groups.

        Args:
            controls: The controls.
            times: The ends of the steps, shape (n + 1,).

        Raises:
            CflError: if a step needs more substeps than allowed, or its speed is not finite.
        """
        for start in range(0, times.size - 1, CHUNK):
            ends = times[start : start + CHUNK + 1]
            w, b = stage_controls(controls, ends, STAGES)
            counts = self._needed(ends, w, b)
            if np.all(counts == 1):
                yield Substeps(ends, counts, w, b)
                continue
            group = np.cumsum(counts) // GROUP
            first = np.flatnonzero(np.diff(group, prepend=-1))
            for low, high in zip(first, [*first[1:], counts.size], strict=True):
                yield self._refine(controls, ends[low : high + 1], counts[low:high])

    def _refine(self, controls: Controls, times: FloatArray, counts: IntArray) -> "Substeps":
        """Raise the counts until all substeps satisfy the condition."""
        while True:
            ends = _divided(times, counts)
            w, b = stage_controls(controls, ends, STAGES)
            first = np.cumsum(counts) - counts
            needed = counts * np.maximum.reduceat(self._needed(ends, w, b), first)
            if np.all(needed <= counts):
                return Substeps(ends, counts, w, b)
            more = np.minimum(needed, counts + np.maximum(1, counts // 4))
            counts = np.where(needed > counts, more, counts)

    def _needed(self, ends: FloatArray, w: FloatArray, b: FloatArray) -> IntArray:
        """Return into how many substeps each step must be divided at least."""
        speed = max_speed(self.activation, w, b, self.edges).max(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            needed = np.ceil(np.diff(ends) * speed / (self.cfl * self.dx) * (1.0 - 1e-12))
        bad = np.flatnonzero(~(needed <= self.most))
        if bad.size:
            at, fast = ends[bad[0]], speed[bad[0]]
            raise CflError(
                f"speed {fast:.3g} at t = {at:.12g} on cells of width {self.dx:.3g} needs"
                f" {needed[bad[0]]:.3g} substeps in one step; at most {self.most} are allowed"
            )
        return np.asarray(np.maximum(needed, 1.0), dtype=np.int64)


def _divided(times: FloatArray, counts: IntArray) -> FloatArray:
    """Return the ends of the substeps of all steps."""
    step = np.repeat(np.arange(counts.size), counts)
    part = np.arange(step.size) - (np.cumsum(counts) - counts)[step]
    ends = times[step] + (times[step + 1] - times[step]) * (part / counts[step])
    return np.append(ends, times[-1])


def max_speed(
    activation: Activation, w: FloatArray, b: FloatArray, faces: FloatArray
) -> FloatArray:
    """Return max over the faces of |sigma(w x + b)| for each pair of entries of `w` and `b`."""
    if activation.name == "gcu":
        largest = np.zeros(w.shape)
        for start in range(0, faces.size, per := max(1, ARGUMENTS // w.size)):
            argument = w[..., None] * faces[start : start + per] + b[..., None]
            np.maximum(largest, np.abs(activation(argument)).max(axis=-1), out=largest)
        return largest
    ends = np.stack([w * faces[0] + b, w * faces[-1] + b])  # sigma is monotone
    return np.asarray(np.abs(activation(ends)).max(axis=0))

"""The flow of points under piecewise linear controls, and its exact discrete adjoint.

Every step of the integrator lies in one interval of the controls' grid, so the controls at its
stage times are weighted means of two nodal values; the adjoint hands its derivatives back with the
same weights.
"""

import numpy as np

from solvers.activations import Activation
from solvers.arrays import FloatArray, integer
from solvers.errors import InputError
from solvers.training.grid import ControlGrid
from solvers.training.line_adjoint import backward as backward_line
from solvers.training.line_adjoint import forward as forward_line
from solvers.training.runge_kutta_adjoint import backward, forward
from solvers.vector_particles import TABLEAUX

HELD = 3 << 16  # numbers kept of a block of points: 1.5 MiB
SMALLEST_BLOCK = 64


class Flow:
    """An integrator on the controls' grid, with room for the stages of some points.

    Attributes:
        steps: Its steps over the whole horizon.
    """

    def __init__(
        self,
        grid: ControlGrid,
        activation: Activation,
        integrator: str = "rk4",
        steps_per_interval: int = 1,
    ) -> None:
        """Choose the method; the controls are 0.

        Raises:
            InputError: if the integrator is unknown or the number of steps less than 1.
        """
        if integrator not in TABLEAUX:
            raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(TABLEAUX)}")
        substeps = integer(steps_per_interval, "steps_per_interval", 1)
        tableau = TABLEAUX[integrator]
        self.grid = grid
        self.steps = grid.intervals * substeps
        self._code, self._step = activation.code, grid.horizon / self.steps
        self._matrix, self._weights = tableau.matrix.copy(), tableau.weights.copy()
        nodes = np.arange(substeps)[:, None] + np.array(tableau.nodes)
        self._fractions = (nodes / substeps).ravel()
        self._stages, self._work = np.empty(0), np.empty(0)
        self._line = grid.dimension == 1
        self.steer(grid.pack(*grid.zeros()))

    @property
    def block(self) -> int:
        """How many points to take at once, so that what is kept of them stays in cache."""
        return max(SMALLEST_BLOCK, HELD // self._size // 8 * 8)

    @property
    def _size(self) -> int:
        """How many numbers are kept of a point."""
        kept = 2 if self._line else self.grid.dimension
        return self.steps * self._weights.size * kept

    def steer(self, u: FloatArray) -> None:
        """Set the controls, given in one matrix."""
        f, d = self._fractions[:, None], self.grid.dimension
        stages = (1.0 - f) * u[:-1, None] + f * u[1:, None]
        stages = stages.reshape(self.steps, self._weights.size, -1)
        self._w = np.ascontiguousarray(stages[..., : d * d]).reshape(*stages.shape[:2], d, d)
        self._b = np.ascontiguousarray(stages[..., d * d :])
        self._dw, self._db = np.zeros_like(self._w), np.zeros_like(self._b)

    def forward(self, x: FloatArray, keep: bool = True) -> None:
        """Take points, shape (d, m), to the final time, in place.

        Args:
            x: The points.
            keep: Whether :meth:`backward` will follow: then their stages are kept. (In more than
                one dimension they always are.)
        """
        points, rows = x.shape[1], self._weights.size + 2
        keep = keep or not self._line
        if keep and self._stages.size < self._size * points:
            self._stages = np.empty(self._size * points)
        if self._work.size < rows * x.size:
            self._work = np.empty(rows * x.size)
        if self._line:
            w, b = self._w[:, :, 0, 0], self._b[:, :, 0]
            forward_line(x[0], *self._method(w, b), keep, self._kept(points), self._space(points))
        else:
            method = self._method(self._w, self._b)
            forward(x, *method, self._kept(points), self._space(points))

    def backward(self, adjoint: FloatArray) -> None:
        """Add the derivative by the controls of a function of the points last taken forward.

        Args:
            adjoint: Its derivative by the final points, shape (d, m); changed in place to that by
                the initial points.
        """
        stages, space = self._kept(adjoint.shape[1]), self._space(adjoint.shape[1])
        if self._line:
            dw, db = self._dw[:, :, 0, 0], self._db[:, :, 0]
            w, rest = self._w[:, :, 0, 0], (self._matrix, self._weights, stages, space)
            backward_line(adjoint[0], self._step, w, *rest, dw, db)
        else:
            method = self._method(self._w, self._b)
            backward(adjoint, *method, stages, space, self._dw, self._db)

    def derivative(self) -> FloatArray:
        """Return the derivatives added since the controls were set, by the nodal values."""
        n, f = self.grid.intervals, self._fractions
        stages = np.concatenate(
            [part.reshape(n, f.size, -1) for part in (self._dw, self._db)], axis=2
        )
        out = np.zeros((n + 1, stages.shape[2]))
        out[:-1] = np.einsum("f,kfm->km", 1.0 - f, stages)
        out[1:] += np.einsum("f,kfm->km", f, stages)
        return out

    def _method(
        self, w: FloatArray, b: FloatArray
    ) -> tuple[int, float, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return what the kernels need of problem and integrator."""
        return self._code, self._step, w, b, self._matrix, self._weights

    def _kept(self, points: int) -> FloatArray:
        """Return where the stages of some points are kept."""
        count = self._weights.size
        if self._stages.size < self._size * points:  # nothing is kept
            return np.empty((0, count, 2, points))
        inner = (2, points) if self._line else (self.grid.dimension, points)
        return self._stages[: self._size * points].reshape(self.steps, count, *inner)

    def _space(self, points: int) -> FloatArray:
        """Return the work space, contiguous whatever the number of points."""
        rows, d = self._weights.size + 2, self.grid.dimension
        shape = (rows, points) if self._line else (rows, d, points)
        return self._work[: rows * d * points].reshape(shape)

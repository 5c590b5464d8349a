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
from solvers.training.runge_kutta_adjoint import backward, forward
from solvers.vector_particles import TABLEAUX


class Flow:
    """An integrator on the controls' grid, with room for the stages of some points.

    Attributes:
        steps: Its steps over the whole horizon.
        stages: The stage positions of the points last taken forward, shape (steps, S, d, m).
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
        self.steer(grid.pack(*grid.zeros()))

    @property
    def size(self) -> int:
        """How many numbers are kept for each component of a point."""
        return self.steps * self._weights.size

    def steer(self, u: FloatArray) -> None:
        """Set the controls, given in one matrix."""
        f, d = self._fractions[:, None], self.grid.dimension
        stages = (1.0 - f) * u[:-1, None] + f * u[1:, None]
        stages = stages.reshape(self.steps, self._weights.size, -1)
        self._w = np.ascontiguousarray(stages[..., : d * d]).reshape(*stages.shape[:2], d, d)
        self._b = np.ascontiguousarray(stages[..., d * d :])

    def forward(self, x: FloatArray) -> None:
        """Take points, shape (d, m), to the final time, in place, and keep their stages."""
        count = self._weights.size
        if self._stages.size < self.size * x.size:
            self._stages = np.empty(self.size * x.size)
            self._work = np.empty((count + 2) * x.size)
        self.stages = self._stages[: self.size * x.size].reshape(self.steps, count, *x.shape)
        forward(x, *self._method(), self.stages, self._space(x))

    def backward(self, adjoint: FloatArray) -> FloatArray:
        """Return the derivative by the nodal controls of a function of the points last taken.

        Args:
            adjoint: Its derivative by the final points, shape (d, m); changed in place to that by
                the initial points.
        """
        dw, db = np.zeros_like(self._w), np.zeros_like(self._b)
        backward(adjoint, *self._method(), self.stages, self._space(adjoint), dw, db)
        n, f = self.grid.intervals, self._fractions
        stages = np.concatenate([part.reshape(n, f.size, -1) for part in (dw, db)], axis=2)
        out = np.zeros((n + 1, stages.shape[2]))
        out[:-1] = np.einsum("f,kfm->km", 1.0 - f, stages)
        out[1:] += np.einsum("f,kfm->km", f, stages)
        return out

    def _method(self) -> tuple[int, float, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return what both kernels need of problem and integrator."""
        return self._code, self._step, self._w, self._b, self._matrix, self._weights

    def _space(self, x: FloatArray) -> FloatArray:
        """Return the work space, contiguous whatever the number of points."""
        rows = self._weights.size + 2
        return self._work[: rows * x.size].reshape(rows, *x.shape)

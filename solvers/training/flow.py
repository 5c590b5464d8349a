"""The flow of points under piecewise linear controls, and its exact discrete adjoint.

Every step of the integrator lies in one interval of the controls' grid, so the controls at its
stage times are weighted means of two nodal values; the adjoint hands its derivatives back with the
same weights.
"""

from abc import ABC, abstractmethod

import numpy as np

from solvers.activations import Activation
from solvers.arrays import FloatArray, integer
from solvers.errors import InputError
from solvers.particles import TILE
from solvers.rk4 import rk4
from solvers.tiles import BLOCK, work_space
from solvers.training.grid import ControlGrid
from solvers.training.rk4_adjoint import FRACTIONS, KEPT, LANES, SUMS, gradient
from solvers.training.runge_kutta_adjoint import backward, forward
from solvers.vector_particles import TABLEAUX

HELD = 3 << 16  # numbers kept of a block of points: 1.5 MiB
SMALLEST_BLOCK = 64
POLL_WORK = 1 << 23  # points times steps between two polls: a tenth of a second


class Flow(ABC):
    """An integrator on the controls' grid.

    Attributes:
        block: How many points to take at once.
    """

    block: int

    def __init__(
        self, grid: ControlGrid, activation: Activation, nodes: tuple[float, ...], substeps: int
    ) -> None:
        """Keep the stage times.

        Args:
            grid: The grid of the controls.
            activation: The activation.
            nodes: Times of the stages as fractions of a step.
            substeps: Steps in each interval of the grid.
        """
        self._grid, self._code = grid, activation.code
        self._steps = grid.intervals * substeps
        self._step = grid.horizon / self._steps
        fractions = (np.arange(substeps)[:, None] + np.array(nodes)) / substeps
        self._fractions = fractions.ravel()

    def steer(self, u: FloatArray) -> None:
        """Set the controls, given in one matrix; forget the derivatives added so far."""
        f, d = self._fractions[:, None], self._grid.dimension
        stages = (1.0 - f) * u[:-1, None] + f * u[1:, None]
        stages = stages.reshape(self._steps, -1, d * d + d)
        self._w = np.ascontiguousarray(stages[..., : d * d]).reshape(*stages.shape[:2], d, d)
        self._b = np.ascontiguousarray(stages[..., d * d :])
        self._forget()

    def derivative(self) -> FloatArray:
        """Return the derivatives added since the controls were set, by the nodal values."""
        n, f = self._grid.intervals, self._fractions
        stages = self._by_stages().reshape(n, f.size, -1)
        out = np.zeros((n + 1, stages.shape[2]))
        out[:-1] = np.einsum("f,kfm->km", 1.0 - f, stages)
        out[1:] += np.einsum("f,kfm->km", f, stages)
        return out

    @abstractmethod
    def forward(self, x: FloatArray) -> None:
        """Take points, shape (d, m), to the final time, in place."""

    @abstractmethod
    def gradient(self, x: FloatArray, slope: FloatArray, constant: FloatArray) -> None:
        """Do the same, and add the derivative by the controls of a function of the final points.

        Args:
            x: The points.
            slope: The derivative of the function by the final points is slope x + constant; its
                shape is (m,).
            constant: Likewise, shape (d, m).
        """

    @abstractmethod
    def _forget(self) -> None:
        """Set the derivatives to 0."""

    @abstractmethod
    def _by_stages(self) -> FloatArray:
        """Return the derivatives by w and b at all stage times."""


class LineRk4(Flow):
    """RK4 on the line."""

    def __init__(self, grid: ControlGrid, activation: Activation, substeps: int) -> None:
        """Make room for a tile."""
        super().__init__(grid, activation, FRACTIONS, substeps)
        self.block = max(BLOCK, POLL_WORK // self._steps // BLOCK * BLOCK)
        self._lengths = np.full(self._steps, self._step)
        self._kept, self._adjoint = work_space(self._steps * KEPT + BLOCK), work_space(BLOCK)
        self._sums, self._tile = work_space(self._steps * SUMS), work_space(TILE)

    def forward(self, x: FloatArray) -> None:
        """Take points to the final time."""
        rk4(x[0], self._code, self._lengths, self._w[..., 0, 0], self._b[..., 0], self._tile)

    def gradient(self, x: FloatArray, slope: FloatArray, constant: FloatArray) -> None:
        """Do the same and add the derivative."""
        w, b = self._w[..., 0, 0], self._b[..., 0]
        space = self._kept, self._adjoint, self._sums
        gradient(x[0], slope, constant[0], self._code, self._step, w, b, *space)

    def _forget(self) -> None:
        self._sums[:] = 0.0

    def _by_stages(self) -> FloatArray:
        # sum(axis=1) takes three times as long
        return np.asarray(np.einsum("kl->k", self._sums.reshape(-1, LANES)))


class RungeKutta(Flow):
    """Any of the methods in any dimension, with room for the stages of a block of points."""

    def __init__(
        self, grid: ControlGrid, activation: Activation, integrator: str, substeps: int
    ) -> None:
        """Choose the method."""
        tableau = TABLEAUX[integrator]
        super().__init__(grid, activation, tableau.nodes, substeps)
        self._matrix, self._weights = tableau.matrix.copy(), tableau.weights.copy()
        self._size = self._steps * self._weights.size * grid.dimension
        self.block = max(SMALLEST_BLOCK, HELD // self._size // 8 * 8)
        self._stages, self._work = np.empty(0), np.empty(0)

    def forward(self, x: FloatArray) -> None:
        """Take points to the final time."""
        forward(x, *self._method(), *self._room(x))

    @np.errstate(over="ignore", invalid="ignore")
    def gradient(self, x: FloatArray, slope: FloatArray, constant: FloatArray) -> None:
        """Do the same and add the derivative."""
        self.forward(x)
        backward(slope * x + constant, *self._method(), *self._room(x), self._dw, self._db)

    def _method(self) -> tuple[int, float, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return what the kernels need of problem and integrator."""
        return self._code, self._step, self._w, self._b, self._matrix, self._weights

    def _room(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return where the stages of some points are kept, and a work space."""
        if self._stages.size < self._size * x.shape[1]:
            self._stages = np.empty(self._size * x.shape[1])
            self._work = np.empty((self._weights.size + 2) * x.size)
        stages = self._stages[: self._size * x.shape[1]]
        work = self._work[: (self._weights.size + 2) * x.size]
        return stages.reshape(self._steps, -1, *x.shape), work.reshape(-1, *x.shape)

    def _forget(self) -> None:
        self._dw, self._db = np.zeros_like(self._w), np.zeros_like(self._b)

    def _by_stages(self) -> FloatArray:
        rows = self._db.shape[:2]
        return np.concatenate([self._dw.reshape(*rows, -1), self._db], axis=2)


def flow_of(
    grid: ControlGrid, activation: Activation, integrator: str, steps_per_interval: int
) -> Flow:
    """Return the flow by an integrator.

    Raises:
        InputError: if the integrator is unknown or the number of steps less than 1.
    """
    if integrator not in TABLEAUX:
        raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(TABLEAUX)}")
    substeps = integer(steps_per_interval, "steps_per_interval", 1)
    if integrator == "rk4" and grid.dimension == 1:
        return LineRk4(grid, activation, substeps)
    return RungeKutta(grid, activation, integrator, substeps)

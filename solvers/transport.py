"""The mean-field equation f_t + (sigma(w(t) x + b(t)) f)_x = 0, f(0, .) = f_0, in one dimension.

Equation (5), solved on a bounded interval by finite volumes: CWENO3 reconstruction, local
Lax-Friedrichs flux, SSP-RK3 in time (section 4.1.1 of the paper). Two things differ from the paper.
Initial averages are differences of the distribution function, exact for densities with jumps too
(three-point Gauss is exact on jumps only if they fall on cell faces). And where a step violates the
CFL condition, the solver substeps inside it: the published runs keep the step fixed and become
unstable outside the support.

Mass that leaves the domain is a failure. Whether it does is decided by the exact flow, not by the
scheme: if the flow takes more than 1e-10 of the initial law out of the domain, MassLostError names
the boundary and the amount before anything is solved. Otherwise the boundaries are closed. On
coarse grids, and most of all where the flow expands, the scheme smears a density ahead of its
support, by far more than any reasonable margin; at a closed boundary that part stays in the domain,
so mass is conserved to rounding, and counts as what it is: an error of the scheme, part of its
distance to the exact solution. ``boundary="open"`` lets it leave and fails when more than 1e-10 has
left; it is the default where only averages are given, whose exact flow is not known.

The scheme undershoots a little at jumps. ``limiter="positivity"`` (Zhang and Shu) keeps averages
that are not negative so, to rounding, at a CFL number of 1/6.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import FloatArray, Poll, freeze, increasing, integer, vector
from solvers.characteristics import characteristics
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.errors import InputError, MassLostError, NonFiniteError
from solvers.finite_volumes import CLOSED, NONE, OPEN, POSITIVITY, advance, work_space
from solvers.particles import check_indices
from solvers.substeps import CflCondition
from solvers.zhang_shu import CFL as POSITIVITY_CFL

CFL = 0.45
MASS_TOLERANCE = 1e-10
MIN_CELLS = 4
MIN_EPSILON = 1e-40
BOUNDARIES = {"closed": CLOSED, "open": OPEN}
LIMITERS = {"none": NONE, "positivity": POSITIVITY}
DOMAIN_TAIL = 1e-14
DOMAIN_TIMES = 257
CHECKED_TIMES = 1025
MARGIN = 0.1
BLOCK_SECONDS = 0.1


@dataclass(frozen=True)
class TransportSolution:
    """Cell averages of the density at the snapshots.

    Attributes:
        edges: Faces of the cells, shape (N + 1,).
        centers: Centres of the cells, shape (N,).
        density: Cell averages, shape (S, N).
        mass: Total mass in the domain, shape (S,).
        mass_error: |mass + what left the domain - initial mass|, shape (S,).
        outflow: What left through the left and the right boundary over the whole run; zero where
            they are closed.
        substeps: Number of time steps taken.
        epsilon: Regularisation of the CWENO weights.
        cfl: Bound on h max|sigma| / dx.
        limiter: "none" or "positivity".
    """

    edges: FloatArray
    centers: FloatArray
    density: FloatArray
    mass: FloatArray
    mass_error: FloatArray
    outflow: tuple[float, float]
    substeps: int
    epsilon: float
    cfl: float
    limiter: str


def solve_transport(
    initial: Distribution | None,
    activation: Activation,
    controls: Controls,
    domain: tuple[float, float],
    cells: int,
    times: ArrayLike,
    snapshot_indices: ArrayLike,
    cfl: float | None = None,
    epsilon: float | None = None,
    poll: Poll | None = None,
    initial_averages: ArrayLike | None = None,
    boundary: str | None = None,
    limiter: str = "none",
) -> TransportSolution:
    """Solve the mean-field equation.

    Args:
        initial: The initial law f_0; may be None if `initial_averages` is given.
        activation: The activation.
        controls: The controls w(t), b(t).
        domain: The interval Omega.
        cells: The number N of cells.
        times: The control intervals from 0 on (see :func:`solvers.time_grid.time_grid`), (n + 1,).
        snapshot_indices: Indices into `times` of the output times, increasing, shape (S,).
        cfl: Bound on h max|sigma| / dx, the maximum over all faces and the stage times; by default
            0.45, with the positivity limiter 1/6, which it must not exceed then.
        epsilon: Regularisation of the CWENO weights; dx^2 by default.
        poll: Called every fraction of a second; may raise PointTimeoutError.
        initial_averages: Cell averages to start from instead of those of `initial`, shape (N,).
        boundary: "closed" or "open"; see the head of this module. By default closed, and open if
            `initial_averages` are given.
        limiter: "none" or "positivity"; see the head of this module.

    Returns:
        The solution at the snapshots.

    Raises:
        InputError: if an argument is not valid.
        CflError: if a step would need more than a million substeps.
        MassLostError: if more than 1e-10 of mass starts outside the domain or leaves it.
        NonFiniteError: if a cell average overflows.
    """
    edges = cell_edges(domain, cells)
    dx = (edges[-1] - edges[0]) / cells
    epsilon = dx * dx if epsilon is None else epsilon
    cfl = _cfl(cfl, limiter)
    for name, value in (("cfl", cfl), ("epsilon", epsilon)):
        if not (math.isfinite(value) and value > 0.0):
            raise InputError(f"{name} = {value} must be positive and finite")
    if epsilon < MIN_EPSILON:
        raise InputError(f"epsilon = {epsilon} must be at least {MIN_EPSILON}")
    grid = increasing(times, "times", minimum=1)
    if grid[0] != 0.0:
        raise InputError(f"times must start at 0, not {grid[0]}")
    indices = check_indices(snapshot_indices, grid.size)
    u = np.zeros(cells + 4)
    u[2:-2] = averages_on(initial, initial_averages, edges)
    if boundary is None:
        boundary = "closed" if initial_averages is None else "open"
    if boundary not in BOUNDARIES:
        raise InputError(f"unknown boundary {boundary!r}; allowed: {', '.join(BOUNDARIES)}")
    if boundary == "closed" and initial is not None:
        _check_flow(initial, activation, controls, edges, grid[: indices[-1] + 1])
    ghosts, code = BOUNDARIES[boundary], LIMITERS[limiter]
    run = _Run(activation, controls, edges, dx, cfl, epsilon, ghosts, code, poll)
    density = np.empty((indices.size, cells))
    mass, mass_error = np.empty(indices.size), np.empty(indices.size)
    initial_mass = math.fsum(u) * dx
    for row, (start, stop) in enumerate(zip([0, *indices[:-1]], indices, strict=True)):
        run.advance(u, grid[start : stop + 1])
        density[row] = u[2:-2]
        mass[row] = math.fsum(u[2:-2]) * dx
        mass_error[row] = abs(mass[row] + sum(run.left) - initial_mass)
    return TransportSolution(
        edges=freeze(edges),
        centers=freeze(0.5 * (edges[:-1] + edges[1:])),
        density=freeze(density),
        mass=freeze(mass),
        mass_error=freeze(mass_error),
        outflow=run.left,
        substeps=run.substeps,
        epsilon=float(epsilon),
        cfl=float(cfl),
        limiter=limiter,
    )


def _cfl(cfl: float | None, limiter: str) -> float:
    if limiter not in LIMITERS:
        raise InputError(f"unknown limiter {limiter!r}; allowed: {', '.join(LIMITERS)}")
    if limiter == "none":
        return CFL if cfl is None else cfl
    if cfl is not None and cfl > POSITIVITY_CFL:
        raise InputError(f"cfl = {cfl} must be at most 1/6 with the positivity limiter")
    return POSITIVITY_CFL if cfl is None else cfl


def cell_edges(domain: tuple[float, float], cells: int) -> FloatArray:
    """Return the faces of uniform cells, shape (N + 1,).

    Raises:
        InputError: if the domain is no interval or there are fewer than four cells.
    """
    low, high = (float(end) for end in domain)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"domain [{low}, {high}] is not an interval")
    cells = integer(cells, "cells", MIN_CELLS)
    edges = low + (high - low) * (np.arange(cells + 1) / cells)
    edges[-1] = high
    return edges


def averages_on(
    initial: Distribution | None, averages: ArrayLike | None, edges: FloatArray
) -> FloatArray:
    """Return the initial cell averages, shape (N,): those given, or those of the law.

    Raises:
        InputError: if neither is given or the averages do not fit the cells.
        MassLostError: if more than 1e-10 of the law lies outside the domain.
    """
    if averages is not None:
        values = vector(averages, "initial_averages")
        if values.size != edges.size - 1:
            raise InputError(f"{values.size} initial averages for {edges.size - 1} cells")
        return values
    if initial is None:
        raise InputError("either an initial law or initial averages are needed")
    left, right = float(initial.cdf(edges[0])), float(initial.sf(edges[-1]))
    if left + right > MASS_TOLERANCE:
        boundary = "left" if right == 0.0 else "right" if left == 0.0 else "outside"
        raise MassLostError(
            boundary,
            left + right,
            f"initial mass outside the domain [{edges[0]:.6g}, {edges[-1]:.6g}]: {left:.3g} on the"
            f" left, {right:.3g} on the right",
        )
    return initial.cell_averages(edges)


def _check_flow(
    initial: Distribution,
    activation: Activation,
    controls: Controls,
    edges: FloatArray,
    times: FloatArray,
) -> None:
    """Require that the exact flow keeps the initial law in the domain.

    Raises:
        MassLostError: if it takes more than 1e-10 out.
    """
    if times.size > CHECKED_TIMES:
        times = times[np.linspace(0, times.size - 1, CHECKED_TIMES).round().astype(np.int64)]
    low, high = float(edges[0]), float(edges[-1])
    tail = 0.1 * MASS_TOLERANCE
    first, last = initial.support(tail)
    scale = max(last - first, 1e-300)

    def excess(y: float, sign: float) -> tuple[float, float]:
        """Return by how much, and when, the trajectory of y is furthest out on one side."""
        path = characteristics([y], activation, controls, times, scale)[0][:, 0]
        out = path - high if sign > 0.0 else low - path
        return float(out.max()), float(times[np.argmax(out)])

    slack = 1e-12 * (high - low)
    for boundary, sign, end in (("left", -1.0, first), ("right", 1.0, last)):
        out, at = excess(end, sign)
        if out <= slack:
            continue
        inside, outside = (last, end) if sign < 0.0 else (first, end)
        for _ in range(60):
            middle = 0.5 * (inside + outside)
            if excess(middle, sign)[0] > slack:
                outside = middle
            else:
                inside = middle
        amount = float(initial.cdf(outside) if sign < 0.0 else initial.sf(outside))
        if amount > MASS_TOLERANCE:
            raise MassLostError(
                boundary,
                amount,
                f"the flow takes mass {amount:.3g} out of the domain [{low:.6g}, {high:.6g}]"
                f" through its {boundary} boundary (furthest, {out:.3g}, at t = {at:.6g})",
            )


@dataclass
class _Run:
    """What stays the same over a run, and its counters."""

    activation: Activation
    controls: Controls
    edges: FloatArray
    dx: float
    cfl: float
    epsilon: float
    ghosts: int
    limiter: int
    poll: Poll | None

    def __post_init__(self) -> None:
        self.outflow = np.zeros(2)
        self.substeps = 0
        self.work = work_space()
        self.condition = CflCondition(self.activation, self.edges, self.dx, self.cfl)
        self.block = 16

    def advance(self, u: FloatArray, times: FloatArray) -> None:
        """Take `u` through the given control intervals."""
        for steps in self.condition.divide(self.controls, times):
            h = np.diff(steps.ends)
            first = 0
            while first < h.size:
                part = slice(first, first + self.block)
                self._advance_block(u, h[part], steps.w[part], steps.b[part])
                self._check(u, steps.ends[min(first + self.block, h.size)])
                first = part.stop
            self.substeps += h.size

    def _advance_block(self, u: FloatArray, h: FloatArray, w: FloatArray, b: FloatArray) -> None:
        if self.poll is not None:
            self.poll()
        began = time.perf_counter()
        code, dx, epsilon = self.activation.code, self.dx, self.epsilon
        mode = self.ghosts + self.limiter
        advance(u, code, 1.0, mode, self.edges, h, w, b, dx, epsilon, self.work, self.outflow)
        if time.perf_counter() - began < 0.5 * BLOCK_SECONDS:
            self.block = min(2 * self.block, 1 << 20)
        else:
            self.block = max(self.block // 2, 1)

    def _check(self, u: FloatArray, at: float) -> None:
        if not np.all(np.isfinite(u[2:-2])):
            raise NonFiniteError(f"a cell average is not finite at t = {at:.12g}")
        for boundary, amount in zip(("left", "right"), self.left, strict=True):
            if abs(amount) > MASS_TOLERANCE:
                raise MassLostError(
                    boundary,
                    amount,
                    f"mass {amount:.3g} left the domain [{self.edges[0]:.6g}, {self.edges[-1]:.6g}]"
                    f" through its {boundary} boundary before t = {at:.12g}",
                )

    @property
    def left(self) -> tuple[float, float]:
        """What left through each boundary so far."""
        if self.ghosts == CLOSED:
            return 0.0, 0.0
        return float(self.outflow[0]), float(self.outflow[1])


def automatic_domain(
    initial: Distribution,
    activation: Activation,
    controls: Controls,
    horizon: ArrayLike,
) -> tuple[float, float]:
    """Return an interval that the exact flow does not leave; it depends on no resolution.

    It is the hull over [0, T] of the flow of the support (of all but 1e-14 on each side where that
    is unbounded), with a margin of a tenth of its width on each side.

    Args:
        initial: The initial law.
        activation: The activation.
        controls: The controls.
        horizon: The final time T, or an array of times whose last is T.

    Raises:
        NonFiniteError: if the flow blows up.
    """
    end = float(np.max(np.asarray(horizon, dtype=np.float64)))
    support = np.array(initial.support(DOMAIN_TAIL))
    paths = support[None, :]
    if end > 0.0:
        times = np.linspace(0.0, end, DOMAIN_TIMES)
        paths, _ = characteristics(support, activation, controls, times, float(np.ptp(support)))
    low, high = float(paths.min()), float(paths.max())
    margin = MARGIN * (high - low)
    return low - margin, high + margin

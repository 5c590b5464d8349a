"""The flow map of the particles in one dimension, tabulated once and applied to any number of them.

Particles do not interact, so their steps are one increasing function Phi_t of the initial position
for each output time. This is the map of the *discrete* flow - Euler, SSP-RK3 or RK4 with the time
steps of the study, what :func:`solvers.particles.integrate` computes - not that of the differential
equation, so both ways to push a particle agree to rounding and tolerance.

Phi_t is tabulated as a polynomial of degree 5 on each of some pieces. Between its kinks (relu has
them, :mod:`solvers.kinks`) it is as smooth as the activation; a piece is bisected until its error
is within the tolerance at every output time.

What is certified: on each piece Phi_t is sampled at 17 Chebyshev points and interpolated by q, of
degree 16. The polynomial p that is kept is q without its terms 6 to 16, so max |q - p| over the
*whole* piece is at most the sum of their absolute coefficients; and q is compared with Phi_t at
five points between. The error of a piece is the sum of the two. So p - q is bounded; q - Phi_t is
measured, not proved: a feature of Phi_t that leaves no trace in 22 points of a piece would be
missed. On the pieces that are left none is to be expected: those of relu are linear, and where an
analytic map has terms of degree 6 of 1e-13, those of degree 17 are far below rounding.

Where the map is steep its value at x cannot be had better than to eps |x| |slope|: so far does
rounding x alone move a particle, in the steps as in the polynomial. There the tolerance is relative
to |x| |slope|, with x and slope of the piece itself; the x of other pieces says nothing, since
beside an unstable point at 0 floating-point numbers are dense. The tolerance gives way only so far,
to 1e-10 of the largest position; where that is not reached, the map is refused.

Sorted particles are pushed by marching through the pieces: all that lie in one piece see the same
six coefficients, so the loop over them is five fused multiply-adds without a branch or a gather,
which LLVM vectorises; only where a piece ends there is a branch, and a bisection. Blocks of
particles stay in the first-level cache while they are taken to all output times, so the initial
positions are read from memory once; a GPU has a thread for each particle (:mod:`solvers.gpu`). The
simple twin is :class:`DiscreteFlow`, all steps for each particle.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.polynomial import chebyshev as series_tools
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import BoolArray, FloatArray, IntArray, Poll, freeze, increasing
from solvers.characteristics import Reference, flow_coefficients
from solvers.chebyshev import MATRIX, POINTS, PROBE_VALUES, PROBES
from solvers.controls import Controls
from solvers.device import check_device
from solvers.errors import FlowMapError, InputError, NonFiniteError
from solvers.jit import bare_kernel, fma
from solvers.kinks import relu_kinks
from solvers.particles import INTEGRATORS, advance_to, check_indices
from solvers.stages import stage_controls

DEGREE = 5
TOLERANCE = 1e-13
FIRST_PIECES = 8
STEEPEST = 1e3  # how far the tolerance may give way, in largest positions
MAX_BISECTED = 20_000
BLOCK = 2048
NARROWEST = 1e-14
SMALLEST = np.finfo(np.float64).tiny / NARROWEST  # 2 / SMALLEST is finite
FALL = 1e-12  # of a position behind the one before it: rounding
INSTEAD = 'push the particles one by one (push = "direct")'
MONOMIALS = np.zeros((DEGREE + 1, DEGREE + 1))
for _k in range(DEGREE + 1):
    MONOMIALS[_k, : _k + 1] = series_tools.cheb2poly(np.eye(DEGREE + 1)[_k, : _k + 1])


@bare_kernel
def push_sorted(
    edges: FloatArray, coefficients: FloatArray, x: FloatArray, out: FloatArray, column: int
) -> None:
    """Write p(x) of every map into its row of `out`, from a column on.

    Args:
        edges: Ends of the pieces, shape (P + 1,).
        coefficients: Those of s^0 ... s^5, s = (2x - a - b)/(b - a), shape (S, P, 6).
        x: Positions in [edges[0], edges[P]], not decreasing, shape (n,).
        out: Shape (S, m), m >= n + column.
        column: Where to begin.
    """
    n, pieces = x.shape[0], edges.shape[0] - 1
    first = 0
    while first < n:
        piece = min(np.searchsorted(edges, x[first], side="right") - 1, pieces - 1)
        last = min(first + BLOCK, n)
        if piece < pieces - 1 and x[last - 1] >= edges[piece + 1]:
            last = first + np.searchsorted(x[first:last], edges[piece + 1], side="left")
        centre = 0.5 * edges[piece] + 0.5 * edges[piece + 1]
        scale = 2.0 / (edges[piece + 1] - edges[piece])
        for row in range(coefficients.shape[0]):
            c = coefficients[row, piece]
            c0, c1, c2, c3, c4, c5 = c[0], c[1], c[2], c[3], c[4], c[5]
            start, end = x[first:last], out[row, column + first : column + last]
            for i in range(start.shape[0]):
                s = (start[i] - centre) * scale
                end[i] = fma(fma(fma(fma(fma(c5, s, c4), s, c3), s, c2), s, c1), s, c0)
        first = last


@dataclass(frozen=True)
class DiscreteFlow:
    """Some steps of an integrator, ready to be applied to any points.

    Attributes:
        activation: The activation.
        controls: The controls.
        times: The ends of the steps, shape (n + 1,).
        indices: Which of them are the output times, increasing, shape (S,).
        integrator: "euler", "ssprk3" or "rk4".
    """

    activation: Activation
    controls: Controls
    times: FloatArray
    indices: IntArray
    integrator: str

    def __call__(self, points: FloatArray, poll: Poll | None = None) -> FloatArray:
        """Return the positions at the output times, in the order of the points, shape (S, n).

        They have the bits of :func:`solvers.particles.integrate`.

        Raises:
            NonFiniteError: if a position overflows.
        """
        x = points.copy()
        out = np.empty((self.indices.size, x.size))
        steps = (self.activation, self.controls, self.times, self.integrator, poll)
        for row, _ in enumerate(advance_to(self.indices, x, *steps)):
            out[row] = x
        if not np.all(np.isfinite(out)):
            bad = int(np.flatnonzero(~np.isfinite(out).all(axis=0))[0])
            raise NonFiniteError(f"the particle that starts at {points[bad]:.12g} overflows")
        return out

    def kinks(self, low: float, high: float, poll: Poll | None = None) -> FloatArray:
        """Return where the positions are not smooth functions of the initial one."""
        if self.activation.name != "relu":
            return np.empty(0)
        ends = self.times[: self.indices[-1] + 1]
        w, b = stage_controls(self.controls, ends, INTEGRATORS[self.integrator][1])
        return relu_kinks(low, high, self.integrator, np.diff(ends), w, b, poll)


@dataclass(frozen=True)
class FlowMap:
    """Phi_t at the output times.

    Attributes:
        edges: Ends of the pieces, shape (P + 1,).
        coefficients: Those of the polynomials of :func:`push_sorted`, shape (S, P, 6).
        error: Estimate of the error at each output time, absolute, shape (S,): that of the tables.
            Rounding errors of the steps, and of evaluation, come on top.
        beyond: What takes points beyond the pieces to all output times, shape (S, n).
        still: Whether the first output time is 0, where nothing has moved yet.
        device: What evaluates the polynomials, "cpu" or "gpu".
    """

    edges: FloatArray
    coefficients: FloatArray
    error: FloatArray
    beyond: Callable[[FloatArray], FloatArray]
    still: bool = False
    device: str = "cpu"

    def __call__(self, sorted_points: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Return the positions at the output times, shape (S, n).

        Args:
            sorted_points: Initial positions, not decreasing, shape (n,), n > 0.
            out: Where to write them, shape (S, m) with m >= n.

        Raises:
            NonFiniteError: if a position beyond the pieces overflows.
        """
        x = sorted_points
        out = np.empty((self.error.size, x.size)) if out is None else out
        low, high = 0, x.size
        if x[0] < self.edges[0] or x[-1] > self.edges[-1]:
            low = int(np.searchsorted(x, self.edges[0], side="left"))
            high = int(np.searchsorted(x, self.edges[-1], side="right"))
            for ends in (slice(0, low), slice(high, x.size)):
                if x[ends].size:
                    out[:, ends] = self.beyond(x[ends])
        rows = slice(int(self.still), None)
        self._push(x[low:high], out[rows], low)
        if self.still:
            out[0, : x.size] = x
        return out[:, : x.size]

    @cached_property
    def _push(self) -> Callable[[FloatArray, FloatArray, int], None]:
        """What :func:`push_sorted` does, with the polynomials of what moves."""
        moving = self.coefficients[int(self.still) :]
        if self.device == "gpu":
            from solvers import gpu  # and with it the CUDA target of Numba

            return gpu.pusher(self.edges, moving)
        return partial(push_sorted, self.edges, moving)


def exact_flow(reference: Reference) -> FlowMap:
    """Return the map of the exact flow as the reference interpolates it, to push many points."""
    half = 0.5 * np.diff(reference.y)
    coefficients = np.zeros((reference.times.size, half.size, DEGREE + 1))
    for row, x, j in zip(coefficients, reference.x, reference.log_slope, strict=True):
        c1, c2, c3 = (flow_coefficients(reference.y, x, np.exp(j)) * half[:, None] ** (1, 2, 3)).T
        row[:, 0] = x[:-1] + (c1 + (c2 + c3))
        row[:, 1] = c1 + (2.0 * c2 + 3.0 * c3)
        row[:, 2], row[:, 3] = c2 + 3.0 * c3, c3
    error = np.full(reference.times.size, reference.error_estimate)
    snapshots = range(reference.times.size)
    return FlowMap(
        reference.y,
        coefficients,
        freeze(error),
        lambda points: np.stack([reference.flow(s, points) for s in snapshots]),
    )


def flow_map(
    support: tuple[float, float],
    activation: Activation,
    controls: Controls,
    times: ArrayLike,
    snapshot_indices: ArrayLike,
    integrator: str = "rk4",
    tolerance: float = TOLERANCE,
    poll: Poll | None = None,
    device: str = "cpu",
) -> FlowMap:
    """Tabulate the flow map of the particles.

    Args:
        support: Between which initial positions.
        activation: The activation.
        controls: The controls.
        times: The ends of the steps, shape (n + 1,).
        snapshot_indices: Indices into `times` of the output times, increasing, shape (S,).
        integrator: "euler", "ssprk3" or "rk4".
        tolerance: The error that is allowed, relative to the largest position at each output time
            or, where the map is steep, to its slope times the initial position, but to no more
            than 1000 times the largest position.
        poll: Called every fraction of a second; may raise PointTimeoutError.
        device: What is to evaluate the map, "cpu" or "gpu"; the processor tabulates it.

    Raises:
        InputError: if an argument is not valid, or there is no GPU where one is asked for.
        NonFiniteError: if a position overflows.
        FlowMapError: if the steps do not keep the order of the particles, or the tolerance is not
            reached, as where a flow amplifies rounding errors.
    """
    low, high = float(support[0]), float(support[1])
    if not -np.inf < low < high < np.inf:
        raise InputError(f"support = [{low}, {high}] must be a finite interval")
    if integrator not in INTEGRATORS:
        raise InputError(f"unknown integrator {integrator!r}; allowed: {', '.join(INTEGRATORS)}")
    grid = increasing(times, "times", minimum=1)
    indices = check_indices(snapshot_indices, grid.size)
    check_device(device)
    flow = DiscreteFlow(activation, controls, grid, indices, integrator)
    edges = _distinct(
        np.append(np.linspace(low, high, FIRST_PIECES + 1), flow.kinks(low, high, poll))
    )
    return replace(_bisected(flow, edges, tolerance, poll), device=device)


def _distinct(points: FloatArray) -> FloatArray:
    """Return the points in order, the ends and those not closer to the last than rounding."""
    edges = np.unique(points)
    kept = np.append(True, ~_narrow(edges[:-1], edges[1:]))
    kept[-1] = True
    return np.asarray(edges[kept])


def _bisected(
    flow: DiscreteFlow, edges: FloatArray, tolerance: float, poll: Poll | None
) -> FlowMap:
    """Bisect the pieces, level by level, until all are good."""
    span = np.abs(flow(edges[[0, -1]], poll)).max(axis=1)[:, None]
    low, high = edges[:-1], edges[1:]
    done: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    error, left_over = np.zeros(flow.indices.size), MAX_BISECTED
    while True:
        coefficients, missed, scale = _fit(flow, low, high, span, poll)
        good = (missed <= tolerance * scale).all(axis=0)
        done.append((low[good], high[good], coefficients[:, good]))
        error = np.maximum(error, missed[:, good].max(axis=1, initial=0.0))
        low, high = low[~good], high[~good]
        if low.size == 0:
            return _joined(done, error, flow)
        left_over -= low.size
        _check_pieces(low, high, left_over, missed[:, ~good])
        middle = 0.5 * low + 0.5 * high
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])


def _joined(
    done: list[tuple[FloatArray, FloatArray, FloatArray]], error: FloatArray, flow: DiscreteFlow
) -> FlowMap:
    """Put the pieces in order."""
    low, high = (np.concatenate([part[k] for part in done]) for k in (0, 1))
    order = np.argsort(low)
    coefficients = np.concatenate([part[2] for part in done], axis=1)[:, order]
    return FlowMap(
        freeze(np.append(low[order], high.max())),
        np.ascontiguousarray(coefficients),
        freeze(error),
        flow,
        still=bool(flow.indices[0] == 0),
    )


def _narrow(low: FloatArray, high: FloatArray) -> BoolArray:
    """Whether pieces are too narrow for numbers, relative to their ends or, beside 0, at all."""
    size = np.maximum(np.abs(low), np.abs(high))
    return np.asarray(high - low < np.maximum(NARROWEST * size, SMALLEST))


def _check_pieces(low: FloatArray, high: FloatArray, left_over: int, missed: FloatArray) -> None:
    """See that bisection can go on."""
    if left_over < 0 or _narrow(low, high).any():
        worst = int(np.argmax(missed.max(axis=0)))
        raise FlowMapError(
            f"the flow map cannot be tabulated near x = {low[worst]:.12g}: an error of"
            f" {missed[:, worst].max():.2g} is left, as where a flow amplifies rounding errors;"
            f" {INSTEAD}"
        )


def _fit(
    flow: DiscreteFlow, low: FloatArray, high: FloatArray, span: FloatArray, poll: Poll | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return polynomials on the pieces, shape (S, P, 6), their errors, and what these scale with.

    Args:
        flow: What is tabulated.
        low: Left ends of the pieces, shape (P,).
        high: Right ends.
        span: The largest position at each output time, shape (S, 1).
        poll: May raise PointTimeoutError.
    """
    centre, half = 0.5 * (low + high)[:, None], 0.5 * (high - low)[:, None]
    nodes = np.clip(centre + half * np.append(POINTS, PROBES), low[:, None], high[:, None])
    values = flow(nodes.ravel(), poll).reshape(-1, *nodes.shape)
    distance = np.maximum(np.abs(low), np.abs(high)) / (high - low)
    scale = np.clip(np.ptp(values, axis=-1) * distance, span, STEEPEST * span)
    order = np.argsort(nodes[0])
    _check_order(nodes[:, order], values[..., order], FALL * scale)
    series = values[..., : POINTS.size] @ MATRIX.T
    missed = np.abs(series @ PROBE_VALUES.T - values[..., POINTS.size :]).max(axis=-1)
    missed += np.abs(series[..., DEGREE + 1 :]).sum(axis=-1)
    return series[..., : DEGREE + 1] @ MONOMIALS, missed, scale


def _check_order(points: FloatArray, values: FloatArray, rounding: FloatArray) -> None:
    """See that the steps keep the order of particles at each output time."""
    falls = (np.diff(values, axis=-1) < -rounding[..., None]).any(axis=(0, 2))
    if falls.any():
        at = points[np.argmax(falls), 0]
        raise FlowMapError(
            f"the steps do not keep the order of the particles near x = {at:.12g}: take smaller"
            f" ones, or {INSTEAD}"
        )

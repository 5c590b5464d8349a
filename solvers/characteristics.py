"""Ground truth by characteristics: f_t = Phi_t # f_0 to ODE accuracy.

The flow Phi_t of x' = sigma(w(t) x + b(t)) is increasing in the initial position y, and along a
trajectory log f(t, Phi_t(y)) = log f_0(y) - J, J = int_0^t w sigma'(w x + b) ds = log dPhi_t/dy. So
quantiles are transported, Q_t(u) = Phi_t(Q_0(u)), and F_t(Phi_t(y)) = F_0(y).

:func:`reference` tabulates X = Phi_t(y) and J on a mesh in y that is bisected until the cubic
Hermite interpolants of Phi_t in y and of F_t in x both hit the exact midpoint, or miss it by no
more than the error of the trajectories explains: that is about 1e-15 per step times the growth of
the flow since then, exp(J_t - J_s), which double precision cannot do better.
"""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import BoolArray, FloatArray, IntArray, Poll, freeze, vector
from solvers.chebyshev import ControlPanels, control_panels
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.errors import InputError, NonFiniteError
from solvers.gragg_bulirsch_stoer import COLUMNS, trajectories
from solvers.wasserstein import PiecewiseCdf, hermite_coefficients, invert_hermite

STEP_TOLERANCE = 1e-14
EFFECTIVE_TAIL = 1e-17
MIN_PIECES = 64
MAX_LEVELS = 60
MAX_MESH = 20_000
NOISE_FACTOR = 64.0
BLOCK_SECONDS = 0.1


def characteristics(
    y: ArrayLike,
    activation: Activation,
    controls: Controls,
    times: ArrayLike,
    scale: float | None = None,
    poll: Poll | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the exact flow at some points.

    Args:
        y: Initial positions, shape (n,).
        activation: The activation.
        controls: The controls.
        times: Output times, increasing, not negative, shape (S,).
        scale: Size of positions, max|y| by default; steps are accurate to about 1e-14 of
            max(|x|, 1e-12 scale), results to that times the growth of the flow, at most
            exp(max J - min J) along a trajectory.
        poll: Called every fraction of a second; may raise PointTimeoutError.

    Returns:
        Phi_t(y) and log dPhi_t/dy, each of shape (S, n).

    Raises:
        NonFiniteError: if a trajectory blows up.
    """
    points = vector(y, "initial positions")
    scale = float(np.abs(points).max()) if scale is None else scale
    return _Flow(activation, controls, _times(times), scale or 1.0, poll)(points)[:2]


def _times(times: ArrayLike) -> FloatArray:
    grid = vector(times, "times")
    if np.any(np.diff(grid) <= 0.0) or grid[0] < 0.0:
        raise InputError("times must be increasing and not negative")
    return grid


@dataclass
class _Flow:
    """The exact flow map, ready to be applied to many points."""

    activation: Activation
    controls: Controls
    times: FloatArray
    scale: float
    poll: Poll | None = None
    panels: ControlPanels = field(init=False)

    def __post_init__(self) -> None:
        horizon = float(self.times[-1])
        controls = self.controls
        if horizon == 0.0:  # nothing moves; a control need not be known later
            w, b = controls.evaluate(np.zeros(1))
            controls, horizon = Controls.of(float(w[0]), float(b[0])), 1.0
        self.panels = control_panels(controls, horizon, self.times)
        self.block = 64

    def __call__(self, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return Phi_t(y), J and the estimated error of Phi_t(y), shape (S, n) each."""
        found = np.empty((3, self.times.size, y.size))
        stops = self.panels.index(self.times)
        table = np.empty((2, COLUMNS))
        panels = self.panels
        start = 0
        while start < y.size:
            if self.poll is not None:
                self.poll()
            part = y[start : start + self.block].copy()
            out = np.empty((3, self.times.size, part.size))
            began = time.perf_counter()
            failed = trajectories(
                part, self.activation.code, panels.edges, panels.w, panels.b, panels.degrees,
                stops, self.scale, STEP_TOLERANCE, table, out[0], out[1], out[2],
            )  # fmt: skip
            if failed:
                bad = int(np.flatnonzero(~np.isfinite(out).all(axis=(0, 1)))[0])
                raise NonFiniteError(
                    f"the trajectory that starts at {part[bad]:.12g} cannot be integrated: it blows"
                    " up or oscillates too fast"
                )
            found[:, :, start : start + part.size] = out
            start += part.size
            if time.perf_counter() - began < 0.5 * BLOCK_SECONDS:
                self.block = min(2 * self.block, 1 << 17)
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class Reference:
    """The exact solution at the snapshots.

    Attributes:
        initial: The initial law.
        times: The snapshot times, shape (S,).
        y: The mesh in the initial position, shape (K,).
        x: Phi_t of the mesh, shape (S, K), not decreasing in each row.
        log_slope: J = log dPhi_t/dy on the mesh, shape (S, K).
        values: F_0 of the mesh, from 0 to 1, shape (K,).
        error_estimate: The largest defect left at the midpoint of a piece before it was bisected
            for the last time, as a distance: the defect of Phi_t, or that of F_t times the width
            of the piece. Large if noise or the largest mesh ended the bisection early.
    """

    initial: Distribution
    times: FloatArray
    y: FloatArray
    x: FloatArray
    log_slope: FloatArray
    values: FloatArray
    error_estimate: float
    _density: tuple[FloatArray, FloatArray]
    _flow: _Flow
    _measures: dict[int, PiecewiseCdf] = field(default_factory=dict, compare=False, repr=False)

    @property
    def activation(self) -> Activation:
        """The activation."""
        return self._flow.activation

    @property
    def controls(self) -> Controls:
        """The controls."""
        return self._flow.controls

    def flow(self, s: int, y: ArrayLike) -> FloatArray:
        """Return Phi_t(y) at snapshot `s`: interpolated on the mesh, integrated beyond it."""
        points = np.asarray(y, dtype=np.float64)
        flat = points.reshape(-1)
        k = np.clip(np.searchsorted(self.y, flat, side="right") - 1, 0, self.y.size - 2)
        d = flat - self.y[k]
        c = self._flow_coefficients(s)[k]
        values = self.x[s, k] + d * (c[:, 0] + d * (c[:, 1] + d * c[:, 2]))
        beyond = (flat < self.y[0]) | (flat > self.y[-1])
        if beyond.any():
            values[beyond] = self._flow(flat[beyond])[0][s]
        return np.asarray(values.reshape(points.shape))

    def measure(self, s: int) -> PiecewiseCdf:
        """Return the law at snapshot `s` for W1."""
        if s not in self._measures:
            right, left = self._density
            with np.errstate(over="ignore", invalid="ignore"):
                decay = np.exp(-self.log_slope[s])
                slopes = right * decay[:-1], left * decay[1:]
                marks = np.searchsorted(self.y, self.initial.landmarks(EFFECTIVE_TAIL))
                marks = self.x[s, np.minimum(marks, self.y.size - 1)]
                self._measures[s] = PiecewiseCdf(self.x[s], self.values, *slopes, marks)
        return self._measures[s]

    def cdf(self, s: int, x: ArrayLike) -> FloatArray:
        """Return F_t(x) at snapshot `s`."""
        return self.measure(s).cdf(x)

    def quantile(self, s: int, u: ArrayLike) -> FloatArray:
        """Return Q_t(u) = Phi_t(Q_0(u)) at snapshot `s`."""
        return self.flow(s, self.initial.quantile(u))

    def density(self, s: int, x: ArrayLike) -> FloatArray:
        """Return f_t(x) = f_0(y) exp(-J(y)) with x = Phi_t(y), J integrated exactly."""
        points = np.asarray(x, dtype=np.float64)
        flat = points.reshape(-1)
        inside = (flat >= self.x[s, 0]) & (flat <= self.x[s, -1])
        values = np.zeros(flat.size)
        if inside.any():
            coefficients = self._flow_coefficients(s)
            full = np.concatenate([coefficients, np.zeros((1, 3))])
            y = invert_hermite(self.y, self.x[s], full, flat[inside])
            j = self._flow(y)[1]
            values[inside] = self.initial.pdf(y) * np.exp(-j[s])
        return np.asarray(values.reshape(points.shape))

    def cell_averages(self, s: int, edges: ArrayLike) -> FloatArray:
        """Return the averages of f_t over the cells between `edges`, shape (N,)."""
        faces = vector(edges, "edges", minimum=2)
        return np.asarray(np.diff(self.measure(s).cdf(faces)) / np.diff(faces))

    def mean(self, s: int) -> float:
        """Return the mean at snapshot `s`."""
        return self.measure(s).mean

    def variance(self, s: int) -> float:
        """Return the variance at snapshot `s`."""
        return self.measure(s).variance

    def range(self, s: int) -> tuple[float, float]:
        """Return the ends of the (effective) support at snapshot `s`."""
        return float(self.x[s, 0]), float(self.x[s, -1])

    def argument_range(self) -> tuple[FloatArray, FloatArray]:
        """Return the hull of w(t) x + b(t) over the support up to each snapshot, shape (S,) each.

        It is sampled densely in time and widened by what may be missed between two samples.
        """
        return _argument_range(self._flow, self.y[[0, -1]], self.times)

    def _flow_coefficients(self, s: int) -> FloatArray:
        slopes = np.exp(self.log_slope[s])
        return flow_coefficients(self.y, self.x[s], slopes)


def flow_coefficients(y: FloatArray, x: FloatArray, slopes: FloatArray) -> FloatArray:
    """Return the Hermite coefficients of an increasing flow map on the mesh `y`."""
    return hermite_coefficients(y, x, slopes[:-1], slopes[1:])


def _argument_range(
    flow: _Flow, ends: FloatArray, times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    t, w, b = flow.panels.dense
    t, unique = np.unique(t, return_index=True)
    dense = _Flow(flow.activation, flow.controls, t, flow.scale)
    x = dense(ends)[0]
    z = w[unique][:, None] * x + b[unique][:, None]
    low, high = z.min(axis=1), z.max(axis=1)
    jump = np.abs(np.diff(z, axis=0)).max(axis=1, initial=0.0)
    jump = np.maximum(np.append(jump, 0.0), np.append(0.0, jump))
    count = np.searchsorted(t, times, side="right") + 1
    count = np.clip(count, 1, t.size)
    widened_low = np.minimum.accumulate(low - 0.25 * jump)
    widened_high = np.maximum.accumulate(high + 0.25 * jump)
    return widened_low[count - 1], widened_high[count - 1]


def reference(
    initial: Distribution,
    activation: Activation,
    controls: Controls,
    times: ArrayLike,
    tolerance: float = 1e-12,
    poll: Poll | None = None,
) -> Reference:
    """Return the exact solution at the snapshot times.

    Args:
        initial: The initial law f_0.
        activation: The activation.
        controls: The controls.
        times: Snapshot times, increasing, shape (S,).
        tolerance: Bound on the interpolation errors of Phi_t (relative to the width of its image
            and its largest value) and of F_t (where the density is singular, on that error times
            the width of the piece, a hundredth of it), unless noise or a mesh of MAX_MESH pieces
            more than there are breakpoints ends the bisection before; see `error_estimate`.
        poll: Called every fraction of a second; may raise PointTimeoutError.

    Raises:
        NonFiniteError: if a trajectory blows up.
        InputError: if an argument is not valid.
    """
    grid = _times(times)
    low, high = initial.support(EFFECTIVE_TAIL)
    flow = _Flow(activation, controls, grid, max(high - low, 1e-300), poll)
    mesh = _Mesh(initial, flow, tolerance)
    y, x, j, _ = mesh.build(_first_mesh(initial, flow, low, high))
    flow.poll = None  # the poll of this call; the reference may be kept for others
    values = np.maximum.accumulate(initial.cdf(y))
    values[0], values[-1] = 0.0, 1.0
    right, left = mesh.densities(y)
    return Reference(
        initial, freeze(grid), freeze(y), freeze(np.maximum.accumulate(x, axis=1)), freeze(j),
        freeze(values), mesh.error_estimate, (freeze(right[:-1]), freeze(left[1:])), flow,
    )  # fmt: skip


def _first_mesh(initial: Distribution, flow: _Flow, low: float, high: float) -> FloatArray:
    """Return the ends, the breakpoints, the kink of relu at time 0, and some points between."""
    points = [initial.breakpoints(), initial.landmarks(EFFECTIVE_TAIL), [low, high]]
    w, b = flow.controls.evaluate(np.array([0.0]))
    if flow.activation.name == "relu" and w[0] != 0.0:
        points.append(-b / w)
    merged = np.concatenate([np.asarray(part, dtype=np.float64) for part in points])
    ends = np.unique(merged[(merged >= low) & (merged <= high)])
    pieces = -(-MIN_PIECES // (ends.size - 1))
    steps = np.arange(pieces) / pieces
    inner = ends[:-1, None] + np.diff(ends)[:, None] * steps
    return np.unique(np.append(inner.ravel(), ends[-1]))


@dataclass
class _Mesh:
    """The bisection."""

    initial: Distribution
    flow: _Flow
    tolerance: float

    def __post_init__(self) -> None:
        self.breaks = self.initial.breakpoints()

    def build(self, y: FloatArray) -> "_Nodes":
        """Return the mesh with what :class:`_Flow` gives on it."""
        first = (y, *self.flow(y))
        nodes = [first]
        size, most = y.size, y.size + MAX_MESH
        left, right = _pick(first, slice(None, -1)), _pick(first, slice(1, None))
        largest, width = np.abs(first[1]).max(axis=1), np.ptp(first[1], axis=1)
        width = np.maximum(width, 0.1 * self.flow.scale)
        self.spans = np.maximum(largest, width)[:, None]
        self.widths = np.maximum(width, 1e-3 * largest)[:, None]
        self.error_estimate = 0.0
        for level in range(MAX_LEVELS):
            middle_y = left[0] + 0.5 * (right[0] - left[0])
            middle = (middle_y, *self.flow(middle_y))
            nodes.append(middle)
            size += middle_y.size
            good, error = self._defects(left, middle, right)
            eps = 4.0 * np.finfo(float).eps * np.maximum(np.abs(left[0]), np.abs(right[0]))
            split = ~good & (right[0] - left[0] > np.maximum(eps, 1e-300))
            if level == MAX_LEVELS - 1:
                split[:] = False
            chosen = _largest(np.where(split, error, -1.0), (most - size) // 2)
            split &= chosen
            self.error_estimate = max(self.error_estimate, float(error[~split].max(initial=0.0)))
            if not split.any():
                break
            low, centre, high = (_pick(part, split) for part in (left, middle, right))
            left, right = _join([low, centre]), _join([centre, high])
        every = _join(nodes)
        _, order = np.unique(every[0], return_index=True)
        return _pick(every, order)

    def _defects(
        self, left: "_Nodes", middle: "_Nodes", right: "_Nodes"
    ) -> tuple[BoolArray, FloatArray]:
        """Return for each piece whether both interpolants hit its midpoint, and the largest miss.

        The miss is a distance: that of Phi_t, or that of F_t times the width of the piece.
        """
        h = right[0] - left[0]
        xl, xm, xr = left[1], middle[1], right[1]
        noise = NOISE_FACTOR * np.maximum(np.maximum(left[3], right[3]), middle[3])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            bend = 0.125 * h * (np.exp(left[2]) - np.exp(right[2]))
            flow_error = np.abs(0.5 * (xl + xr) + bend - xm)
        good = flow_error <= np.maximum(self.tolerance * self.spans, noise)
        error, width, rise = self._cdf_error(left, middle, right)
        miss = error * width
        fine = (error <= self.tolerance) | (miss <= 0.01 * self.tolerance * self.widths)
        fine |= miss <= noise * rise / 16.0
        largest = np.maximum(np.nan_to_num(flow_error, nan=np.inf), miss).max(axis=0)
        return np.asarray((good & fine).all(axis=0)), np.asarray(largest)

    def _cdf_error(
        self, left: "_Nodes", middle: "_Nodes", right: "_Nodes"
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the midpoint errors of the Hermite interpolants of F_t, their widths and rises."""
        width = np.maximum(right[1] - left[1], 0.0)
        fl, fm, fr = (self.initial.cdf(part[0]) for part in (left, middle, right))
        after, _ = self.densities(left[0])
        _, before = self.densities(right[0])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            secant = np.where(width > 0.0, (fr - fl) / width, 0.0)
            m0, m1 = after * np.exp(-left[2]), before * np.exp(-right[2])
            m0 = np.clip(np.where(np.isfinite(m0), m0, secant), 0.0, 3.0 * secant)
            m1 = np.clip(np.where(np.isfinite(m1), m1, secant), 0.0, 3.0 * secant)
            s = np.where(width > 0.0, np.clip((middle[1] - left[1]) / width, 0.0, 1.0), 0.5)
            cubic = s * s * (3.0 - 2.0 * s)
            bend = width * s * (1.0 - s) * ((1.0 - s) * m0 - s * m1)
            error = np.abs(fl + (fr - fl) * cubic + bend - fm)
        return np.where(width > 0.0, error, 0.0), width, fr - fl

    def densities(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return f_0 just right and just left of `y`, infinite at a singularity."""
        at = self.initial.pdf(y)
        if self.breaks.size == 0:
            return at, at
        k = np.clip(np.searchsorted(self.breaks, y), 0, self.breaks.size - 1)
        edge = (self.breaks[k] == y) & np.isfinite(at)
        after, before = at.copy(), at.copy()
        after[edge] = self.initial.pdf(np.nextafter(y[edge], np.inf))
        before[edge] = self.initial.pdf(np.nextafter(y[edge], -np.inf))
        return after, before


_Nodes = tuple[FloatArray, FloatArray, FloatArray, FloatArray]  # y, Phi_t, J and the noise of Phi_t


def _pick(nodes: _Nodes, index: slice | BoolArray | IntArray) -> _Nodes:
    y, x, j, noise = nodes
    return y[index], x[:, index], j[:, index], noise[:, index]


def _join(parts: list[_Nodes]) -> _Nodes:
    x, j, noise = (np.concatenate([part[k] for part in parts], axis=1) for k in (1, 2, 3))
    return np.concatenate([part[0] for part in parts]), x, j, noise


def _largest(values: FloatArray, count: int) -> BoolArray:
    """Return which of the values are the `count` largest."""
    chosen = np.ones(values.size, dtype=bool)
    if count < values.size:
        chosen[np.argsort(values, kind="stable")[: values.size - max(count, 0)]] = False
    return chosen

"""Controls as piecewise Chebyshev series, to rounding error.

The interval between two knots is bisected until a series of degree 16 reproduces both controls to a
few units of rounding, or until what is missed cannot matter (singular points such as that of
sqrt(t) or abs(t - 0.3), where the panels shrink geometrically). Kernels can then evaluate controls
at any time, and integrals of controls are integrals of polynomials.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, IntArray
from solvers.controls import Control, Controls
from solvers.errors import ControlError, InputError

DEGREE = 16
ROUNDING = 2e-15
MAX_DEPTH = 55
MAX_PANELS = 20000
PROBES = np.array([-0.9871, -0.6173, -0.0577, 0.3331, 0.8519])


def _transform() -> tuple[FloatArray, FloatArray]:
    """Return the Chebyshev points of the second kind and the matrix from values to coefficients."""
    k = np.arange(DEGREE + 1)
    points = np.sin(np.pi * (DEGREE - 2 * k) / (2 * DEGREE))  # exactly symmetric
    matrix = points[_folded(np.outer(k, k))] * (2.0 / DEGREE)
    matrix[:, [0, -1]] *= 0.5
    matrix[[0, -1], :] *= 0.5
    return points, matrix


def _folded(n: IntArray) -> IntArray:
    """Return the m in 0 ... DEGREE with cos(pi m / DEGREE) = cos(pi n / DEGREE)."""
    rest = n % (2 * DEGREE)
    return np.minimum(rest, 2 * DEGREE - rest)


POINTS, MATRIX = _transform()
PROBE_VALUES = np.cos(np.outer(np.arccos(PROBES), np.arange(DEGREE + 1)))


@dataclass(frozen=True)
class ControlPanels:
    """w(t) and b(t) on [0, T] as series on panels.

    Attributes:
        edges: Ends of the panels, shape (P + 1,).
        w: Coefficients of w on each panel, in (2t - a - b)/(b - a), shape (P, 17).
        b: Coefficients of b likewise.
        degrees: Degrees that matter, of w and of b, shape (2, P).
    """

    edges: FloatArray
    w: FloatArray
    b: FloatArray
    degrees: IntArray

    def index(self, times: FloatArray) -> IntArray:
        """Return which edge each time is (the nearest)."""
        middles = 0.5 * (self.edges[1:] + self.edges[:-1])
        return np.searchsorted(middles, times).astype(np.int64)

    @cached_property
    def dense(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Times all over [0, T], edges included, with the values of w and b there."""
        low, high = self.edges[:-1, None], self.edges[1:, None]
        nodes = np.concatenate([[-1.0], PROBES[1:-1], [1.0]])
        nodes = np.unique(np.concatenate([nodes, POINTS]))
        basis = np.cos(np.outer(np.arange(DEGREE + 1), np.arccos(nodes)))
        times = 0.5 * ((high + low) + (high - low) * nodes)
        return times.ravel(), (self.w @ basis).ravel(), (self.b @ basis).ravel()


def control_panels(controls: Controls, horizon: float, extra: ArrayLike = ()) -> ControlPanels:
    """Return the series of both controls on [0, horizon].

    Args:
        controls: The controls.
        horizon: The end T > 0.
        extra: Times that must be edges of panels too, in [0, T].

    Raises:
        ControlError: if a control is not finite, or too rough to be resolved.
    """
    if not (np.isfinite(horizon) and horizon > 0.0):
        raise InputError(f"horizon = {horizon} must be positive and finite")
    inner = np.concatenate([controls.knots, np.asarray(extra, dtype=np.float64).reshape(-1)])
    inner = inner[(inner > 1e-13 * horizon) & (inner < horizon * (1.0 - 1e-13))]
    ends = np.unique(np.concatenate([[0.0], inner, [horizon]]))
    ends = ends[np.concatenate([[True], np.diff(ends) > 1e-13 * horizon])]
    ends[-1] = horizon
    low, high, series = _bisect(controls, ends, horizon)
    order = np.argsort(low)
    w, b = series[0][order], series[1][order]
    edges = np.append(low[order], high[order][-1])
    degrees = np.stack([_degrees(w, edges), _degrees(b, edges)])
    return ControlPanels(edges, w, b, degrees)


def _bisect(
    controls: Controls, ends: FloatArray, horizon: float
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
    """Bisect all intervals, level by level, until the series fit."""
    low, high = ends[:-1], ends[1:]
    done: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]] = []
    for _ in range(MAX_DEPTH):
        w, fit_w = _fit(controls.w, low, high, horizon)
        b, fit_b = _fit(controls.b, low, high, horizon)
        good = fit_w & fit_b
        done.append((low[good], high[good], w[good], b[good]))
        low, high = low[~good], high[~good]
        if low.size == 0:
            break
        if low.size > MAX_PANELS:
            raise ControlError("a control is too rough: it cannot be resolved to rounding error")
        middle = 0.5 * (low + high)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    else:
        raise ControlError(f"a control is singular near t = {low[0]:.12g}: it cannot be resolved")
    columns = [np.concatenate([part[i] for part in done]) for i in range(4)]
    return columns[0], columns[1], (columns[2], columns[3])


def _fit(
    control: Control, low: FloatArray, high: FloatArray, horizon: float
) -> tuple[FloatArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the coefficients on each interval and whether they are good enough."""
    centre, half = 0.5 * (high + low)[:, None], 0.5 * (high - low)[:, None]
    nodes = np.clip(centre + half * POINTS, low[:, None], high[:, None])
    values = control(nodes)
    series = values @ MATRIX.T
    constant = np.ptp(values, axis=1) == 0.0
    series[constant] = 0.0
    series[constant, 0] = values[constant, 0]  # exactly
    missed = np.abs(series @ PROBE_VALUES.T - control(centre + half * PROBES)).max(axis=1)
    missed = np.maximum(missed, np.abs(series[:, -2:]).max(axis=1))
    scale = np.maximum(np.abs(values).max(axis=1), 1e-3 * np.abs(values).max(initial=0.0))
    narrow = np.minimum(half[:, 0] / horizon * 4.0, 1.0)
    sloped = np.abs(values[:, 0] - values[:, -1]) * 4e-16 * horizon / half[:, 0]
    good = (missed <= ROUNDING * scale + sloped) | (missed * narrow <= 1e-16 * scale)
    return series, good


def _degrees(series: FloatArray, edges: FloatArray) -> IntArray:
    """Return the degree up to which the coefficients of each row are more than rounding.

    Where a control is steep, the rounding of the times at which it was evaluated counts too.
    """
    size = np.abs(series)
    steepness = 2.0 * size[:, 1] / np.diff(edges)
    noise = 5e-16 * size.max(axis=1) + 2e-16 * edges[1:] * steepness
    matters = size > noise[:, None]
    last = DEGREE - np.argmax(matters[:, ::-1], axis=1)
    return np.where(matters.any(axis=1), last, 0).astype(np.int64)


def integral_of_absolute(panels: ControlPanels, times: FloatArray) -> FloatArray:
    """Return the integrals of |w| from 0 to each of `times`, which must be edges of panels.

    The sign changes of w are the roots of its series; between them the series is integrated.
    """
    pieces = np.empty(panels.edges.size - 1)
    for p, series in enumerate(panels.w):
        half = 0.5 * (panels.edges[p + 1] - panels.edges[p])
        trimmed = series[: panels.degrees[0, p] + 1]
        antiderivative = chebyshev.chebint(trimmed)
        values = chebyshev.chebval(_sign_changes(trimmed), antiderivative)
        pieces[p] = half * np.abs(np.diff(values)).sum()
    total = np.concatenate([[0.0], np.cumsum(pieces)])
    return np.asarray(total[panels.index(times)])


def _sign_changes(series: FloatArray) -> FloatArray:
    """Return -1, the real roots of a series inside (-1, 1), and 1."""
    if series.size == 1 or np.abs(series[1:]).sum() < abs(series[0]):
        return np.array([-1.0, 1.0])
    negligible = np.abs(series) < 1e-16 * np.abs(series).max()
    significant = np.trim_zeros(np.where(negligible, 0.0, series), "b")
    roots = chebyshev.chebroots(significant) if significant.size > 1 else np.empty(0)
    real = roots.real[(np.abs(roots.imag) < 1e-6) & (np.abs(roots.real) < 1.0)]
    return np.concatenate([[-1.0], np.sort(real), [1.0]])

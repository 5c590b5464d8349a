"""Continuous dependence on the controls: how far other controls can move the law.

Let f and g start from the same law and follow v = sigma(w x + b) and v' = sigma(w' x + b'). With
the Lipschitz constant L of v in x, Gronwall's inequality for two trajectories gives

    W1(f_t, g_t) <= int_0^t e^(L (t - s)) int |v - v'| dg_s ds       (integral form)
                 <= (e^(L t) - 1)/L sup |v - v'|                     (sup form)

This is estimate (12), which prints e^(L t - 1)/L instead. That is smaller where L t > 0.459, and no
bound there: for sigma(x) = x, w = w' = 1 and constant b - b' the sup form is attained.
"""

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import FloatArray, vector
from solvers.characteristics import Reference, characteristics
from solvers.chebyshev import control_panels, integral_of_absolute
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.errors import InputError

TIME_PIECES = 32
LAW_PIECES = 512
ROUNDING = 1e-12


def supremum_bound(
    activation: Activation,
    controls: Controls,
    other: Controls,
    supports: tuple[ArrayLike, ArrayLike],
    times: ArrayLike,
) -> FloatArray:
    """Return the bound in sup form at the given times, shape (S,); may be infinite.

    All constants are taken up to each time: L = Lip(sigma) sup|w|, the larger one of the two flows,
    and sup|v - v'| <= Lip(sigma) (sup|w - w'| sup|x| + sup|b - b'|). Lip(sigma) is the global
    constant where there is one; for gcu that over the arguments that can occur.

    Args:
        activation: The activation.
        controls: The controls w, b.
        other: The controls w', b'.
        supports: The ends of an interval that holds the supports of both laws up to each time,
            numbers or of shape (S,) each.
        times: The times t, increasing, not negative, shape (S,).

    Raises:
        InputError: if the times are not of this kind or an interval is none.
    """
    grid = _times(times)
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), grid.shape) for end in supports)
    if not np.all(low <= high):
        raise InputError("supports: the lower ends must not exceed the upper ones")
    if grid[-1] == 0.0:
        return np.zeros(grid.size)
    t = _dense_times(controls, other, grid)
    (w, b), (w_other, b_other) = controls.evaluate(t), other.evaluate(t)
    slope, shift = _running_sup(w - w_other), _running_sup(b - b_other)
    steepest = np.maximum(_running_sup(w), _running_sup(w_other))
    out = np.zeros(grid.size)
    for k, last in enumerate(np.searchsorted(t, grid * (1.0 + ROUNDING), side="right") - 1):
        x = np.array([low[k], high[k]])
        arguments = [np.outer(w, x) + b[:, None], np.outer(w_other, x) + b_other[:, None]]
        constant = _lipschitz(activation, np.concatenate(arguments, axis=1)[: last + 1])
        rate = constant * steepest[last]
        difference = constant * (slope[last] * np.abs(x).max() + shift[last])
        with np.errstate(over="ignore"):
            growth = np.expm1(rate * grid[k]) / rate if rate > 0.0 else grid[k]
        out[k] = difference * growth if difference > 0.0 else 0.0
    return out


def integral_bound(exact: Reference, controls: Controls) -> FloatArray:
    """Return the bound in integral form at the times of a reference, shape (S,); may be infinite.

    It holds for every law, of bounded support or not. Here L is the one of each time, so that
    L (t - s) becomes Lip(sigma) int_s^t |w|. The integrals are taken by quadrature; where v - v'
    has kinks in x (relu, changes of sign) to about 1e-6 of the largest |v - v'|.

    Args:
        exact: The law g with its controls w', b'.
        controls: The controls w, b of the law f.
    """
    horizon = float(exact.times[-1])
    if horizon == 0.0:
        return np.zeros(exact.times.size)
    s, weights = _time_quadrature(controls, exact)
    u, masses = _law_quadrature(exact.initial)
    x, _ = characteristics(exact.initial.quantile(u), exact.activation, exact.controls, s)
    v, v_exact = (_velocity(exact.activation, each, s, x) for each in (controls, exact.controls))
    sources = weights * (np.abs(v - v_exact) @ masses)
    panels = control_panels(controls, horizon, np.concatenate([s, exact.times]))
    before, upto = integral_of_absolute(panels, s), integral_of_absolute(panels, exact.times)
    out = np.zeros(exact.times.size)
    for k, constant in enumerate(_constants(exact, controls)):
        past = s < exact.times[k]
        with np.errstate(over="ignore"):
            out[k] = np.exp(constant * (upto[k] - before[past])) @ sources[past]
    return out


def _times(times: ArrayLike) -> FloatArray:
    grid = vector(times, "times")
    if np.any(np.diff(grid) <= 0.0) or grid[0] < 0.0:
        raise InputError("times must be increasing and not negative")
    return grid


def _dense_times(controls: Controls, other: Controls, grid: FloatArray) -> FloatArray:
    """Return times that resolve both pairs of controls, those of `grid` among them."""
    horizon = float(grid[-1])
    parts = [control_panels(each, horizon, grid).dense[0] for each in (controls, other)]
    return np.clip(np.unique(np.concatenate(parts)), 0.0, horizon)


def _running_sup(values: FloatArray) -> FloatArray:
    """Return the largest |value| so far, widened by what may be missed between two samples."""
    jump = np.abs(np.diff(values, prepend=values[:1]))
    return np.asarray(np.maximum.accumulate(np.abs(values) + 0.25 * jump))


def _lipschitz(activation: Activation, arguments: FloatArray) -> float:
    """Return the global constant of sigma; where there is none, that over arguments (n, m)."""
    everywhere = activation.lipschitz(-np.inf, np.inf)
    if np.isfinite(everywhere):
        return everywhere
    missed = 0.25 * np.abs(np.diff(arguments, axis=0)).max(initial=0.0)
    return activation.lipschitz(float(arguments.min()) - missed, float(arguments.max()) + missed)


def _velocity(
    activation: Activation, controls: Controls, s: FloatArray, x: FloatArray
) -> FloatArray:
    w, b = controls.evaluate(s)
    return activation(w[:, None] * x + b[:, None])


def _gauss(edges: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Return Gauss nodes and weights on each of the intervals between `edges`, increasing."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1.0 + nodes)).ravel(), (half * weights).ravel()


def _time_quadrature(controls: Controls, exact: Reference) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights in time, split where a control is not smooth and at snapshots."""
    horizon = float(exact.times[-1])
    both = (controls, exact.controls)
    parts = [control_panels(each, horizon, exact.times).edges for each in both]
    edges = np.unique(np.concatenate([*parts, np.linspace(0.0, horizon, TIME_PIECES + 1)]))
    apart = np.append(True, np.diff(edges) > ROUNDING * horizon)
    return _gauss(edges[apart], 8)


def _law_quadrature(initial: Distribution) -> tuple[FloatArray, FloatArray]:
    """Return levels u and weights, split at gaps and graded to both tails."""
    tail = 2.0 ** -np.arange(10.0, 46.0)
    even = np.arange(1, LAW_PIECES) / LAW_PIECES
    edges = np.unique(np.concatenate([tail, even, 1.0 - tail, initial.cdf(initial.landmarks())]))
    edges = edges[(edges >= tail[-1]) & (edges <= 1.0 - tail[-1])]
    u, weights = _gauss(edges, 4)
    return u, weights / weights.sum()


def _constants(exact: Reference, controls: Controls) -> list[float]:
    """Return Lip(sigma) up to each time, over all arguments w x + b between the two laws."""
    t = _dense_times(controls, exact.controls, exact.times)
    ends = exact.y[[0, -1]]
    w, b = controls.evaluate(t)
    paths = [
        characteristics(ends, exact.activation, each, t)[0] for each in (controls, exact.controls)
    ]
    arguments = w[:, None] * np.concatenate(paths, axis=1) + b[:, None]
    last = np.searchsorted(t, exact.times * (1.0 + ROUNDING), side="right")
    return [_lipschitz(exact.activation, arguments[:k]) for k in last]

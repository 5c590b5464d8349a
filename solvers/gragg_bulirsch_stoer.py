"""Trajectories to rounding error by Gragg-Bulirsch-Stoer extrapolation.

Each trajectory solves, with its own steps,

    x' = sigma(w(t) x + b(t)),   J' = w(t) sigma'(w(t) x + b(t)),   J = log d(Phi_t)/dy,

by the explicit midpoint rule with 2, 4, ..., 14 substeps, extrapolated to step zero (Aitken and
Neville; order up to 14). A step ends as soon as two successive extrapolations agree to the
tolerance and those before them nearly did (two low ones may agree by accident), so short steps are
cheap. The tolerance is local and relative to |x|: the error of a result is about the tolerance
times the growth of the flow since, exp(J_t - J_s), and a running estimate of it is returned. No
step straddles the edge of a control panel, or samples the activation more coarsely than it bends:
where sigmoid or tanh switch within a step, all columns could agree on having missed it. At the kink
of relu the step is shortened towards the crossing until what is missed is below the tolerance.

Reference: Hairer, Norsett, Wanner, "Solving Ordinary Differential Equations I", section II.9.
"""

import math

from solvers.activations import GCU, IDENTITY, RELU, both
from solvers.arrays import FloatArray, IntArray
from solvers.jit import kernel

COLUMNS = 7
MAX_STEPS = 100000
PREVIOUS = 1e-3  # of the difference before the last one must meet the tolerance, too
ROUNDING = 3e-16  # error of a step relative to |x|, for the running estimate
MAX_JUMP = 2.0  # of the argument between samples: a longer one may hide a bend of sigma
SATURATED = 45.0  # beyond it sigmoid and tanh are constant to rounding
STIFF = 3.0  # longer steps h |dx'/dx| amplify rounding in the midpoint rule


@kernel
def _clenshaw(series: FloatArray, degree: int, tau: float) -> float:
    """Return the Chebyshev series at tau in [-1, 1]."""
    if degree == 0:
        return float(series[0])
    b1 = 0.0
    b2 = 0.0
    for k in range(degree, 0, -1):
        b0 = series[k] + (2.0 * tau * b1 - b2)
        b2 = b1
        b1 = b0
    return float(series[0] + (tau * b1 - b2))


@kernel
def _unseen(code: int, before: float, after: float) -> float:
    """Return how far the argument moves between two samples, where the activation may bend."""
    if code in (IDENTITY, RELU):  # relu's kink has its own treatment
        return 0.0
    if code != GCU and before * after > 0.0 and min(abs(before), abs(after)) > SATURATED:
        return 0.0
    return math.fabs(after - before)


@kernel
def _dips(z: float, before: float, after: float) -> bool:
    """Return whether |z| has a least value there that may be 0 between the samples."""
    if before * after >= 0.0 or z * after <= 0.0:
        return False
    return math.fabs(z) <= math.fabs(before) + math.fabs(after)


@kernel
def trajectories(
    y: FloatArray,
    code: int,
    edges: FloatArray,
    w: FloatArray,
    b: FloatArray,
    degrees: IntArray,
    stops: IntArray,
    scale: float,
    tolerance: float,
    table: FloatArray,
    x_out: FloatArray,
    j_out: FloatArray,
    noise_out: FloatArray,
) -> int:
    """Integrate all trajectories and return how many failed (their results are NaN).

    Args:
        y: Initial positions, shape (n,).
        code: Code of the activation.
        edges: Ends of the control panels, shape (P + 1,).
        w: Chebyshev coefficients of w, shape (P, 17).
        b: Chebyshev coefficients of b.
        degrees: Degrees of both, shape (2, P).
        stops: Which edges are snapshots, increasing, shape (S,).
        scale: Size of positions; those below 1e-12 of it are accurate absolutely.
        tolerance: Bound on the error estimate of a step.
        table: Work space, shape (2, COLUMNS).
        x_out: Positions at the snapshots (output), shape (S, n).
        j_out: J at the snapshots (output), shape (S, n).
        noise_out: Estimated errors of x_out (output), shape (S, n).
    """
    failures = 0
    horizon = edges[-1] - edges[0]
    for i in range(y.shape[0]):
        x, j, noise, s, steps = y[i], 0.0, 0.0, 0, 0
        preferred = 0.25 * horizon
        toggle = False
        while s < stops.shape[0] and stops[s] == 0:
            x_out[s, i] = x
            j_out[s, i] = noise_out[s, i] = 0.0
            s += 1
        for p in range(edges.shape[0] - 1):
            if s == stops.shape[0]:
                break
            length = edges[p + 1] - edges[p]
            rate, dw, db = 2.0 / length, degrees[0, p], degrees[1, p]
            t = 0.0  # counted from the panel's start: no digits lost where controls are steep
            longest = 0.25 * length if code == RELU and max(dw, db) > 2 else horizon
            while t < length:
                h = min(preferred, longest, length - t)
                if t + h >= length - 1e-3 * h:
                    h = length - t
                tau = min(t * rate - 1.0, 1.0)
                w0 = _clenshaw(w[p], dw, tau)
                z0 = w0 * x + _clenshaw(b[p], db, tau)
                value, slope = both(code, z0)
                fx0, fj0 = value, w0 * slope
                if h * math.fabs(fj0) > STIFF:
                    h = STIFF / math.fabs(fj0)
                x_scale = max(math.fabs(x), h * math.fabs(fx0), 1e-12 * scale)
                j_scale = max(math.fabs(j), 1.0)
                error, last, accepted, column = math.inf, math.inf, False, 0
                crossed, z1, jump = False, z0, 0.0
                for c in range(COLUMNS):
                    n = 2 * (c + 1)
                    sub = h / n
                    x_old, j_old = x, j
                    x_new, j_new = x + sub * fx0, j + sub * fj0
                    z1, rise, jump = z0, 0.0, 0.0
                    for m in range(1, n):
                        tau = min((t + m * sub) * rate - 1.0, 1.0)
                        wm = _clenshaw(w[p], dw, tau)
                        z_old, rise_old = z1, rise
                        z1 = wm * x_new + _clenshaw(b[p], db, tau)
                        value, slope = both(code, z1)
                        rise = z1 - z_old
                        jump = max(jump, _unseen(code, z_old, z1))
                        crossed = crossed or (z0 > 0.0) != (z1 > 0.0)
                        if code == RELU:  # it may touch the kink between two of these times
                            crossed = crossed or _dips(z_old, rise_old, rise)
                        x_next = x_old + 2.0 * sub * value
                        j_next = j_old + 2.0 * sub * (wm * slope)
                        x_old, j_old, x_new, j_new = x_new, j_new, x_next, j_next
                    before_x, before_j = x_new, j_new
                    for k in range(1, c + 1):  # row c of the table replaces row c - 1
                        ratio = (c + 1.0) / (c + 1.0 - k)
                        factor = 1.0 / (ratio * ratio - 1.0)
                        new_x = before_x + (before_x - table[0, k - 1]) * factor
                        new_j = before_j + (before_j - table[1, k - 1]) * factor
                        table[0, k - 1], table[1, k - 1] = before_x, before_j
                        before_x, before_j = new_x, new_j
                    table[0, c], table[1, c] = before_x, before_j
                    if c > 0:
                        x_scale = max(x_scale, math.fabs(before_x))
                        last_x = math.fabs(before_x - table[0, c - 1]) / x_scale
                        last_j = math.fabs(before_j - table[1, c - 1]) / j_scale
                        previous, last = last, max(last_x, last_j)
                        error = max(last, PREVIOUS * previous)
                        column = c
                        if error <= tolerance and (code != RELU or c > 2):
                            accepted = True
                            break
                        if c >= 3 and not last < 1e-2:
                            break
                steps += 1
                if steps > MAX_STEPS or not math.isfinite(x):
                    break
                if accepted and code != RELU:  # nor a bend of the activation between two samples
                    tau = min((t + h) * rate - 1.0, 1.0)
                    z_end = _clenshaw(w[p], dw, tau) * table[0, column]
                    z_end += _clenshaw(b[p], db, tau)
                    jump = max(jump, _unseen(code, z1, z_end))
                    if jump > MAX_JUMP and h > 1e-15 * length:
                        preferred = h * min(max(MAX_JUMP / jump, 0.1), 0.7)
                        continue
                if code == RELU and accepted:  # no kink inside: the sign is the same all along
                    tau = min((t + h) * rate - 1.0, 1.0)
                    z_old = z1
                    z1 = _clenshaw(w[p], dw, tau) * table[0, column] + _clenshaw(b[p], db, tau)
                    crossed = crossed or _dips(z_old, rise, z1 - z_old)
                    crossed = crossed or (z0 > 0.0) != (z1 > 0.0)
                    size = max(math.fabs(z0), math.fabs(z1))
                    accepted = not crossed or size * h <= tolerance * x_scale * 0.1
                if accepted or h <= 1e-15 * length:
                    t = length if t + h >= length * (1.0 - 4e-16) else t + h
                    noise = noise * math.exp(min(table[1, column] - j, 700.0)) + ROUNDING * x_scale
                    x, j = table[0, column], table[1, column]
                    if column < 4:
                        grow = 4.0 - 0.5 * column
                    else:
                        grow = 0.8 * (tolerance / (error + 1e-18)) ** (1.0 / (2.0 * column + 1.0))
                        grow = min(max(grow, 0.7), 2.0)
                    preferred = grow * h if h >= preferred else max(preferred, grow * h)
                elif code == RELU and crossed:
                    share = math.fabs(z0) / (math.fabs(z0) + math.fabs(z1))
                    toggle = not toggle
                    if (z0 > 0.0) == (z1 > 0.0) or toggle:
                        share = 0.5
                    preferred = h * min(max(share, 1e-3), 0.999)
                else:
                    shrink = 0.8 * (tolerance / error) ** (1.0 / (2.0 * column + 1.0))
                    preferred = h * (min(max(shrink, 0.1), 0.7) if error < 1e300 else 0.1)
            if t < length:
                break
            while s < stops.shape[0] and stops[s] == p + 1:
                x_out[s, i] = x
                j_out[s, i] = j
                noise_out[s, i] = noise
                s += 1
        if s < stops.shape[0] or not math.isfinite(x):
            failures += 1
            for k in range(s, stops.shape[0]):
                x_out[k, i] = math.nan
                j_out[k, i] = noise_out[k, i] = math.nan
    return failures

"""The exact integral of |F - G| for two piecewise cubic functions of bounded variation.

One sweep over both sets of knots, O(M + N). Between two merged knots the difference is a cubic; its
zeros are bracketed by those of its derivative and found by bisection-guarded Newton steps, and the
pieces of constant sign are integrated in closed form. The sum is compensated.

:func:`absolute_difference` is the sweep for any two functions. The common ones have sweeps of their
own, which take the same terms in the same order and so give the same bits, and read F off the index
of a point (the k-th of M equal masses lifts it to k/M) rather than out of an array:

* :func:`two_samples`: both are samples. Which of two sorted sequences goes on is as good as random,
  so it is added to the indices as a number: a branch would be predicted wrongly half of the time.
* :func:`sweep_sample`: the points come in parts and G is a law, so that a sample need not be in
  memory as a whole. Many points lie in one piece of G; their terms do not depend on each other and
  are computed by a loop that LLVM vectorises, as if G crossed F in none of them; the few where it
  does are then computed again; the sum follows in its order.
"""

import math

import numpy as np

from solvers.arrays import FloatArray
from solvers.jit import bare_kernel, bits_float, float_bits, inlined, kernel

MAGNITUDE = (1 << 63) - 1  # all bits but that of the sign
FEW = 8  # points in a piece from which on a loop over them pays


@kernel
def _root(p: float, q: float, vp: float, e0: float, e1: float, e2: float, e3: float) -> float:
    """Return the zero in [p, q] of a cubic that is monotone there; `vp` is its value at p."""
    x = 0.5 * (p + q)
    for _ in range(100):
        value = e0 + x * (e1 + x * (e2 + x * e3))
        if value == 0.0:
            break
        if (value < 0.0) == (vp < 0.0):
            p = x
        else:
            q = x
        slope = e1 + x * (2.0 * e2 + 3.0 * x * e3)
        new = x - value / slope
        if not (p < new < q):
            new = 0.5 * (p + q)
        if math.fabs(new - x) <= 1e-17 + 1e-16 * math.fabs(x):
            x = new
            break
        x = new
    return x


@kernel
def _absolute(e0: float, e1: float, e2: float, e3: float) -> float:
    """Return the integral over [0, 1] of |e0 + e1 x + e2 x^2 + e3 x^3|."""
    whole = e0 + (e1 / 2.0 + (e2 / 3.0 + e3 / 4.0))
    if math.fabs(e0) >= math.fabs(e1) + math.fabs(e2) + math.fabs(e3):
        return math.fabs(whole)
    if e2 == 0.0 and e3 == 0.0:
        end = e0 + e1
        if (e0 < 0.0) == (end < 0.0) or e0 == 0.0 or end == 0.0:
            return math.fabs(whole)
        return 0.5 * (e0 * e0 + end * end) / math.fabs(e1)
    first, second = 2.0, 2.0  # zeros of the derivative inside (0, 1), increasing
    discriminant = e2 * e2 - 3.0 * e1 * e3
    if discriminant > 0.0:
        q = -(e2 + math.copysign(math.sqrt(discriminant), e2))
        r1 = q / (3.0 * e3) if e3 != 0.0 else 2.0
        r2 = e1 / q if q != 0.0 else 2.0
        r1 = r1 if 0.0 < r1 < 1.0 else 2.0
        r2 = r2 if 0.0 < r2 < 1.0 else 2.0
        first, second = min(r1, r2), max(r1, r2)
    total, p, vp, ip = 0.0, 0.0, e0, 0.0
    for piece in range(3):
        q = 1.0 if piece == 2 else (first if piece == 0 else second)
        if q > 1.0:
            continue
        vq = e0 + q * (e1 + q * (e2 + q * e3))
        iq = q * (e0 + q * (e1 / 2.0 + q * (e2 / 3.0 + q * e3 / 4.0)))
        if (vp < 0.0 < vq) or (vq < 0.0 < vp):
            r = _root(p, q, vp, e0, e1, e2, e3)
            ir = r * (e0 + r * (e1 / 2.0 + r * (e2 / 3.0 + r * e3 / 4.0)))
            total += math.fabs(ir - ip) + math.fabs(iq - ir)
        else:
            total += math.fabs(iq - ip)
        p, vp, ip = q, vq, iq
    return total


@inlined
def _added(total: float, lost: float, term: float) -> tuple[float, float]:
    """Return the sum and what it has lost to rounding so far."""
    added = total + term
    back = added - total
    return added, lost + ((total - (added - back)) + (term - back))


@inlined
def _term(h: float, d0: float, d1: float, d2: float, d3: float) -> float:
    """Return the integral of |d0 + d1 s + d2 s^2 + d3 s^3| over [0, h]."""
    if d1 == 0.0 and d2 == 0.0 and d3 == 0.0:
        return h * math.fabs(d0)
    return h * _absolute(d0, h * d1, h * h * d2, h * h * h * d3)


@kernel
def absolute_difference(
    xf: FloatArray, rf: FloatArray, cf: FloatArray, xg: FloatArray, rg: FloatArray, cg: FloatArray
) -> float:
    """Return the integral of |F - G|, both 0 left of their first knot and 1 right of their last.

    Args:
        xf: Knots of F, not decreasing, shape (K,).
        rf: Values of F just right of its knots, shape (K,); the last is 1.
        cf: Coefficients of s, s^2, s^3 with s = x - xf[k] right of each knot, shape (K, 3); of
            shape (0, 3) where F is piecewise constant.
        xg: Knots of G.
        rg: Values of G.
        cg: Coefficients of G.
    """
    nf, ng = xf.shape[0], xg.shape[0]
    flat_f, flat_g = cf.shape[0] == 0, cg.shape[0] == 0
    i, j = -1, -1
    total, lost = 0.0, 0.0
    a = min(xf[0], xg[0])
    while i < nf - 1 or j < ng - 1:
        next_f = xf[i + 1] if i < nf - 1 else math.inf
        next_g = xg[j + 1] if j < ng - 1 else math.inf
        b = min(next_f, next_g)
        h = b - a
        if h > 0.0:
            d0 = (rf[i] if i >= 0 else 0.0) - (rg[j] if j >= 0 else 0.0)
            d1, d2, d3 = 0.0, 0.0, 0.0
            if not flat_f and 0 <= i < nf - 1:
                s, c1, c2, c3 = a - xf[i], cf[i, 0], cf[i, 1], cf[i, 2]
                d0 += s * (c1 + s * (c2 + s * c3))
                d1, d2, d3 = c1 + s * (2.0 * c2 + 3.0 * s * c3), c2 + 3.0 * s * c3, c3
            if not flat_g and 0 <= j < ng - 1:
                s, c1, c2, c3 = a - xg[j], cg[j, 0], cg[j, 1], cg[j, 2]
                d0 -= s * (c1 + s * (c2 + s * c3))
                d1 -= c1 + s * (2.0 * c2 + 3.0 * s * c3)
                d2, d3 = d2 - (c2 + 3.0 * s * c3), d3 - c3
            total, lost = _added(total, lost, _term(h, d0, d1, d2, d3))
        a = b
        if next_f <= b:
            i += 1
        if next_g <= b:
            j += 1
    return total + lost


@bare_kernel
def extent(x: FloatArray) -> tuple[float, bool]:
    """Return max |x|, NaN if one is, and whether a point lies left of the one before.

    The bits of |x| are compared as integers, which are in the same order: maxima of integers
    vectorise, those of floats do not because of NaN.
    """
    largest, falls = 0, False
    for i in range(x.shape[0]):
        largest = max(largest, float_bits(x[i]) & MAGNITUDE)
    for i in range(1, x.shape[0]):
        falls |= x[i] < x[i - 1]
    return bits_float(largest), falls


@bare_kernel
def two_samples(x: FloatArray, y: FloatArray) -> float:
    """Return the integral of |F - G| for the distribution functions of equal masses at points.

    Args:
        x: The points of F, not decreasing, shape (M,).
        y: The points of G, not decreasing, shape (N,).
    """
    m, n = x.shape[0], y.shape[0]
    i, j, f, g = 0, 0, 0.0, 0.0
    total, lost = 0.0, 0.0
    a = min(x[0], y[0])
    while i < m and j < n:
        next_f, next_g = x[i], y[j]
        b = next_f if next_f < next_g else next_g
        total, lost = _added(total, lost, (b - a) * math.fabs(f - g))
        a = b
        i += next_f <= next_g
        j += next_g <= next_f
        f, g = i / m, j / n
    for k in range(i, m):
        total, lost = _added(total, lost, (x[k] - a) * math.fabs(f - g))
        a, f = x[k], (k + 1) / m
    for k in range(j, n):
        total, lost = _added(total, lost, (y[k] - a) * math.fabs(f - g))
        a, g = y[k], (k + 1) / n
    return total + lost


@inlined
def _between(
    a: float, b: float, f: float, knot: float, r: float, c1: float, c2: float, c3: float
) -> float:
    """Return the integral over [a, b] of |f - G|, G = r + c1 s + c2 s^2 + c3 s^3, s = x - knot."""
    if not b > a:
        return 0.0
    s = a - knot
    d0 = f - r
    d0 -= s * (c1 + s * (c2 + s * c3))
    d1, d2 = c1 + s * (2.0 * c2 + 3.0 * s * c3), c2 + 3.0 * s * c3
    return _term(b - a, d0, 0.0 - d1, 0.0 - d2, 0.0 - c3)


@bare_kernel
def _terms_in_piece(
    x: FloatArray,
    before: int,
    count: int,
    knot: float,
    r: float,
    c1: float,
    c2: float,
    c3: float,
    out: FloatArray,
) -> None:
    """Write the integrals of |F - G| between neighbouring points that lie in one piece of G.

    -1 stands for one in which the sign of F - G may change.

    Args:
        x: The points, shape (n + 1,).
        before: How many points lie left of x[0].
        count: How many points there are in all.
        knot: Where the piece begins.
        r: G there.
        c1: The coefficient of s = x - knot.
        c2: That of s^2.
        c3: That of s^3.
        out: Shape (n,).
    """
    left, right = x[:-1], x[1:]
    for i in range(out.shape[0]):
        h = right[i] - left[i]
        s = left[i] - knot
        d0 = (before + i + 1) / count - r
        d0 -= s * (c1 + s * (c2 + s * c3))
        e1 = h * (c1 + s * (2.0 * c2 + 3.0 * s * c3))
        e2 = h * h * (c2 + 3.0 * s * c3)
        e3 = h * h * h * c3
        whole = math.fabs(d0 - (e1 / 2.0 + (e2 / 3.0 + e3 / 4.0)))
        sure = math.fabs(d0) >= math.fabs(e1) + math.fabs(e2) + math.fabs(e3)
        out[i] = h * whole if sure and h > 0.0 else (-1.0 if h > 0.0 else 0.0)


@bare_kernel
def sweep_sample(
    x: FloatArray,
    before: int,
    count: int,
    xg: FloatArray,
    rg: FloatArray,
    cg: FloatArray,
    state: tuple[int, float, float, float],
    work: FloatArray,
) -> tuple[int, float, float, float]:
    """Go on with the integral of |F - G| up to the last point of a part of a sample.

    Points may lie left of the one before by as little as rounding: nothing is between them.

    Args:
        x: The points of F in this part, shape (n,).
        before: How many came before.
        count: How many there are in all, of mass 1/count each.
        xg: Knots of G, as of :func:`absolute_difference`.
        rg: Values of G.
        cg: Coefficients of G.
        state: The last knot of G that was passed (-1 for none), where the sweep stands, the sum
            and what it has lost to rounding.
        work: Work space.
    """
    j, a, total, lost = state
    i, n, curved = 0, x.shape[0], cg.shape[0] != 0
    knot, r, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0, 0.0  # of the piece right of knot j
    if j >= 0:
        knot, r = xg[j], rg[j]
        if curved:
            c1, c2, c3 = cg[j, 0], cg[j, 1], cg[j, 2]
    while i < n:
        f, b = (before + i) / count, x[i]
        passes = j < xg.shape[0] - 1 and xg[j + 1] <= b
        if passes:
            b = xg[j + 1]
        total, lost = _added(total, lost, _between(a, b, f, knot, r, c1, c2, c3))
        a = b
        if passes:
            j += 1
            knot, r = xg[j], rg[j]
            if curved:
                c1, c2, c3 = cg[j, 0], cg[j, 1], cg[j, 2]
            continue
        i += 1
        if i + FEW > n or (j < xg.shape[0] - 1 and x[i + FEW - 1] >= xg[j + 1]):
            continue
        m = min(n - i, work.shape[0])
        if j < xg.shape[0] - 1 and x[i + m - 1] >= xg[j + 1]:
            m = np.searchsorted(x[i : i + m], xg[j + 1], side="left")
        _terms_in_piece(x[i - 1 : i + m], before + i - 1, count, knot, r, c1, c2, c3, work[:m])
        for k in range(i, i + m):
            term = work[k - i]
            if term < 0.0:
                f = (before + k) / count
                term = _between(x[k - 1], x[k], f, knot, r, c1, c2, c3)
            total, lost = _added(total, lost, term)
        i += m
        a = x[i - 1]
    return j, a, total, lost


@bare_kernel
def sweep_rest(
    xg: FloatArray,
    rg: FloatArray,
    cg: FloatArray,
    state: tuple[int, float, float, float],
) -> float:
    """Return the whole integral of |F - G| when :func:`sweep_sample` has passed every point."""
    j, a, total, lost = state
    while j < xg.shape[0] - 1:
        r, c1, c2, c3 = (rg[j] if j >= 0 else 0.0), 0.0, 0.0, 0.0
        if cg.shape[0] != 0 and j >= 0:
            c1, c2, c3 = cg[j, 0], cg[j, 1], cg[j, 2]
        knot = xg[j] if j >= 0 else 0.0
        total, lost = _added(total, lost, _between(a, xg[j + 1], 1.0, knot, r, c1, c2, c3))
        j, a = j + 1, xg[j + 1]
    return total + lost

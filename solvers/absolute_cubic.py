"""The exact integral of |F - G| for two piecewise cubic functions of bounded variation.

One sweep over both sets of knots, O(M + N). Between two merged knots the difference is a cubic; its
zeros are bracketed by those of its derivative and found by bisection-guarded Newton steps, and the
pieces of constant sign are integrated in closed form. The sum is compensated.
"""

import math

from solvers.arrays import FloatArray
from solvers.jit import kernel


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
            if d1 == 0.0 and d2 == 0.0 and d3 == 0.0:
                term = h * math.fabs(d0)
            else:
                term = h * _absolute(d0, h * d1, h * h * d2, h * h * h * d3)
            added = total + term
            back = added - total
            lost += (total - (added - back)) + (term - back)
            total = added
        a = b
        if next_f <= b:
            i += 1
        if next_g <= b:
            j += 1
    return total + lost

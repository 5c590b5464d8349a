"""Elementary functions without branches, so that loops over them vectorise.

Numba's wheels carry no vector mathematics library; ``math.exp`` in a loop is a scalar call. Here

* the argument is reduced by rounding to the nearest multiple of ln 2 (or pi/2): adding 1.5 * 2^52
  leaves the integer in the low bits of the sum,
* a polynomial is evaluated with fused multiply-adds (degree 13 for exp, Estrin's scheme),
* 2^n is made by an integer shift into the exponent bits.

The absolute error of tanh and sigmoid is below 4e-16; tanh is odd and accurate relatively near 0;
both saturate without overflow; NaN propagates.
"""

import math

from solvers.jit import bits_float, float_bits, fma, inlined

ROUND = 6755399441055744.0  # 1.5 * 2^52
LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17
TWO_OVER_PI = 0.6366197723675814
PI_HALF_HIGH = 1.5707963267948966
PI_HALF_MIDDLE = 6.123233995736766e-17
PI_HALF_LOW = -1.4973849048591833e-33

E2, E3, E4, E5, E6, E7 = (1.0 / math.factorial(k) for k in range(2, 8))
E8, E9, E10, E11, E12, E13 = (1.0 / math.factorial(k) for k in range(8, 14))

S3, S7, S11, S15 = (-1.0 / math.factorial(k) for k in (3, 7, 11, 15))
S5, S9, S13, S17 = (1.0 / math.factorial(k) for k in (5, 9, 13, 17))
C6, C10, C14 = (-1.0 / math.factorial(k) for k in (6, 10, 14))
C4, C8, C12, C16 = (1.0 / math.factorial(k) for k in (4, 8, 12, 16))


@inlined
def _power_and_rest(x: float) -> tuple[float, float]:
    """Return 2^n and e^r - 1, where x = n ln 2 + r and |r| <= ln(2)/2; -708 <= x <= 708."""
    shifted = fma(x, LOG2_E, ROUND)
    n = shifted - ROUND
    r = fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x))
    power = bits_float((float_bits(shifted) << 52) + 4607182418800017408)  # 1023 << 52
    r2 = r * r
    r4 = r2 * r2
    low = fma(fma(r, E5, E4), r2, fma(r, E3, E2))
    middle = fma(fma(r, E9, E8), r2, fma(r, E7, E6))
    high = fma(fma(r, E13, E12), r2, fma(r, E11, E10))
    tail = fma(fma(high, r4, middle), r4, low)
    return power, fma(tail, r2, r)


@inlined
def exp_negative(x: float) -> float:
    """Return e^x for x <= 0; arguments below -700 are taken as -700."""
    x = -700.0 if x < -700.0 else x
    power, rest = _power_and_rest(x)
    return fma(power, rest, power)


@inlined
def expm1_negative(x: float) -> float:
    """Return e^x - 1 for x <= 0, accurate relatively near 0."""
    x = -60.0 if x < -60.0 else x
    power, rest = _power_and_rest(x)
    return fma(power, rest, power - 1.0)


@inlined
def tanh(x: float) -> float:
    """Return the hyperbolic tangent."""
    d = expm1_negative(-2.0 * math.fabs(x))
    value = -d / (d + 2.0)
    return -value if x < 0.0 else value


@inlined
def tanh_derivative(x: float) -> float:
    """Return 1 - tanh(x)^2 = 4e/(1+e)^2 with e = exp(-2|x|)."""
    e = exp_negative(-2.0 * math.fabs(x))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


@inlined
def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x))."""
    e = exp_negative(-math.fabs(x))
    return (e if x < 0.0 else 1.0) / (1.0 + e)


@inlined
def sigmoid_derivative(x: float) -> float:
    """Return the derivative e/(1+e)^2 with e = exp(-|x|)."""
    e = exp_negative(-math.fabs(x))
    return e / ((1.0 + e) * (1.0 + e))


@inlined
def cos_sin(x: float) -> tuple[float, float]:
    """Return cos(x) and sin(x), |x| < 1e15, by a three-part reduction modulo pi/2."""
    shifted = fma(x, TWO_OVER_PI, ROUND)
    n = shifted - ROUND
    quadrant = float_bits(shifted)
    r = fma(-n, PI_HALF_MIDDLE, fma(-n, PI_HALF_HIGH, x))
    r = fma(-n, PI_HALF_LOW, r)
    q = r * r
    odd = fma(fma(fma(fma(fma(fma(fma(S17, q, S15), q, S13), q, S11), q, S9), q, S7), q, S5), q, S3)
    even = fma(fma(fma(fma(fma(fma(C16, q, C14), q, C12), q, C10), q, C8), q, C6), q, C4)
    sine = fma(odd * q, r, r)
    cosine = fma(even, q * q, fma(-0.5, q, 1.0))
    swap = (quadrant & 1) != 0
    c = sine if swap else cosine
    s = cosine if swap else sine
    c = -c if ((quadrant + 1) & 2) != 0 else c
    s = -s if (quadrant & 2) != 0 else s
    return c, s

"""Elementary functions without branches, so that loops over them vectorise.

Numba's wheels carry no vector mathematics library; ``math.exp`` in a loop is a scalar call. Here

* the argument is reduced by rounding to the nearest multiple of ln 2 (or pi): adding 1.5 * 2^52
  leaves the integer in the low bits of the sum,
* a minimax polynomial (Remez; its relative error is below 2e-17) is evaluated with fused
  multiply-adds in two chains, of even and of odd powers, which run side by side,
* 2^n is made by an integer shift into the exponent bits; the exponent's bias, and a power of two
  that keeps intermediate results away from underflow and overflow, come with the rounding constant.

exp (of x <= 0), tanh, sigmoid, cos and sin are within 2 units in the last place of the exact value
for every argument, subnormal results included, save that cos and sin are NaN from 2^47 on, where
neighbouring floats lie 1/32 apart and more. tanh is odd to the bit, and keeps the sign of zero.
tanh and sigmoid saturate without overflow. cos and sin may leave [-1, 1] by one such unit. NaN
propagates.
"""

import math

from solvers.jit import bits_float, float_bits, fma, inlined

ROUND = 6755399441055744.0  # 1.5 * 2^52
SIGN = -(1 << 63)
MAGNITUDE = (1 << 63) - 1
BIAS = 1023

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17
ONE_OVER_PI = 0.3183098861837907
PI_HIGH = 3.141592653589793
PI_MIDDLE = 1.2246467991473532e-16
PI_LOW = -2.9947698097183397e-33
LARGEST = 2.0**47

SHIFT = 64  # e^x is kept as 2^64 e^x or 2^-64 e^x, which is a normal number
SMALL = 2.0**-SHIFT
UNDERFLOW = -746.0  # e^x rounds to 0
SATURATED = -44.0  # 1 + e^x rounds to 1, and (1 - e^x)/(1 + e^x) too

# (e^r - 1 - r) / r^2 = E0 + E1 r + ... for |r| <= ln(2)/2, relative to r
E0, E1 = 0.5000000000000006, 0.16666666666666685
E2, E3 = 0.04166666666657362, 0.008333333333314603
E4, E5 = 0.0013888888932379806, 0.00019841269903005056
E6, E7 = 2.4801504444812536e-05, 2.7557226976792333e-06
E8, E9 = 2.7626326956765317e-07, 2.5114465928230358e-08

# (sin(r) - r) / r^3 = S0 + S1 r^2 + ... for |r| <= pi/2
S0, S1 = -0.16666666666666666, 0.008333333333333212
S2, S3 = -0.00019841269841215287, 2.7557319212131815e-06
S4, S5 = -2.505210696015695e-08, 1.6058943928184456e-10
S6, S7 = -7.643097366760496e-13, 2.7222511710884504e-15


@inlined
def _split(x: float, shift: float) -> tuple[float, float]:
    """Return n, the integer next to x/ln 2, and 2^(n + shift), a normal number."""
    constant = ROUND + BIAS + shift
    shifted = fma(x, LOG2_E, constant)
    return shifted - constant, bits_float(float_bits(shifted) << 52)


@inlined
def _expm1(r: float) -> float:
    """Return e^r - 1 for |r| <= ln(2)/2."""
    q = r * r
    even = fma(fma(fma(fma(E8, q, E6), q, E4), q, E2), q, E0)
    odd = fma(fma(fma(fma(E9, q, E7), q, E5), q, E3), q, E1)
    return fma(fma(odd, r, even), q, r)


@inlined
def _parts(x: float, shift: float) -> tuple[float, float]:
    """Return p and q, 2^shift e^x = p + p q, p a normal number; ln 2 counts to 107 bits."""
    n, power = _split(x, shift)
    return power, _expm1(fma(-n, LN2_LOW, fma(-n, LN2_HIGH, x)))


@inlined
def exp_negative(x: float) -> float:
    """Return e^x for x <= 0."""
    x = UNDERFLOW if x < UNDERFLOW else x
    power, rest = _parts(x, SHIFT)
    return fma(power, rest, power) * SMALL


@inlined
def tanh(x: float) -> float:
    """Return the hyperbolic tangent as m + m m/(1 - m), where m = (1 - exp(-2|x|))/2.

    Written so, the errors of the quotient count m-fold. `low` is what m lost when it was rounded,
    and 1.5 a middling value of 1/(1 - m)^2, by which an error of m grows. Away from 0 a multiple of
    ln 2 to 53 bits is as accurate as m needs it.
    """
    y = -2.0 * math.fabs(x)
    y = SATURATED if y < SATURATED else y
    n, half = _split(y, -1)
    rest = _expm1(fma(-n, LN2_HIGH, y))
    top = 0.5 - half
    m = fma(-half, rest, top)
    low = fma(-half, rest, top - m)
    value = m + fma(m, m / (1.0 - m), 1.5 * low)
    return bits_float((float_bits(value) & MAGNITUDE) | (float_bits(x) & SIGN))


@inlined
def tanh_derivative(x: float) -> float:
    """Return 1 - tanh(x)^2 = 4e/(1+e)^2 with e = exp(-2|x|)."""
    e = exp_negative(-2.0 * math.fabs(x))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


@inlined
def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)), numerator and denominator scaled by 2^-64.

    1 + 2^n is exact but for n > 52, where `low` is what was lost. So the denominator is rounded
    once; half a unit of it can be a whole one of the quotient.
    """
    x = UNDERFLOW if x < UNDERFLOW else x
    x = -SATURATED if x > -SATURATED else x
    power, rest = _parts(-x, -SHIFT)
    top = SMALL + power
    low = SMALL - (top - power)
    return SMALL / (top + fma(power, rest, low))


@inlined
def sigmoid_derivative(x: float) -> float:
    """Return the derivative e/(1+e)^2 with e = exp(-|x|)."""
    e = exp_negative(-math.fabs(x))
    return e / ((1.0 + e) * (1.0 + e))


@inlined
def _signed_sine(x: float, m: float, shifted: float) -> float:
    """Return sin(x - m pi), |x - m pi| <= pi/2, with the sign of (-1)^n, n in `shifted`."""
    r = fma(-m, PI_LOW, fma(-m, PI_MIDDLE, fma(-m, PI_HIGH, x)))
    q = r * r
    p = q * q
    even = fma(fma(fma(S6, p, S4), p, S2), p, S0)
    odd = fma(fma(fma(S7, p, S5), p, S3), p, S1)
    sine = fma(fma(odd, q, even), q * r, r)
    value = bits_float(float_bits(sine) ^ (float_bits(shifted) << 63))
    return value if math.fabs(x) < LARGEST else math.nan


@inlined
def cos(x: float) -> float:
    """Return the cosine as (-1)^n sin(x - (n - 1/2) pi), n the integer that makes it a small angle.

    So it is accurate relatively near its zeros.
    """
    shifted = fma(x, ONE_OVER_PI, 0.5) + ROUND
    return _signed_sine(x, (shifted - ROUND) - 0.5, shifted)


@inlined
def sin(x: float) -> float:
    """Return the sine likewise, by the angle x - n pi."""
    shifted = fma(x, ONE_OVER_PI, ROUND)
    return _signed_sine(x, shifted - ROUND, shifted)

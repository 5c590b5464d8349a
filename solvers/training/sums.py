"""Sums in eight interleaved parts, which the processor adds side by side, always in one order."""

from solvers.arrays import FloatArray
from solvers.jit import inlined


@inlined
def dot(u: FloatArray, v: FloatArray) -> float:
    """Return the sum of the products."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = u.shape[0] // 8 * 8
    for i in range(0, whole, 8):
        s0 += u[i] * v[i]
        s1 += u[i + 1] * v[i + 1]
        s2 += u[i + 2] * v[i + 2]
        s3 += u[i + 3] * v[i + 3]
        s4 += u[i + 4] * v[i + 4]
        s5 += u[i + 5] * v[i + 5]
        s6 += u[i + 6] * v[i + 6]
        s7 += u[i + 7] * v[i + 7]
    rest = 0.0
    for i in range(whole, u.shape[0]):
        rest += u[i] * v[i]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + rest


@inlined
def total(u: FloatArray) -> float:
    """Return the sum."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = u.shape[0] // 8 * 8
    for i in range(0, whole, 8):
        s0 += u[i]
        s1 += u[i + 1]
        s2 += u[i + 2]
        s3 += u[i + 3]
        s4 += u[i + 4]
        s5 += u[i + 5]
        s6 += u[i + 6]
        s7 += u[i + 7]
    rest = 0.0
    for i in range(whole, u.shape[0]):
        rest += u[i]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)) + rest

"""The one decorator of all kernels, and the three LLVM instructions that NumPy has no name for.

Kernels release the GIL, are cached on disk, never use fast-math (results must not depend on how a
loop is vectorised), and divide as NumPy does (no test for zero, which would stop vectorisation).
A fused multiply-add appears only where it is written: LLVM contracts nothing on its own here, so
the body of a vectorised loop and its remainder give the same bits.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on its first call; keep the result on disk."""
    decorate = numba.njit(nogil=True, cache=True, fastmath=False, error_model="numpy")
    return cast("F", decorate(function))


def inlined(function: F) -> F:
    """Compile a small scalar function that every caller inlines (LLVM ``alwaysinline``)."""
    decorate = numba.njit(
        nogil=True, cache=True, fastmath=False, error_model="numpy", forceinline=True
    )
    return cast("F", decorate(function))


def _fma(typingctx, x, y, z):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Return x * y + z, rounded once."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


def _float_bits(typingctx, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Return the 64 bits of a float as an integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


def _bits_float(typingctx, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Return the float whose 64 bits are the given integer."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


fma: Callable[[float, float, float], float] = cast("Any", intrinsic(_fma))
float_bits: Callable[[float], int] = cast("Any", intrinsic(_float_bits))
bits_float: Callable[[int], float] = cast("Any", intrinsic(_bits_float))

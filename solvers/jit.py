"""The one decorator of all kernels, and the LLVM instructions that NumPy has no name for.

Kernels release the GIL, are cached on disk, never use fast-math (results must not depend on how a
loop is vectorised), and divide as NumPy does (no test for zero, which would stop vectorisation).
A fused multiply-add appears only where it is written: LLVM contracts nothing on its own here, so
the body of a vectorised loop and its remainder give the same bits.

Nothing but this module imports Numba, and it points Numba's cache at a directory of our own first;
only :mod:`solvers.gpu`, and the look for a GPU in :mod:`solvers.device`, import its CUDA target,
which is another compiler and keeps nothing on the disk.
"""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from solvers.cache import own_directory


def _features() -> str:
    """Return the features of this processor, with vectors as wide as its registers.

    LLVM halves the vectors of AVX-512 on most processors, for code that uses them now and then;
    kernels here do little else, and run up to 1.8 times faster on whole ones, to the same bits.
    """
    features: str = llvmlite.binding.get_host_cpu_features().flatten()
    return vars(numba.config)["CPU_FEATURES"] or f"{features},-prefer-256-bit"


def _configure(features: str) -> None:
    """Tell Numba where to keep kernels and for which features of the processor to compile them.

    Numba reads the features once, when the first function of a process is given to it.
    """
    vars(numba.config).update(CACHE_DIR=str(own_directory()), CPU_FEATURES=features)
    if cpu_target.target_context.codegen().magic_tuple()[-1] != features:
        warnings.warn(
            "Numba was used before solvers was imported, so kernels may be compiled for half of "
            "this processor's vectors; import solvers.jit before the first numba.njit",
            RuntimeWarning,
            stacklevel=2,
        )


_configure(_features())

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on its first call; keep the result on disk."""
    decorate = numba.njit(nogil=True, cache=True, fastmath=False, error_model="numpy")
    return cast("F", decorate(function))


def bare_kernel(function: F) -> F:
    """Compile a kernel whose arrays carry no reference counts; what allocates does not compile.

    For kernels that take small arrays apart often: each slice handed to another kernel costs two
    atomic additions otherwise, as much as some twenty cells of a finite-volume scheme.
    """
    njit = cast("Any", numba.njit)  # its types do not know _nrt
    decorate = njit(nogil=True, cache=True, fastmath=False, error_model="numpy", _nrt=False)
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


def _multiply_high(typingctx, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Return the upper 64 bits of the product of two unsigned integers of 64 bits."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


def _prefetch(typingctx, values, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Ask for the cache line of values[index], which is not read."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer, word = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_read, into_level_two, data = (ir.Constant(word, value) for value in (0, 2, 1))
        builder.call(function, [place, to_read, into_level_two, data])
        return context.get_dummy_value()

    return types.void(values, types.intp), generate


def _interleave(typingctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Ask LLVM to run eight vectors of each loop above the call side by side.

    In a loop whose body is a long chain of dependent operations, as of the stages of a Runge-Kutta
    step, the processor cannot look far enough ahead to find other work while it waits. Results do
    not change. The call stands after the loops, since it marks the jumps back that are there then.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        module, blocks = builder.module, list(builder.function.blocks)
        count = module.add_metadata(["llvm.loop.interleave.count", ir.IntType(32)(8)])
        for last, block in enumerate(blocks):
            jump = block.terminator
            if isinstance(jump, ir.Branch) and jump.operands[0] in blocks[: last + 1]:
                loop = module.add_metadata([ir.IntType(32)(last), count])
                loop.operands = (loop, count)  # LLVM wants a loop's metadata to begin with itself
                jump.set_metadata("llvm.loop", loop)
        return context.get_dummy_value()

    return types.void(), generate


fma: Callable[[float, float, float], float] = cast("Any", intrinsic(_fma))
float_bits: Callable[[float], int] = cast("Any", intrinsic(_float_bits))
bits_float: Callable[[int], float] = cast("Any", intrinsic(_bits_float))
multiply_high: Callable[[np.uint64, np.uint64], np.uint64] = cast("Any", intrinsic(_multiply_high))
interleave: Callable[[], None] = cast("Any", intrinsic(_interleave))
prefetch: Callable[[np.ndarray, int], None] = cast("Any", intrinsic(_prefetch))

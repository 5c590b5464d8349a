"""The particles and their flow map on an NVIDIA GPU, by the CUDA target of Numba.

One thread takes one particle through all steps between two output times, while its position is in a
register; the controls at the stages, the same for all threads, come out of the cache. The methods
are those of :mod:`solvers.euler`, :mod:`solvers.ssprk3` and :mod:`solvers.rk4`, in float64 with
fused multiply-adds where they have them. tanh, exp and cos are CUDA's own, which NVIDIA documents
to be within 2 units in the last place; and CUDA's compiler may fuse a product and a sum that stand
side by side, as in (3u + v)/4. So positions agree with those of the processor to rounding, not to
the bit. A particle's bits depend neither on the others nor on how particles are divided among
launches; they may depend on the version of CUDA.

The pieces of a flow map are tabulated by the processor. One thread evaluates them for one particle:
it finds the piece by bisection and reads its coefficients; particles are sorted, so neighbours read
the same ones.

Importing this module compiles nothing; :func:`solvers.device.check_device` says whether there is a
GPU. Kernels are compiled at their first launch, which takes seconds, and not kept on the disk.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numba.cuda
import numpy as np

from solvers.activations import IDENTITY, RELU, SIGMOID, TANH
from solvers.arrays import FloatArray, Poll
from solvers.exp import LARGEST
from solvers.particles import Move, in_blocks

cuda: Any = numba.cuda  # its types do not know what kernels call
CudaAPIError: Any = numba.cuda.cudadrv.driver.CudaAPIError
cuda.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # few particles are no mistake

THREADS = 256
MOST_BLOCKS = 1 << 14
LEAST = 1 << 18
"""The fewest particles of a launch where there are more: about as many threads as a large GPU
holds at once."""
PUSHED = 1 << 24
"""The most positions that one launch of a flow map reads and writes."""


@cuda.jit(device=True)
def _sigma(code: int, z: float) -> float:
    """Return sigma(z); exp cannot overflow, and cos is NaN where the processor's is."""
    if code == IDENTITY:
        return z
    if code == RELU:
        return 0.0 if z < 0.0 else z
    if code == SIGMOID:
        e = math.exp(-math.fabs(z))
        return (e if z < 0.0 else 1.0) / (1.0 + e)
    if code == TANH:
        return math.tanh(z)
    return z * math.cos(z) if math.fabs(z) < LARGEST else math.nan


@cuda.jit
def _euler(x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray) -> None:
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        u = x[i]
        for j in range(h.shape[0]):
            u = cuda.fma(h[j], _sigma(code, cuda.fma(w[j, 0], u, b[j, 0])), u)
        x[i] = u


@cuda.jit
def _ssprk3(x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray) -> None:
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        u = x[i]
        for j in range(h.shape[0]):
            v = cuda.fma(h[j], _sigma(code, cuda.fma(w[j, 0], u, b[j, 0])), u)
            v = cuda.fma(h[j], _sigma(code, cuda.fma(w[j, 1], v, b[j, 1])), v)
            v = (3.0 * u + v) / 4.0
            v = cuda.fma(h[j], _sigma(code, cuda.fma(w[j, 2], v, b[j, 2])), v)
            u = (u + 2.0 * v) / 3.0
        x[i] = u


@cuda.jit
def _rk4(x: FloatArray, code: int, h: FloatArray, w: FloatArray, b: FloatArray) -> None:
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        u = x[i]
        for j in range(h.shape[0]):
            half = 0.5 * h[j]
            k1 = _sigma(code, cuda.fma(w[j, 0], u, b[j, 0]))
            k2 = _sigma(code, cuda.fma(w[j, 1], cuda.fma(half, k1, u), b[j, 1]))
            k3 = _sigma(code, cuda.fma(w[j, 1], cuda.fma(half, k2, u), b[j, 1]))
            k4 = _sigma(code, cuda.fma(w[j, 2], cuda.fma(h[j], k3, u), b[j, 2]))
            u = cuda.fma(h[j] / 6.0, cuda.fma(2.0, k2 + k3, k1) + k4, u)
        x[i] = u


KERNELS: dict[str, Any] = {"euler": _euler, "ssprk3": _ssprk3, "rk4": _rk4}


@cuda.jit
def evaluate(edges: FloatArray, coefficients: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """Write p(x) of every map into its row; arrays as of :func:`solvers.flow_map.push_sorted`."""
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        piece, last = 0, edges.shape[0] - 2
        while piece < last:
            middle = (piece + last + 1) // 2
            if edges[middle] <= x[i]:
                piece = middle
            else:
                last = middle - 1
        centre = 0.5 * edges[piece] + 0.5 * edges[piece + 1]
        s = (x[i] - centre) * (2.0 / (edges[piece + 1] - edges[piece]))
        for row in range(coefficients.shape[0]):
            value = coefficients[row, piece, 5]
            for k in range(4, -1, -1):
                value = cuda.fma(value, s, coefficients[row, piece, k])
            out[row, i] = value


def mover(x: FloatArray, code: int, integrator: str) -> Move:
    """Upload particles; return what takes them through steps, and leaves them in `x` then.

    Args:
        x: Positions, shape (M,); changed by every call of what is returned.
        code: Code of the activation.
        integrator: "euler", "ssprk3" or "rk4".

    Raises:
        MemoryError: if they do not fit on the GPU.
    """
    kernel, there = KERNELS[integrator], uploaded(x)

    def move(h: FloatArray, w: FloatArray, b: FloatArray, poll: Poll | None) -> None:
        steps = [cuda.to_device(table) for table in (h, w, b)]

        def run(start: int, stop: int) -> None:
            launch(kernel, stop - start, there[start:stop], code, *steps)

        in_blocks(run, x.size, LEAST, poll)
        there.copy_to_host(x)

    return move


def pusher(
    edges: FloatArray, coefficients: FloatArray
) -> Callable[[FloatArray, FloatArray, int], None]:
    """Upload the pieces of a flow map; return what evaluates them on the GPU.

    It takes x, out and column, and does what :func:`solvers.flow_map.push_sorted` does.
    """
    pieces = [cuda.to_device(table) for table in (edges, np.ascontiguousarray(coefficients))]

    def push(x: FloatArray, out: FloatArray, column: int) -> None:
        count = max(PUSHED // (1 + len(out)), 1)
        for start in range(0, x.size if len(out) else 0, count):
            part = uploaded(x[start : start + count])
            with _room_for(len(out) * part.size):
                found = cuda.device_array((len(out), part.size))
            launch(evaluate, part.size, *pieces, part, found)
            first = column + start
            for row in range(len(out)):
                found[row].copy_to_host(out[row, first : first + part.size])

    return push


def uploaded(x: FloatArray) -> Any:
    """Return a copy of an array on the GPU.

    Raises:
        MemoryError: if it does not fit.
    """
    with _room_for(x.size):
        return cuda.to_device(x)


@contextlib.contextmanager
def _room_for(numbers: int) -> Iterator[None]:
    """Say what does not fit where the GPU says that its memory is full."""
    try:
        yield
    except CudaAPIError as error:
        if "OUT_OF_MEMORY" not in str(error):
            raise
        text = f"{8e-9 * numbers:.3g} GB of particles do not fit on the GPU beside what is there"
        raise MemoryError(text) from error


def launch(kernel: Any, count: int, *arguments: Any) -> None:
    """Run a kernel for some particles, to its end."""
    kernel[min(-(-count // THREADS), MOST_BLOCKS), THREADS](*arguments)
    cuda.synchronize()

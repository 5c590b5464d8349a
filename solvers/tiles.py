"""Tiles of particles that stay in the first-level cache while they are taken through all steps.

A tile is copied out, taken through the steps and copied back. It is filled up to a whole number of
blocks with copies of its last particle, so that a vectorised loop over it has no remainder: one of
a few particles costs more than a block, for it is not vectorised. What happens to the copies is
forgotten.
"""

import math

import numpy as np

from solvers.arrays import FloatArray
from solvers.jit import bare_kernel

BLOCK = 64  # eight of the widest vectors
LINE = 64  # bytes of a line of the caches


def work_space(*shape: int) -> FloatArray:
    """Return room for tiles from the start of a cache line on, so that no vector lies in two."""
    size, item = math.prod(shape), np.dtype(np.float64).itemsize
    room = np.empty(size + LINE // item)
    first = -room.ctypes.data % LINE // item
    return room[first : first + size].reshape(shape)


@bare_kernel
def load(x: FloatArray, tile: FloatArray) -> int:
    """Copy particles into a tile at least as long; return the length of the blocks they fill."""
    m = len(x)
    whole = (m + BLOCK - 1) // BLOCK * BLOCK
    for i in range(m):
        tile[i] = x[i]
    for i in range(m, whole):
        tile[i] = x[m - 1]
    return whole


@bare_kernel
def store(tile: FloatArray, x: FloatArray) -> None:
    """Copy the particles of a tile back."""
    for i in range(x.shape[0]):
        x[i] = tile[i]

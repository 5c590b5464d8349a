import re
from collections.abc import Callable

import numba
import numpy as np

from solvers.jit import fma, interleave


def loop(x: np.ndarray) -> None:
    for i in range(x.size):
        x[i] = fma(fma(fma(x[i], x[i], 1.0), x[i], 2.0), x[i], 3.0)


def marked(x: np.ndarray) -> None:
    for i in range(x.size):
        x[i] = fma(fma(fma(x[i], x[i], 1.0), x[i], 2.0), x[i], 3.0)
    interleave()


def compiled(function: Callable) -> tuple[int, np.ndarray]:
    """The most vectors multiplied in one block of machine-independent code, and results."""
    kernel = numba.njit(error_model="numpy")(function)
    x = np.random.default_rng(0).normal(size=1001)
    kernel(x)
    (code,) = kernel.inspect_llvm().values()
    blocks = re.split(r"\n\S+:", code)
    return max(len(re.findall(r"call <\d+ x double> @llvm\.fma", b)) for b in blocks), x


def test_interleaved_loops_have_eight_vectors_and_the_same_bits() -> None:
    (few, expected), (many, found) = compiled(loop), compiled(marked)
    assert many == 3 * 8
    assert few < many
    np.testing.assert_array_equal(found, expected)

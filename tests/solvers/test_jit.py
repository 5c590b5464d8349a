import re
import subprocess
import sys
from collections.abc import Callable

import llvmlite.binding
import numba
import numpy as np
import pytest

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


def warned(lines: str) -> str:
    """What a fresh process that runs these lines says on stderr."""
    command = [sys.executable, "-c", lines]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


def test_numba_used_before_solvers_is_warned_about() -> None:
    first, other = "import solvers.jit\n", "import numba\nnumba.njit(lambda x: x)\n"
    assert warned(first + other) == ""
    assert warned("import numba\n" + first) == ""
    assert "import solvers.jit before the first numba.njit" in warned(other + first)


@pytest.mark.skipif(
    not llvmlite.binding.get_host_cpu_features().get("avx512f"), reason="needs AVX-512"
)
def test_vectors_are_as_wide_as_registers() -> None:
    kernel = numba.njit(error_model="numpy")(loop)
    kernel(np.zeros(8))
    (code,) = kernel.inspect_asm().values()
    assert re.search(r"vfmadd\w+pd\s.*%zmm", code)

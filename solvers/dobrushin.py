"""Dobrushin's estimate: how much the flow can stretch the distance of two laws.

    W1(f_t^M, f_t) <= exp( int_0^t Lip(sigma) |w(s)| ds ) W1(f_0^M, f_0)

The constant of sigma is the global one where there is one; for gcu, whose derivative is unbounded,
that over the range of its argument up to time t.

Reference: R. L. Dobrushin, Funct. Anal. Appl. 13 (1979) 115-123.
"""

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import FloatArray, vector
from solvers.chebyshev import control_panels, integral_of_absolute
from solvers.controls import Controls
from solvers.errors import InputError


def dobrushin_factors(
    activation: Activation,
    controls: Controls,
    argument_ranges: tuple[ArrayLike, ArrayLike],
    times: ArrayLike,
) -> FloatArray:
    """Return exp(int_0^t Lip(sigma) |w| ds) at the given times, shape (S,); may be infinite.

    Args:
        activation: The activation.
        controls: The controls.
        argument_ranges: Lower and upper ends of the range of w x + b up to each time, shape (S,)
            each, as :meth:`solvers.characteristics.Reference.argument_range` returns them.
        times: The times, increasing, not negative, shape (S,).

    Raises:
        InputError: if shapes differ or a range is empty.
    """
    grid = vector(times, "times")
    low, high = (np.asarray(end, dtype=np.float64).reshape(-1) for end in argument_ranges)
    if low.size != grid.size or high.size != grid.size:
        raise InputError(f"{low.size} and {high.size} ends of ranges for {grid.size} times")
    if np.any(np.diff(grid) <= 0.0) or grid[0] < 0.0:
        raise InputError("times must be increasing and not negative")
    if grid[-1] == 0.0:
        return np.ones(grid.size)
    integrals = integral_of_absolute(control_panels(controls, float(grid[-1]), grid), grid)
    everywhere = activation.lipschitz(-np.inf, np.inf)
    constants = [
        everywhere if np.isfinite(everywhere) else activation.lipschitz(float(a), float(b))
        for a, b in zip(low, high, strict=True)
    ]
    exponents = np.zeros(grid.size)
    np.multiply(constants, integrals, out=exponents, where=integrals > 0.0)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(exponents))

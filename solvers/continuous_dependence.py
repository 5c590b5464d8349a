"""Continuous dependence on the controls: how far other controls can move the law.

With v = sigma(w x + b), v' = sigma(w' x + b'), two laws that start from the same f_0, and a
Lipschitz constant L of v in x, Gronwall's inequality gives

    W1(f_t, f'_t) <= int_0^t e^(L (t - s)) int |v - v'| df'_s ds                       (integral form)
                  <= (e^(L t) - 1)/L sup |v - v'|                                           (sup form)

This is estimate (12), which prints e^(L t - 1)/L: that is smaller where e^(L t) > e/(e - 1), from
L t = 0.459 on, and wrong there (identity, w = w' = 1, b - b' constant: the sup form is attained).
"""

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import FloatArray, vector
from solvers.characteristics import Reference, characteristics
from solvers.chebyshev import ControlPanels, control_panels, integral_of_absolute
from solvers.controls import Controls
from solvers.errors import InputError

NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)


def supremum_bound(
    activation: Activation,
    controls: Controls,
    other: Controls,
    supports: tuple[ArrayLike, ArrayLike],
    times: ArrayLike,
) -> FloatArray:
    """Return the bound in sup form, (e^(L t) - 1)/L sup|v - v'|, shape (S,); may be infinite.

    L = Lip(sigma) sup|w| and sup|v - v'| <= Lip(sigma) (sup|w - w'| sup|x| + sup|b - b'|), all taken
    up to each time and L as the larger of the two flows; Lip(sigma) over the arguments that occur
    where sigma' is unbounded (gcu).

    Args:
        activation: The activation.
        controls: The controls w, b.
        other: The controls w', b'.
        supports: Lower and upper ends of an interval that contains both supports up to each time,
            shape (S,) each, or one number each.
        times: The times t, increasing, not negative, shape (S,).

    Raises:
        InputError: if the times are not of this kind, or an interval is empty.
    """
    grid = _times(times)
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), grid.shape) for end in supports)
    if np.any(~(low <= high)):
        raise InputError("supports must be intervals: low <= high")
    t = _dense_times(controls, other, grid)
    (w, b), (w_other, b_other) = controls.evaluate(t), other.evaluate(t)
    out = np.zeros(grid.size)
    for k, end in enumerate(grid):
        past = t <= end
        x = np.array([low[k], high[k]])
        z = [np.outer(c[past], x) + d[past, None] for c, d in ((w, b), (w_other, b_other))]
        constant = _lipschitz(activation, np.concatenate(z, axis=1))
        rate = constant * max(_largest(w[past]), _largest(w_other[past]))
        reach = _largest((w - w_other)[past]) * np.abs(x).max() + _largest((b - b_other)[past])
        with np.errstate(over="ignore"):
            growth = np.expm1(rate * end) / rate if rate > 0.0 else end
        out[k] = constant * reach * growth if reach > 0.0 else 0.0
    return out

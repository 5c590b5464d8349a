"""Orders of convergence from measured errors.

If error = C N^-p on N cells (or steps), p is the slope of -log(error) over log(N): between two
neighbouring resolutions the experimental order, over all of them the fitted one.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, vector
from solvers.errors import InputError


@dataclass(frozen=True)
class OrderFit:
    """The least squares line log(error) = log(constant) - order log(N).

    Attributes:
        order: The order p; NaN with fewer than two usable errors.
        standard_error: Of the order, from the residuals; NaN with fewer than three.
        constant: The constant C.
        freedom: Degrees of freedom of the residuals, usable errors less two.
    """

    order: float
    standard_error: float
    constant: float
    freedom: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the order, by Student's t; NaN without residuals.

        It takes the residuals for independent. Those of a smooth sequence of errors are not: then
        it says how straight the line is, and :func:`experimental_orders` where it bends.
        """
        if self.freedom < 1:
            return np.nan, np.nan
        half = float(scipy.special.stdtrit(self.freedom, 0.5 * (1.0 + level))) * self.standard_error
        return self.order - half, self.order + half


def experimental_orders(resolutions: ArrayLike, errors: ArrayLike) -> FloatArray:
    """Return the order between each resolution and the next, shape (n - 1,).

    Args:
        resolutions: Numbers of cells or steps, positive, strictly increasing, shape (n,).
        errors: Errors at them, shape (n,). Where one is NaN, infinite or not positive, the two
            orders that it belongs to are NaN.

    Raises:
        InputError: if the resolutions are not of this kind or the lengths differ.
    """
    n, e = _checked(resolutions, errors)
    logs = np.full(e.size, np.nan)
    usable = np.isfinite(e) & (e > 0.0)
    logs[usable] = np.log(e[usable])
    return np.asarray(-np.diff(logs) / np.diff(np.log(n)))


def fit_order(resolutions: ArrayLike, errors: ArrayLike) -> OrderFit:
    """Fit one order to all errors; those that are NaN, infinite or not positive are left out.

    An error that has reached rounding level is still in the fit and lowers the order: leave it out
    before, or look at :func:`experimental_orders`.

    Args:
        resolutions: Numbers of cells or steps, positive, strictly increasing, shape (n,).
        errors: Errors at them, shape (n,).

    Raises:
        InputError: if the resolutions are not of this kind or the lengths differ.
    """
    n, e = _checked(resolutions, errors)
    usable = np.isfinite(e) & (e > 0.0)
    if usable.sum() < 2:
        return OrderFit(np.nan, np.nan, np.nan, 0)
    x, y = np.log(n[usable]), np.log(e[usable])
    offset = x - x.mean()
    spread = float(offset @ offset)
    slope = float(offset @ y) / spread
    residual = y - y.mean() - slope * offset
    freedom = x.size - 2
    deviation = np.sqrt(residual @ residual / freedom / spread) if freedom else np.nan
    constant = float(np.exp(y.mean() - slope * x.mean()))
    return OrderFit(-slope, float(deviation), constant, freedom)


def _checked(resolutions: ArrayLike, errors: ArrayLike) -> tuple[FloatArray, FloatArray]:
    n = vector(resolutions, "resolutions")
    e = np.asarray(errors, dtype=np.float64)
    if e.shape != n.shape:
        raise InputError(f"{n.size} resolutions, but errors of shape {e.shape}")
    if n[0] <= 0.0 or np.any(np.diff(n) <= 0.0):
        raise InputError("resolutions must be positive and strictly increasing")
    return n, e

"""Least squares for an error that depends on two resolutions, M and N.

    e² = (C M^rate)² + (D N^-order)² + floor²,

or some of these terms. The squares of the residuals of log e are minimised. For fixed exponents the
squared amplitudes are linear: non-negative least squares over a grid of exponents (variable
projection) gives starting values, and trust-region least squares goes on from the best.

Reference: G. H. Golub, V. Pereyra, "Separable nonlinear least squares: the variable projection
method and its applications", Inverse Problems 19 (2003) R1-R26.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

SAMPLING, GRID, FLOOR = 1, 2, 4  # a set of terms is their sum
RATES = (-0.15, -0.3, -0.5, -0.75, -1.0, -1.5)
ORDERS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5)
LEAST = (-12.0, -4.0, -12.0, -0.5, 0.0)  # of log C, rate, log D, order, floor²
MOST = (6.0, 0.5, 6.0, 8.0, 10.0)
SMALL = 1e-4  # a squared amplitude to start from where the best is 0


@dataclass(frozen=True)
class ErrorPlane:
    """Where errors are known, and which terms they have.

    Attributes:
        x: log M less its mean, one per error, (points,).
        n: log N less its mean, (points,).
        terms: the sum of SAMPLING, GRID and FLOOR.
    """

    x: np.ndarray
    n: np.ndarray
    terms: int

    @property
    def parameters(self) -> np.ndarray:
        """Which of log C, rate, log D, order, floor² there are (C and D at x = n = 0), (5,)."""
        has = [bool(self.terms & term) for term in (SAMPLING, SAMPLING, GRID, GRID, FLOOR)]
        return np.array(has)

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log of e, (points,), and its derivatives by the parameters, (points, parameters)."""
        full = np.zeros(5)
        full[self.parameters] = theta
        sampling = np.exp(2.0 * (full[0] + full[1] * self.x)) * bool(self.terms & SAMPLING)
        grid = np.exp(2.0 * (full[2] - full[3] * self.n)) * bool(self.terms & GRID)
        square = sampling + grid + full[4]
        half = np.full(square.shape, 0.5)
        columns = np.array([sampling, sampling * self.x, grid, -grid * self.n, half])
        return 0.5 * np.log(square), (columns[self.parameters] / square).T

    def fit(self, logs: np.ndarray) -> tuple[np.ndarray, float]:
        """The parameters that fit log errors (mean about 0), and the sum of squared residuals."""
        from scipy.optimize import least_squares  # half a second, and only fits need it

        least, most = np.array(LEAST)[self.parameters], np.array(MOST)[self.parameters]

        def residuals(theta: np.ndarray) -> np.ndarray:
            return np.asarray(self.evaluate(theta)[0] - logs)

        def jacobian(theta: np.ndarray) -> np.ndarray:
            return self.evaluate(theta)[1]

        fit = least_squares(
            residuals,
            np.clip(self._start(logs), least, most),
            jac=jacobian,
            bounds=(least, most),
            method="dogbox",
            xtol=1e-10,
            ftol=1e-12,
        )
        return fit.x, 2.0 * float(fit.cost)

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Which parameters are off their bounds, (parameters,)."""
        least, most = np.array(LEAST)[self.parameters], np.array(MOST)[self.parameters]
        margin = 1e-3 * (most - least)
        return np.asarray((theta > least + margin) & (theta < most - margin))

    def _start(self, logs: np.ndarray) -> np.ndarray:
        """The best parameters of those with exponents on the grid."""
        from scipy.optimize import nnls

        rates = RATES if self.terms & SAMPLING else (0.0,)
        orders = ORDERS if self.terms & GRID else (0.0,)
        amplitudes = self.parameters[[0, 2, 4]]
        best, least = np.empty(0), np.inf
        for rate, order in product(rates, orders):
            shapes = np.exp(2.0 * np.array([rate * self.x, -order * self.n, 0.0 * self.x]))
            columns = (shapes[amplitudes] * np.exp(-2.0 * logs)).T
            squares, distance = nnls(columns, np.ones(logs.size))
            if distance < least:
                found = np.zeros(3)
                found[amplitudes] = squares
                c, d = 0.5 * np.log(np.maximum(found[:2], SMALL))
                best, least = np.array([c, rate, d, order, found[2]]), distance
        return np.asarray(best[self.parameters])

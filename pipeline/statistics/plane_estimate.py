"""Which terms an error over the (M, N) plane has, and how certain their parameters are.

    e^power = (C M^rate)^power + (D N^-order)^power + floor^power,   power 2 or 1

is the same fit for both: e^(power/2) is an error whose terms add in squares. The fit has the terms
of the least Bayesian information criterion. Whole seed curves are resampled, over M and N at once,
and each resample is one Gauss-Newton step from the fit; where the fit has no floor, each resample
chooses anew whether it has one, so that the uncertainty of this choice is in the intervals. The
data tell a term of the fit if it certainly falls (rate < 0, order > 0) or, for the floor, if it
certainly is there (floor^power > 0).

Reference: G. Schwarz, "Estimating the dimension of a model", Ann. Statist. 6 (1978) 461-464.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.statistics.bootstrap import FEWEST, half_width, resampled_logs
from pipeline.statistics.error_plane import FLOOR, GRID, SAMPLING, ErrorPlane

EXACT = 1e-18  # mean squares of residuals below this are rounding
MANY = 4  # numbers that leave a fit of three parameters one degree of freedom
VERY_MANY = 6
FLOOR_TERM = 4  # position among the parameters of floor^power


@dataclass(frozen=True)
class PlaneEstimate:
    """Log C, rate, log D, order and floor^power of a fit; NaN where it lacks them.

    Attributes:
        power: how the terms add.
        draws: the estimates, then those of each resample, (1 + resamples, 5).
        wide: half widths of the intervals about them, (5,).
        told: the terms that the data tell.
        criterion: the information criterion of the fit.
        misfit: the largest relative distance of a mean to the fit.
    """

    power: int
    draws: np.ndarray
    wide: np.ndarray
    told: int
    criterion: float
    misfit: float


def estimate_plane(
    x: np.ndarray, n: np.ndarray, curves: np.ndarray, power: int, level: float
) -> PlaneEstimate | None:
    """Fit curves at log M = x and log N = n, (sizes, cells, seeds); None for too few of them.

    Where the fit has no floor, that of the same fit with a floor is reported with it.
    """
    curves = curves.reshape(-1, curves.shape[-1])
    scale = math.exp(float(np.log(curves.mean(axis=1)).mean()))
    logs = 0.5 * power * np.log(curves.mean(axis=1) / scale)
    at = [part.ravel() for part in np.meshgrid(x - x.mean(), n - n.mean(), indexing="ij")]
    planes = [ErrorPlane(at[0], at[1], terms) for terms in _possible(x.size, n.size)]
    if not planes:
        return None
    fits = {plane.terms: (plane, *plane.fit(logs)) for plane in planes}
    terms = min(fits, key=lambda terms: _criterion(terms, logs.size, fits[terms][2]))
    plane, theta, least = fits[terms]
    misfit = np.abs(np.expm1((logs - plane.evaluate(theta)[0]) * 2.0 / power)).max()
    criterion = _criterion(terms, logs.size, least * (2.0 / power) ** 2)
    shifts = 0.5 * power * (resampled_logs(curves) - np.log(curves.mean(axis=1)))
    draws, squares = _resampled(plane, theta, logs, shifts)
    inside = _inside(plane, theta)
    if terms | FLOOR in fits and not terms & FLOOR:
        richer, theta, _ = fits[terms | FLOOR]
        others, left = _resampled(richer, theta, logs, shifts)
        draws[:, FLOOR_TERM] = others[:, FLOOR_TERM]
        better = _criterion(richer.terms, logs.size, left) < _criterion(terms, logs.size, squares)
        draws[1:][better] = others[1:][better]
    draws[:, :FLOOR_TERM] *= 2.0 / power
    draws = _uncentred(draws, float(x.mean()), float(n.mean()), scale, power)
    wide = half_width(draws[1:], draws[0], curves.shape[1], level)
    if not terms & FLOOR:
        wide[FLOOR_TERM] = max(wide[FLOOR_TERM], draws[0, FLOOR_TERM])
    told = _told(draws[0], wide, inside, curves.shape[1])
    return PlaneEstimate(power, draws, wide, told, float(criterion), float(misfit))


def _possible(sizes: int, cells: int) -> list[int]:
    """The sets of terms that so many M and N may tell; none where what is left out could be there.

    With one N the grid error is a floor, and with one M the sampling error: it is there for sure.
    Two N have an order only where very many M tell the sampling error, and then no floor beside it.
    """
    if cells == 1:
        return [SAMPLING | FLOOR] * (sizes >= MANY)
    if sizes == 1:
        return [GRID | FLOOR] * (cells >= MANY)
    if cells == 2:
        found = [SAMPLING, GRID, SAMPLING | GRID] * (sizes >= VERY_MANY)
        return found + [SAMPLING | FLOOR] * (sizes >= VERY_MANY)
    every = [SAMPLING, GRID, SAMPLING | GRID, GRID | FLOOR]
    return every + [SAMPLING | FLOOR, SAMPLING | GRID | FLOOR] * (sizes >= 3)


def _criterion(terms: int, points: int, squares: np.ndarray | float) -> np.ndarray:
    """The Bayesian information criterion of a least squares fit."""
    parameters = 2 * bool(terms & SAMPLING) + 2 * bool(terms & GRID) + bool(terms & FLOOR)
    return np.asarray(points * np.log(squares / points + EXACT) + parameters * math.log(points))


def _resampled(
    plane: ErrorPlane, theta: np.ndarray, logs: np.ndarray, shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The parameters, then those of each resample; and its sums of squared residuals.

    Parameters at a bound stay there in the resamples, but for the floor's, which may become
    negative.

    Args:
        plane: the terms of the fit.
        theta: its parameters.
        logs: what was fitted, (points,).
        shifts: by how much each resample moves it, (resamples, points).
    """
    model, jacobian = plane.evaluate(theta)
    moves = plane.inside(theta) | (np.flatnonzero(plane.parameters) == FLOOR_TERM)
    step = np.zeros((theta.size, logs.size))
    step[moves] = np.linalg.pinv(jacobian[:, moves])
    steps = shifts @ step.T
    draws = np.full((len(shifts) + 1, 5), math.nan)
    draws[:, plane.parameters] = theta + np.vstack([np.zeros(theta.size), steps])
    residuals = logs - model + shifts - steps @ jacobian.T
    return draws, (residuals**2).sum(axis=1)


def _uncentred(draws: np.ndarray, x: float, n: float, scale: float, power: int) -> np.ndarray:
    """Undo the centring of log M at x, of log N at n, and of log w1_pde."""
    draws = draws.copy()
    draws[:, 0] += math.log(scale) - draws[:, 1] * x
    draws[:, 2] += math.log(scale) + draws[:, 3] * n
    draws[:, FLOOR_TERM] *= scale**power
    return draws


def _inside(plane: ErrorPlane, theta: np.ndarray) -> np.ndarray:
    """Which of all parameters there are and are off their bounds, (5,)."""
    found = plane.parameters.copy()
    found[plane.parameters] = plane.inside(theta)
    return found


def _told(values: np.ndarray, wide: np.ndarray, inside: np.ndarray, seeds: int) -> int:
    """The terms that certainly are there; all of the fit for too few seeds to say so."""
    certain = inside & ((np.abs(values) > wide) | (seeds < FEWEST))
    sampling = inside[0] and certain[1] and values[1] < 0.0
    grid = inside[2] and certain[3] and values[3] > 0.0
    return SAMPLING * int(sampling) + GRID * int(grid) + FLOOR * int(certain[FLOOR_TERM])

"""The exact optimum for sigma(x) = x in one dimension.

The flow is affine, x_T = a x_0 + B, so the loss is a quadratic polynomial in (a, B); the cheapest
controls that reach (a, B) follow a geodesic of the hyperbolic plane. With kappa^2 = gamma_w/gamma_b

    J(a, B) = V_0 a^2 - 2 C a + V_g + (m_0 a + B - m_g)^2 + gamma_w/(2 T) d^2,
    d = arccosh((1 + a^2 + B^2/kappa^2)/(2 a)),

m_0, V_0 and m_g, V_g the means and variances of f_0 and g, and C the covariance of x_0 with its
target: 0 for independent targets (24), that of the pairs for (4), int (Q_0 - m_0)(Q_g - m_g) du for
W2^2. The two unknowns are found by minimisation; the controls are then

    w(t) = D'(t)/D(t),  b(t) = b_0/D(t),  D(t) = cosh(R t) + (w_0/R) sinh(R t),  R = d/T,
    w_0 = R (a - cosh d)/sinh d,  b_0 = R B/sinh d,

that is w = R tanh(R (t - c)), b = +-kappa R sech(R (t - c)) with tanh(R c) = -w_0/R. This holds for
any f_0 and g, and replaces Remark 4.1 of the paper, whose moment equation has wrong signs: the
moments m_k = int x^k p f dx obey m_k' = (k - 1) w m_k + k b m_{k-1}, so b' = -w b and
w' = (gamma_b/gamma_w) b^2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import IDENTITY
from solvers.arrays import FloatArray
from solvers.distributions import Affine, Distribution
from solvers.errors import InputError
from solvers.training.checks import not_negative, positive
from solvers.training.nodes import Nodes
from solvers.training.problem import TrainingProblem

LARGEST_LOG = 50.0  # of the scale a in the search
ROUNDING = 1e-12
LARGEST_SHIFT = 10.0  # of |B| in the search, in units of the means


@dataclass(frozen=True)
class LinearOptimum:
    """The optimum.

    Attributes:
        cost: J*.
        scale: a in x_T = a x_0 + B.
        shift: B.
        rate: R.
        center: c; infinite where b is 0.
        w0: w(0).
        b0: b(0).
        kappa: sqrt(gamma_w/gamma_b).
    """

    cost: float
    scale: float
    shift: float
    rate: float
    center: float
    w0: float
    b0: float
    kappa: float

    def _path(self, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return D(t) and D'(t).

        D = ((1 + r) e^{Rt} + (1 - r) e^{-Rt})/2 with r = w_0/R, and of the two factors the smaller
        follows from the larger, because w^2 + b^2/kappa^2 = R^2: nothing cancels.
        """
        if self.rate == 0.0:
            return np.ones(np.shape(t)), np.zeros(np.shape(t))
        ratio = self.w0 / self.rate
        larger = 1.0 + abs(ratio)
        smaller = (self.b0 / (self.kappa * self.rate)) ** 2 / larger
        plus, minus = (larger, smaller) if ratio > 0.0 else (smaller, larger)
        z = self.rate * np.asarray(t, dtype=np.float64)
        up, down = 0.5 * plus * np.exp(z), 0.5 * minus * np.exp(-z)
        return up + down, self.rate * (up - down)

    def w(self, t: ArrayLike) -> FloatArray:
        """Return w*(t)."""
        value, slope = self._path(t)
        return np.asarray(slope / value)

    def b(self, t: ArrayLike) -> FloatArray:
        """Return b*(t)."""
        return np.asarray(self.b0 / self._path(t)[0])

    def final(self, initial: Distribution) -> Affine:
        """Return f_T for this f_0."""
        return Affine(initial, self.scale, self.shift)


@dataclass(frozen=True)
class _Cost:
    """J as a function of log a and B/kappa."""

    mean: float
    variance: float
    target_mean: float
    target_variance: float
    covariance: float
    kappa: float
    weight: float  # gamma_w/T

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Return J and its gradient."""
        a, shift = math.exp(z[0]), self.kappa * z[1]
        miss = self.mean * a + shift - self.target_mean
        s = excess(z[0], z[1])
        d = distance(s)
        loss = self.variance * a * a - 2.0 * self.covariance * a + self.target_variance
        cost = loss + miss * miss + 0.5 * self.weight * d * d
        by_s = self.weight * (d / math.sinh(d) if d > 0.0 else 1.0)  # 1/2 d(d^2)/ds
        fall = z[1] * math.exp(-z[0])
        by_log = 2.0 * a * (self.variance * a - self.covariance + miss * self.mean)
        by_log += by_s * (math.sinh(z[0]) - 0.5 * z[1] * fall)
        return cost, np.array([by_log, 2.0 * miss * self.kappa + by_s * fall])

    def gradient(self, z: FloatArray) -> FloatArray:
        """Return the gradient."""
        return self(z)[1]


def excess(log_scale: float, shift: float) -> float:
    """Return cosh d - 1 without cancellation; `shift` is B/kappa."""
    return 2.0 * math.sinh(0.5 * log_scale) ** 2 + 0.5 * shift * shift * math.exp(-log_scale)


def distance(s: float) -> float:
    """Return d = arccosh(1 + s)."""
    return 2.0 * math.asinh(math.sqrt(0.5 * s))


def linear_optimum(
    mean: float,
    variance: float,
    target_mean: float,
    target_variance: float,
    gamma_w: float,
    gamma_b: float,
    horizon: float = 1.0,
    covariance: float = 0.0,
) -> LinearOptimum:
    """Return the exact optimum for sigma(x) = x, d = 1.

    Args:
        mean: The mean m_0 of f_0.
        variance: Its variance V_0.
        target_mean: The mean m_g of g.
        target_variance: Its variance V_g.
        gamma_w: The factor of |w|^2, positive.
        gamma_b: The factor of |b|^2, positive.
        horizon: The final time T.
        covariance: C, see the head of this module.

    Raises:
        InputError: if an argument is out of range. With gamma_b = 0 the optimum is not unique and
            with gamma_w = 0 it is not attained, so both are refused.
    """
    for name, factor in (("gamma_w", gamma_w), ("gamma_b", gamma_b)):
        if not (math.isfinite(factor) and factor > 0.0):
            raise InputError(
                f"the exact optimum needs {name} > 0, not {factor}: without it the optimum is not"
                " unique (gamma_b = 0) or not attained (gamma_w = 0)"
            )
    not_negative("variance", variance)
    not_negative("target_variance", target_variance)
    positive("horizon", horizon)
    if not all(map(math.isfinite, (mean, target_mean, covariance))):
        raise InputError(f"means {mean}, {target_mean} and covariance {covariance} must be finite")
    kappa = math.sqrt(gamma_w / gamma_b)
    cost = _Cost(mean, variance, target_mean, target_variance, covariance, kappa, gamma_w / horizon)
    return _controls(cost, *_minimum(cost), horizon)


def exact_optimum(problem: TrainingProblem) -> LinearOptimum | None:
    """Return the exact optimum of a problem; None where it is not known.

    It is known for sigma(x) = x, d = 1, positive gamma_w and gamma_b, and the losses "quadratic",
    "paired" and "w2".
    """
    if problem.activation.code != IDENTITY or problem.dimension > 1:
        return None
    if problem.gamma_w == 0.0 or problem.gamma_b == 0.0:
        return None
    initial = problem.initial
    nodes = initial if isinstance(initial, Nodes) else Nodes.gauss(initial)
    moments = problem.loss.line_moments(nodes)
    if moments is None:
        return None
    mean, variance = nodes.line_moments()
    if isinstance(initial, Distribution):
        mean, variance = initial.mean, initial.variance
    target_mean, target_variance, covariance = moments
    gammas = problem.gamma_w, problem.gamma_b, problem.horizon
    return linear_optimum(
        mean, variance, target_mean, target_variance, *gammas, covariance=covariance
    )


def _minimum(cost: _Cost) -> tuple[float, float]:
    """Return log a and B/kappa of the least J over several starts."""
    from scipy.optimize import minimize, root  # slow to import, and only training needs it

    reach = abs(cost.target_mean / cost.kappa) + abs(cost.mean / cost.kappa) + 1.0
    bounds = [(-LARGEST_LOG, LARGEST_LOG), (-LARGEST_SHIFT * reach, LARGEST_SHIFT * reach)]
    starts = [np.array([x, y]) for x in (-6.0, -2.0, 0.0, 1.0) for y in (-reach, 0.0, reach)]
    with np.errstate(all="ignore"):  # SciPy divides by zero where a start is the optimum
        found = [
            minimize(
                cost, z, jac=True, method="L-BFGS-B", bounds=bounds,
                options={"ftol": 0.0, "gtol": 0.0},
            ).x
            for z in starts
        ]  # fmt: skip
    best = min(found, key=lambda z: cost(z)[0])
    polished = root(cost.gradient, best, tol=1e-15).x
    if cost(polished)[0] <= cost(best)[0] * (1.0 + ROUNDING):
        best = polished
    return float(best[0]), float(best[1])


def _controls(cost: _Cost, log_scale: float, shift: float, horizon: float) -> LinearOptimum:
    s = excess(log_scale, shift)
    d = distance(s)
    over = d / math.sinh(d) / horizon if d > 0.0 else 1.0 / horizon
    w0, b0 = over * (math.expm1(log_scale) - s), over * cost.kappa * shift
    rate = d / horizon
    return LinearOptimum(
        cost=float(cost(np.array([log_scale, shift]))[0]),
        scale=math.exp(log_scale),
        shift=cost.kappa * shift,
        rate=rate,
        center=_center(w0, rate),
        w0=w0,
        b0=b0,
        kappa=cost.kappa,
    )


def _center(w0: float, rate: float) -> float:
    """Return c from tanh(R c) = -w_0/R."""
    if abs(w0) < rate:
        return math.atanh(-w0 / rate) / rate
    return math.copysign(math.inf, -w0) if rate > 0.0 else 0.0

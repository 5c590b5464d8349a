"""Activation functions sigma and their derivatives.

Kernels choose an activation by an integer code, because jitted functions passed as arguments break
Numba's cache. The value of relu is written so that it is one instruction, the maximum, which keeps
NaN (and -0). To add one: write its value and derivative below (branch-free if loops over it shall
vectorise), add one branch to :func:`velocity`, :func:`slopes`, :func:`sigma` and :func:`both`, one
to `gradient` of :mod:`solvers.training.rk4_adjoint`, and one entry to `ACTIVATIONS`.

=========  =====================  =============================
name       sigma(x)               sigma'(x)
=========  =====================  =============================
identity   x                      1
relu       max(x, 0)              1 for x > 0, else 0
sigmoid    1/(1 + exp(-x))        sigma (1 - sigma)
tanh       tanh(x)                1 - sigma^2
gcu        x cos(x)               cos(x) - x sin(x)
=========  =====================  =============================
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.errors import InputError
from solvers.exp import cos, sigmoid, sigmoid_derivative, sin, tanh, tanh_derivative
from solvers.jit import bare_kernel, fma, inlined

IDENTITY, RELU, SIGMOID, TANH, GCU = range(5)


@bare_kernel
def velocity(code: int, w: float, b: float, x: FloatArray, out: FloatArray) -> None:
    """Write sigma(w x + b) into `out`; one vectorised loop for each activation."""
    n = x.shape[0]
    if code == IDENTITY:
        for i in range(n):
            out[i] = fma(w, x[i], b)
    elif code == RELU:
        for i in range(n):
            z = fma(w, x[i], b)
            out[i] = 0.0 if z < 0.0 else z
    elif code == SIGMOID:
        for i in range(n):
            out[i] = sigmoid(fma(w, x[i], b))
    elif code == TANH:
        for i in range(n):
            out[i] = tanh(fma(w, x[i], b))
    else:
        for i in range(n):
            z = fma(w, x[i], b)
            out[i] = z * cos(z)


@bare_kernel
def slopes(code: int, w: float, b: float, x: FloatArray, out: FloatArray) -> None:
    """Write sigma'(w x + b) into `out`."""
    n = x.shape[0]
    if code == IDENTITY:
        for i in range(n):
            out[i] = 1.0
    elif code == RELU:
        for i in range(n):
            out[i] = 1.0 if fma(w, x[i], b) > 0.0 else 0.0
    elif code == SIGMOID:
        for i in range(n):
            out[i] = sigmoid_derivative(fma(w, x[i], b))
    elif code == TANH:
        for i in range(n):
            out[i] = tanh_derivative(fma(w, x[i], b))
    else:
        for i in range(n):
            z = fma(w, x[i], b)
            out[i] = cos(z) - z * sin(z)


@inlined
def sigma(code: int, z: float) -> float:
    """Return the value at one number; of a loop over it, LLVM makes one for each activation."""
    if code == IDENTITY:
        return z
    if code == RELU:
        return 0.0 if z < 0.0 else z
    if code == SIGMOID:
        return sigmoid(z)
    if code == TANH:
        return tanh(z)
    return z * cos(z)


@inlined
def both(code: int, z: float) -> tuple[float, float]:
    """Return sigma(z) and sigma'(z) of one number."""
    if code == IDENTITY:
        return z, 1.0
    if code == RELU:
        return (0.0, 0.0) if z <= 0.0 else (z, 1.0)
    if code == SIGMOID:
        return sigmoid(z), sigmoid_derivative(z)
    if code == TANH:
        return tanh(z), tanh_derivative(z)
    return z * cos(z), cos(z) - z * sin(z)


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Attributes:
        name: The name in studies and stores.
        code: The integer that kernels branch on.
        formula: The formula, for people.
    """

    name: str
    code: int
    formula: str

    def __call__(self, x: ArrayLike) -> FloatArray:
        """Return sigma(x), with the bits that the kernels see."""
        return self._map(velocity, x)

    def derivative(self, x: ArrayLike) -> FloatArray:
        """Return sigma'(x); 0 at the kink of relu."""
        return self._map(slopes, x)

    def _map(self, function: object, x: ArrayLike) -> FloatArray:
        values = np.array(x, dtype=np.float64, order="C")
        out = np.empty_like(values)
        function(self.code, 1.0, -0.0, values.reshape(-1), out.reshape(-1))  # type: ignore[operator]
        return out

    def lipschitz(self, low: float, high: float) -> float:
        """Return the smallest Lipschitz constant of sigma on [low, high].

        Raises:
            InputError: if low > high or one of them is NaN.
        """
        if not low <= high:
            raise InputError(f"lipschitz needs low <= high, not [{low}, {high}]")
        if self.code == IDENTITY:
            return 1.0
        if self.code == RELU:
            return 1.0 if high > 0.0 else 0.0
        if self.code in (SIGMOID, TANH):
            nearest = min(max(0.0, low), high)  # sigma' is even and falls with |x|
            return float(self.derivative(nearest))
        return self._gcu_lipschitz(low, high)

    def _gcu_lipschitz(self, low: float, high: float) -> float:
        """Return max |cos z - z sin z|: at an end, or where tan z = -z/2.

        |sigma'| at the stationary points grows with |z|, so those next to the ends decide.
        """
        largest = max(abs(low), abs(high))
        if largest > 1e6:  # its stationary points are beyond resolving, and the bound is sharp
            return 1.0 + largest
        points = [low, high, min(max(0.0, low), high)]
        for end in (low, high):
            centre = round(end / math.pi)
            points += [_gcu_stationary(k) for k in range(centre - 1, centre + 2)]
        inside = [z for z in points if low <= z <= high]
        return float(np.max(np.abs(self.derivative(inside))))


def _gcu_stationary(k: int) -> float:
    """Return the root of 2 sin z + z cos z between (k - 1/2) pi and (k + 1/2) pi."""
    if k == 0:
        return 0.0
    from scipy.optimize import brentq  # half a second to import, and only gcu needs it

    low, high = (k - 0.5) * math.pi, (k + 0.5) * math.pi
    return float(brentq(lambda z: 2.0 * math.sin(z) + z * math.cos(z), low, high, xtol=1e-14))


ACTIVATIONS: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation("identity", IDENTITY, "x"),
        Activation("relu", RELU, "max(x, 0)"),
        Activation("sigmoid", SIGMOID, "1/(1 + exp(-x))"),
        Activation("tanh", TANH, "tanh(x)"),
        Activation("gcu", GCU, "x cos(x)"),
    )
}


def activation(name: str) -> Activation:
    """Return the activation called `name`.

    Raises:
        InputError: if there is none.
    """
    try:
        return ACTIVATIONS[name]
    except (KeyError, TypeError):
        allowed = ", ".join(ACTIVATIONS)
        raise InputError(f"unknown activation {name!r}; allowed: {allowed}") from None

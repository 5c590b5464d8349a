"""Speed of the particle integrator and of W1, against what one would use otherwise, in one run.

    python benchmarks/particles.py

* our RK4 against the same RK4 in plain NumPy: same steps, same results;
* our RK4 against ``scipy.integrate.solve_ivp`` (DOP853) at equal accuracy;
* W1 of two samples against SciPy and POT.

A ratio above 1 says how many times faster this package is. The best of several runs counts.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np
import ot
from scipy.integrate import solve_ivp
from scipy.stats import wasserstein_distance

from solvers.activations import ACTIVATIONS, Activation
from solvers.characteristics import characteristics
from solvers.controls import Controls
from solvers.distributions import Normal
from solvers.particles import integrate
from solvers.sampling import sample
from solvers.time_grid import time_grid
from solvers.warm import warm
from solvers.wasserstein import PointMasses, w1

PARTICLES = 100_000
SAMPLES = 1_000_000
CONTROLS = Controls.of("exp(t) - 1", "-5*t**2 + t")
FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "gcu": lambda x: x * np.cos(x),
}


def best(function: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of some run times in seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def numpy_rk4(name: str, x: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the particles at the last time, by RK4 on whole arrays."""
    sigma = FORMULAS[name]

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        w, b = CONTROLS.evaluate(t)
        return sigma(w * x + b)

    for t, end in itertools.pairwise(times):
        h = end - t
        k1 = rate(t, x)
        k2 = rate(t + 0.5 * h, x + 0.5 * h * k1)
        k3 = rate(t + 0.5 * h, x + 0.5 * h * k2)
        k4 = rate(end, x + h * k3)
        x = x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return x


def scipy_at_equal_accuracy(
    name: str, x: np.ndarray, exact: np.ndarray, error: float
) -> tuple[float, float]:
    """Return seconds and error of the loosest DOP853 that is at least as accurate."""
    sigma = FORMULAS[name]

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        w, b = CONTROLS.evaluate(t)
        return sigma(w * x + b)

    for digits in range(3, 14):
        tolerance = 10.0**-digits

        def solve(tolerance: float = tolerance) -> np.ndarray:
            found = solve_ivp(
                rate, (0.0, 1.0), x, method="DOP853", rtol=tolerance, atol=tolerance, t_eval=[1.0]
            )
            return np.asarray(found.y[:, -1])

        found = float(np.abs(solve() - exact).max())
        if found <= error:
            break
    return best(solve, 1), found


def particle_row(activation: Activation, x: np.ndarray) -> str:
    """Return one row of the first table."""
    name = activation.name
    times, last = time_grid(1.0, 1e-2, snapshots=[1.0])
    ours = best(lambda: integrate(x, activation, CONTROLS, times, last))
    found = integrate(x, activation, CONTROLS, times, last)[0]
    plain = best(lambda: numpy_rk4(name, x, times), 1)
    exact = characteristics(x, activation, CONTROLS, [1.0])[0][0]
    error = float(np.abs(found - exact).max())
    other, other_error = scipy_at_equal_accuracy(name, x, exact, max(error, 1e-11))
    rate = ours / x.size / 100 * 1e9
    return (
        f"{name:9} {rate:8.2f} {plain / ours:11.1f} {other / ours:11.1f}"
        f" {error:11.1e} {other_error:11.1e}"
    )


def main() -> None:
    """Print both tables."""
    print(f"kernels ready in {warm():.2f} s\n")
    print(f"RK4, {PARTICLES} particles, 100 steps, one thread")
    print("sigma     ns/p/step  NumPy/ours  SciPy/ours       error  SciPy error")
    x = sample(Normal(0.0, 1.0), PARTICLES, "iid")
    for activation in ACTIVATIONS.values():
        print(particle_row(activation, x))
    print(f"\nW1 of two samples of {SAMPLES}, unsorted")
    a, b = (np.random.default_rng(k).normal(0.01 * k, 1.0, SAMPLES) for k in (0, 1))
    value = w1(PointMasses(a), PointMasses(b))
    ours = best(lambda: w1(PointMasses(a), PointMasses(b)))
    for name, function in (
        ("SciPy", lambda: wasserstein_distance(a, b)),
        ("POT", lambda: ot.wasserstein_1d(a, b, p=1)),
    ):
        seconds = best(function, 1)
        gap = abs(float(function()) - value)
        print(f"{name:6} {seconds:6.3f} s, ours {ours:6.3f} s, ratio {seconds / ours:5.1f}", end="")
        print(f", difference {gap:.1e}")


if __name__ == "__main__":
    main()

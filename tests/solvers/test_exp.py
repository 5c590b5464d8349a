from collections.abc import Callable, Iterator

import mpmath
import numba
import numpy as np
import pytest

from solvers import exp

LN2, PI = 0.6931471805599453, np.pi
COUNT = 150
RNG = np.random.default_rng(0)


def scales(low: float, high: float) -> np.ndarray:
    """Numbers of both signs and every order of magnitude."""
    return 10.0 ** RNG.uniform(low, high, COUNT) * RNG.choice([-1.0, 1.0], COUNT)


def ties(spacing: float, largest: int) -> np.ndarray:
    """Arguments between two multiples, where the reduction is worst."""
    k = RNG.integers(-largest, largest, COUNT) + 0.5
    return spacing * k * (1.0 + 1e-15 * RNG.normal(size=COUNT))


CASES: dict[str, tuple[Callable, Callable, list[np.ndarray]]] = {
    "exp": (
        exp.exp_negative,
        mpmath.exp,
        [-np.abs(scales(-322, 2.9)), -np.abs(ties(LN2, 70)), RNG.uniform(-746, -700, COUNT)],
    ),
    "tanh": (
        exp.tanh,
        mpmath.tanh,
        [scales(-322, 3), ties(LN2 / 2, 60), RNG.uniform(-1, 1, COUNT), RNG.uniform(15, 25, COUNT)],
    ),
    "sigmoid": (
        exp.sigmoid,
        lambda x: 1 / (1 + mpmath.exp(-x)),
        [scales(-322, 3), ties(LN2, 70), RNG.uniform(-3, 3, COUNT), RNG.uniform(-746, -700, COUNT)],
    ),
    "cos": (
        exp.cos,
        mpmath.cos,
        [scales(-322, 14), ties(PI, 100), ties(PI, 10**9), PI * RNG.integers(-99, 99, COUNT)],
    ),
    "sin": (
        exp.sin,
        mpmath.sin,
        [scales(-322, 14), ties(PI, 100), ties(PI, 10**9), PI * RNG.integers(-99, 99, COUNT)],
    ),
}


def units_off(name: str, x: np.ndarray, precision: int = 1300) -> Iterator[float]:
    """How far results are from the exact values, in the spacing of floats next to these."""
    function, exact, _ = CASES[name]
    with mpmath.workprec(precision):  # 1300 for cos near its zeros, and tanh of subnormal numbers
        for value, argument in zip(over(function, x), x, strict=True):
            wanted = exact(mpmath.mpf(float(argument)))
            unit = np.spacing(abs(float(wanted)))
            yield float(abs(mpmath.mpf(float(value)) - wanted) / unit)


def over(function: Callable, x: np.ndarray) -> np.ndarray:
    """The function in a vectorised loop."""

    @numba.njit(error_model="numpy")
    def loop(x: np.ndarray, out: np.ndarray) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


@pytest.mark.parametrize("name", CASES)
def test_within_two_units_in_the_last_place(name: str) -> None:
    x = np.concatenate(CASES[name][2])
    errors = np.array(list(units_off(name, x)))
    worst = errors.argmax()
    assert errors[worst] <= 2.0, f"{errors[worst]:.2f} at {x[worst]!r}"
    assert errors.mean() < 0.5


def crests(offset: float) -> np.ndarray:
    """Arguments where cos (offset 0) or sin (1/2) is near 1 or -1, of every size."""
    n = np.floor(2.0 ** RNG.uniform(0.0, 45.0, MANY))
    return (n + offset) * PI + RNG.uniform(-0.35, 0.35, MANY)


MANY = 4000
HARD = {  # where errors are largest, as 10^7 arguments have shown
    "sigmoid": [RNG.uniform(-36.9, -36.6, MANY), RNG.uniform(-2.2, -0.7, MANY)],
    "tanh": [RNG.uniform(0.1, 0.35, MANY), RNG.uniform(2.7, 3.1, MANY)],
    "exp": [RNG.uniform(-13.0, -12.0, MANY)],
    "cos": [crests(0.0)],
    "sin": [crests(0.5)],
}


@pytest.mark.parametrize("name", HARD)
def test_within_two_units_where_errors_are_largest(name: str) -> None:
    assert max(units_off(name, np.concatenate(HARD[name]), precision=160)) <= 2.0


SPECIAL = np.array([0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, np.inf, -np.inf, np.nan])
BEYOND = [np.nan] * 5  # what is said of cos and sin beyond 2^47


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tanh", [0.0, -0.0, 5e-324, -5e-324, 1.0, -1.0, 1.0, -1.0, np.nan]),
        ("sigmoid", [0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 1.0, 0.0, np.nan]),
        ("cos", [1.0, 1.0, 1.0, 1.0, *BEYOND]),
        ("sin", [0.0, 0.0, 5e-324, -5e-324, *BEYOND]),
    ],
)
def test_zeros_infinities_and_nan(name: str, expected: list[float]) -> None:
    values = over(CASES[name][0], SPECIAL)
    np.testing.assert_array_equal(values, expected)
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(values[:-1]), np.signbit(SPECIAL[:-1]))


def test_exp_of_zero_and_of_what_underflows() -> None:
    x = np.array([0.0, -0.0, -745.2, -1e300, -np.inf, np.nan])
    np.testing.assert_array_equal(over(exp.exp_negative, x), [1.0, 1.0, 0.0, 0.0, 0.0, np.nan])


def test_cos_and_sin_know_how_far_they_go() -> None:
    inside, outside = np.array([2.0**47 - 0.5, 1.0 - 2.0**47]), np.array([2.0**47, -(2.0**47)])
    for name in ("cos", "sin"):
        assert max(units_off(name, inside)) <= 2.0
        assert np.isnan(over(CASES[name][0], outside)).all()


def test_tanh_and_sigmoid_never_leave_their_range() -> None:
    x = np.concatenate([np.linspace(-40.0, 40.0, 100_001), np.linspace(-760.0, -700.0, 1001)])
    for name, low in (("tanh", -1.0), ("sigmoid", 0.0)):
        values = over(CASES[name][0], x)
        assert values.min() >= low
        assert values.max() <= 1.0

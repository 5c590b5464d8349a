import numpy as np
import pytest

from solvers.activations import ACTIVATIONS, activation, velocity
from solvers.errors import InputError

X = np.concatenate([np.linspace(-40.0, 40.0, 20001), np.logspace(-300, 2, 500)])


def exact(name: str, x: np.ndarray) -> np.ndarray:
    z = x.astype(np.longdouble)
    return {
        "identity": z,
        "relu": np.maximum(z, 0),
        "sigmoid": 1 / (1 + np.exp(-z)),
        "tanh": np.tanh(z),
        "gcu": z * np.cos(z),
    }[name]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_is_within_rounding_of_extended_precision(name: str) -> None:
    error = np.abs(ACTIVATIONS[name](X) - exact(name, X))
    assert float((error / np.maximum(np.abs(X), 1.0)).max()) < 4e-16
    assert float(error[np.abs(X) < 30].max()) < 2e-14


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_relative_accuracy_and_range(name: str) -> None:
    values = ACTIVATIONS[name](X)
    expected = exact(name, X)
    assert float(np.abs((values - expected) / np.where(expected == 0, 1, expected)).max()) < 1e-15
    assert np.all(np.abs(values) <= 1.0)


def test_tanh_is_odd_and_saturates() -> None:
    tanh = ACTIVATIONS["tanh"]
    np.testing.assert_array_equal(tanh(-X), -tanh(X))
    np.testing.assert_array_equal(tanh([np.inf, -np.inf, 1e300]), [1.0, -1.0, 1.0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_propagates(name: str) -> None:
    assert np.isnan(ACTIVATIONS[name]([np.nan, 1.0])[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_matches_complex_step_free_difference(name: str) -> None:
    x = np.linspace(-7.0, 7.0, 1001) + 1e-3
    h = 1e-5
    sigma = ACTIVATIONS[name]
    slope = (8 * (sigma(x + h) - sigma(x - h)) - (sigma(x + 2 * h) - sigma(x - 2 * h))) / (12 * h)
    np.testing.assert_allclose(sigma.derivative(x), slope, rtol=0, atol=2e-9)


def test_relu_derivative_at_the_kink_is_zero() -> None:
    assert ACTIVATIONS["relu"].derivative(0.0) == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 31, 33])
def test_bits_do_not_depend_on_position_in_the_loop(name: str, size: int) -> None:
    x = np.random.default_rng(1).normal(size=64) * 3
    whole, part = np.empty(64), np.empty(size)
    code = ACTIVATIONS[name].code
    velocity(code, 1.1, 0.3, x, whole)
    for offset in (0, 1, 3):
        velocity(code, 1.1, 0.3, x[offset : offset + size].copy(), part)
        np.testing.assert_array_equal(part, whole[offset : offset + size])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    "ends", [(-1, 2), (0.5, 3), (-9, -2), (2.2, 40.1), (-100.0, 37.2), (0, 0.1), (-2, 0)]
)
def test_lipschitz_is_the_largest_slope(name: str, ends: tuple[float, float]) -> None:
    z = np.linspace(*ends, 400001)
    largest = np.abs(ACTIVATIONS[name].derivative(z)).max()
    constant = ACTIVATIONS[name].lipschitz(*ends)
    assert largest * (1 - 1e-12) <= constant <= largest * (1 + 1e-5)


def test_unknown_names_list_the_allowed() -> None:
    with pytest.raises(InputError, match="identity, relu, sigmoid, tanh, gcu"):
        activation("softplus")
    with pytest.raises(InputError):
        ACTIVATIONS["tanh"].lipschitz(1.0, 0.0)

"""Orders that theory gives, by what the initial law and the activation are like."""

import numpy as np
import pytest

from pipeline.expected_orders import JUMPS, SMOOTH, expected_orders
from solvers.activations import activation
from solvers.distributions import Beta, Distribution, Mixture, Normal, Uniform


@pytest.mark.parametrize(
    ("law", "name", "expected"),
    [
        (Normal(0.0, 1.0), "tanh", SMOOTH),
        (Uniform(-0.5, 0.5), "tanh", JUMPS),
        (Uniform(-0.5, 0.5), "relu", JUMPS),
        (Mixture([0.5, 0.5], [Normal(0.0, 1.0), Uniform(3.0, 4.0)]), "sigmoid", JUMPS),
        (Mixture([0.5, 0.5], [Normal(0.0, 1.0), Normal(3.0, 0.1)]), "gcu", SMOOTH),
    ],
)
def test_orders_of_smooth_laws_and_of_laws_with_jumps(
    law: Distribution, name: str, expected: tuple[float, float]
) -> None:
    assert expected_orders(law, activation(name)) == expected


@pytest.mark.parametrize(("law", "name"), [(Normal(0.0, 1.0), "relu"), (Beta(2.0, 5.0), "tanh")])
def test_kinks_leave_no_expectation(law: Distribution, name: str) -> None:
    assert np.isnan(expected_orders(law, activation(name))).all()

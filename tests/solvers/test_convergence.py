import numpy as np
import pytest

from solvers.convergence import experimental_orders, fit_order
from solvers.errors import InputError

CELLS = np.array([100, 200, 400, 800])


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0])
def test_a_pure_power_is_recovered(order: float) -> None:
    errors = 7.0 * CELLS**-order
    np.testing.assert_allclose(experimental_orders(CELLS, errors), order, rtol=1e-12)
    fit = fit_order(CELLS, errors)
    assert fit.order == pytest.approx(order, rel=1e-12)
    assert fit.constant == pytest.approx(7.0, rel=1e-11)
    assert fit.standard_error < 1e-12


def test_the_standard_error_is_that_of_repeated_noisy_fits() -> None:
    random = np.random.default_rng(0)
    errors = 3.0 * CELLS**-2.0 * np.exp(0.1 * random.normal(size=(4000, CELLS.size)))
    fits = [fit_order(CELLS, e) for e in errors]
    spread = np.std([fit.order for fit in fits])
    typical = np.sqrt(np.mean([fit.standard_error**2 for fit in fits]))
    assert typical == pytest.approx(spread, rel=0.05)
    assert np.mean([fit.order for fit in fits]) == pytest.approx(2.0, abs=0.01)


def test_errors_without_a_logarithm_are_left_out() -> None:
    errors = 5.0 * CELLS**-3.0
    errors[1] = np.nan
    assert fit_order(CELLS, errors).order == pytest.approx(3.0, rel=1e-12)
    orders = experimental_orders(CELLS, errors)
    np.testing.assert_array_equal(np.isnan(orders), [True, True, False])
    for bad in (0.0, -1.0, np.inf):
        errors[1] = bad
        assert np.isnan(experimental_orders(CELLS, errors)[:2]).all()


def test_too_few_errors_give_nan() -> None:
    assert np.isnan(fit_order([100], [1.0]).order)
    assert experimental_orders([100], [1.0]).size == 0
    two = fit_order([100, 200], [4.0, 1.0])
    assert two.order == pytest.approx(2.0)
    assert np.isnan(two.standard_error)


@pytest.mark.parametrize(
    ("cells", "errors"), [([200, 100], [1, 2]), ([0, 100], [1, 2]), ([100, 200], [1, 2, 3])]
)
def test_bad_resolutions_are_refused(cells: list, errors: list) -> None:
    with pytest.raises(InputError, match="resolutions"):
        fit_order(cells, errors)


@pytest.mark.parametrize("cells", [3, 4, 8])
def test_the_interval_holds_the_order_as_often_as_it_says(cells: int) -> None:
    random = np.random.default_rng(1)
    resolutions = 50 * 2 ** np.arange(cells)
    errors = 3.0 * resolutions**-2.0 * np.exp(0.1 * random.normal(size=(2000, cells)))
    ends = np.array([fit_order(resolutions, e).interval() for e in errors])
    held = np.mean((ends[:, 0] <= 2.0) & (ends[:, 1] >= 2.0))
    assert held == pytest.approx(0.95, abs=3.0 * np.sqrt(0.05 * 0.95 / 2000))
    assert np.isnan(fit_order([100, 200], [4.0, 1.0]).interval()).all()

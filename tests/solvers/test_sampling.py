import numpy as np
import pytest

from solvers.distributions import Beta, Normal, Uniform
from solvers.errors import InputError
from solvers.sampling import TILE, sample, uniforms


def test_a_particle_owns_a_counter_block() -> None:
    philox = np.random.Philox(counter=0, key=np.array([3, 7], dtype=np.uint64))
    raw = philox.random_raw(40)[::4]
    expected = ((raw >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
    np.testing.assert_array_equal(uniforms(10, (3, 7)), expected)


def test_nested_in_m_and_across_tiles() -> None:
    many = uniforms(2 * TILE + 17, (0, 1))
    for count in (1, 2, 1000, TILE, TILE + 1):
        np.testing.assert_array_equal(uniforms(count, (0, 1)), many[:count])


def test_open_interval_and_independent_streams() -> None:
    u, v = uniforms(200000, (0, 0)), uniforms(200000, (0, 1))
    assert 0.0 < u.min() < u.max() < 1.0
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(u.size)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / np.sqrt(u.size)


@pytest.mark.parametrize("law", [Uniform(-1, 2), Normal(0, 1), Beta(0.5, 2)])
def test_samples_are_sorted_and_nested(law: object) -> None:
    few, many = sample(law, 100, "iid", (1, 2)), sample(law, 200, "iid", (1, 2))
    assert np.all(np.diff(few) >= 0)
    assert np.isin(few, many).all()


def test_midpoint_quantiles() -> None:
    np.testing.assert_allclose(sample(Uniform(0, 1), 4, "quantile"), [0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize("particles", [0, -1, 1.5, True])
def test_particles_are_a_positive_integer(particles: object) -> None:
    with pytest.raises(InputError, match="particles"):
        uniforms(particles, (0, 0))


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="iid, quantile"):
        sample(Uniform(0, 1), 3, "halton")
    with pytest.raises(InputError, match="key"):
        uniforms(3, (-1, 0))

import numpy as np
import pytest

from solvers.philox import fill_uniforms


@pytest.mark.parametrize("first", [0, 5, 2**40 + 3])
@pytest.mark.parametrize("width", [1, 3, 4, 9])
@pytest.mark.parametrize("key", [(0, 0), (3, 7), (2**64 - 1, 2**63 + 12345)])
def test_numpys_generator_gives_the_same_words(
    first: int, width: int, key: tuple[int, int]
) -> None:
    words = np.array(key, dtype=np.uint64)
    found = np.empty((50, width))
    fill_uniforms(first, words, found)
    for column in range(width):
        philox = np.random.Philox(counter=first + ((column // 4) << 64), key=words)
        lane = philox.random_raw(200)[column % 4 :: 4]
        expected = ((lane >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
        np.testing.assert_array_equal(found[:, column], expected)

import numpy as np
import pytest

from solvers.tiles import BLOCK, LINE, load, store, work_space


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK])
def test_a_tile_is_filled_with_whole_blocks_and_copied_back(size: int) -> None:
    x = np.random.default_rng(0).normal(size=size)
    tile = np.full(4 * BLOCK, np.nan)
    whole = load(x, tile)
    assert whole % BLOCK == 0
    assert size <= whole < size + BLOCK
    np.testing.assert_array_equal(tile[:size], x)
    assert np.all(tile[size:whole] == x[-1])
    assert np.isnan(tile[whole:]).all()
    back = np.empty(size)
    store(tile, back)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("shape", [(1,), (512,), (3, 5)])
def test_work_space_begins_a_cache_line(shape: tuple[int, ...]) -> None:
    spaces = [work_space(*shape) for _ in range(20)]
    for space in spaces:
        assert space.shape == shape
        assert space.flags.c_contiguous
        assert space.ctypes.data % LINE == 0

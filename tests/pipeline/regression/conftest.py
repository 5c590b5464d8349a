"""What the tests of the regression runs share."""

from collections.abc import Iterator

import pytest

from pipeline.regression import rank_test


@pytest.fixture(scope="package", autouse=True)
def fewer_permutations() -> Iterator[None]:
    """Coarser tables of p-values, which take a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank_test, "PERMUTATIONS", rank_test.AT_ONCE)
        rank_test._minima.cache_clear()
        yield
    rank_test._minima.cache_clear()

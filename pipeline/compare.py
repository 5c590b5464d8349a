"""Two stores side by side: by how much their numbers differ, at the points that both have."""

from dataclasses import dataclass

import numpy as np

from pipeline.alignment import Aligned, aligned, two_stores
from pipeline.errors import StoreError
from pipeline.place import Place

NOT_COMPARED = ("wall_seconds",)


@dataclass(frozen=True)
class Difference:
    """How one variable compares.

    Attributes:
        variable: its path.
        common: how many numbers stand at coordinates that both stores have.
        only_one: how many of these only one of the stores has (the other has NaN).
        other_bits: how many differ in their bits.
        largest: the largest difference, relative to the larger of the two numbers.
        reason: why it is not compared, where it is not.
    """

    variable: str
    common: int = 0
    only_one: int = 0
    other_bits: int = 0
    largest: float = 0.0
    reason: str = ""

    def within(self, tolerance: float) -> bool:
        """Whether nothing is missing and no number differs by more."""
        return self.only_one == 0 and self.largest <= tolerance


def compare(left: Place, right: Place) -> list[Difference]:
    """Compare every variable that two stores have, at the coordinates that both have.

    Numbers of the analysis are compared where both were fitted to the same M, seeds and cells.

    Raises:
        StoreError: if one is no store of ours, or they have nothing in common.
    """
    with two_stores(left, right) as (one, other):
        found = [
            _difference(pair)
            for pair in aligned(one, other)
            if pair.path.rpartition("/")[2] not in NOT_COMPARED
        ]
    if not any(difference.common for difference in found):
        reason = next((d.reason for d in found if d.reason), "no variable has a point in common")
        raise StoreError(f"{left}, {right}: nothing to compare: {reason}")
    return found


def _difference(pair: Aligned) -> Difference:
    a, b = (np.asarray(array.values, dtype=float) for array in (pair.one, pair.other))
    only_one = int((np.isnan(a) != np.isnan(b)).sum())
    both = ~(np.isnan(a) | np.isnan(b))
    scale = np.maximum(np.abs(a[both]), np.abs(b[both]))
    gap = np.abs(a[both] - b[both])
    relative = np.divide(gap, scale, out=np.zeros_like(gap), where=gap > 0)
    bits = int((a[both] != b[both]).sum()) + only_one
    largest = float(relative.max(initial=0.0))
    return Difference(pair.path, a.size, only_one, bits, largest, pair.reason)

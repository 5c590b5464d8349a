"""Two stores side by side: which points both have, and by how much their numbers differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.errors import StoreError
from pipeline.root import read_root

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
    """

    variable: str
    common: int
    only_one: int
    other_bits: int
    largest: float

    def within(self, tolerance: float) -> bool:
        """Whether nothing is missing and no number differs by more."""
        return self.only_one == 0 and self.largest <= tolerance


def compare(left: Path, right: Path) -> list[Difference]:
    """Compare every variable that two stores have, at the coordinates that both have.

    The analysis is compared where both have the same M and seeds.

    Raises:
        StoreError: if one is no store of ours, or they have nothing in common.
    """
    for path in (left, right):
        read_root(path)
    try:
        with (
            xr.open_datatree(left, engine="zarr") as a,
            xr.open_datatree(right, engine="zarr") as b,
        ):
            found = list(_differences(a, b))
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{left}, {right}: cannot be compared: {reason}") from None
    if not any(difference.common for difference in found):
        raise StoreError(f"{left}, {right}: no variable has a point in common")
    return found


def _differences(left: xr.DataTree, right: xr.DataTree) -> Iterator[Difference]:
    paths = {node.path for node in right.subtree}
    if not _same_samples(left, right):
        paths.discard("/analysis")  # rates of other samples are other rates
    for node in left.subtree:
        if node.path not in paths:
            continue
        one, other = xr.align(node.to_dataset(), right[node.path].to_dataset(), join="inner")
        for name in one.data_vars:
            if name in other.data_vars and name not in NOT_COMPARED:
                path = f"{node.path.strip('/')}/{name}"
                yield _difference(path, one[name], other[name].transpose(*one[name].dims))


def _same_samples(left: xr.DataTree, right: xr.DataTree) -> bool:
    if "particles" not in left.children or "particles" not in right.children:
        return False
    one, other = left["particles"], right["particles"]
    return all(
        set(np.asarray(one[name]).tolist()) == set(np.asarray(other[name]).tolist())
        for name in ("particles", "seed")
    )


def _difference(path: str, one: xr.DataArray, other: xr.DataArray) -> Difference:
    a, b = (np.asarray(array.values, dtype=float) for array in (one, other))
    only_one = int((np.isnan(a) != np.isnan(b)).sum())
    both = ~(np.isnan(a) | np.isnan(b))
    scale = np.maximum(np.abs(a[both]), np.abs(b[both]))
    gap = np.abs(a[both] - b[both])
    relative = np.divide(gap, scale, out=np.zeros_like(gap), where=gap > 0)
    bits = int((a[both] != b[both]).sum()) + only_one
    return Difference(path, a.size, only_one, bits, float(relative.max(initial=0.0)))

"""Which points of a variable have results, by the statuses of its step."""

from collections.abc import Mapping

import xarray as xr

from pipeline.regression.defaults import is_status
from pipeline.status import KEEPS_DATA


def has_result(path: str, arrays: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Where the points of a variable have results, in the shape of the variable.

    Args:
        path: of the variable.
        arrays: all variables of the store, by path; a status of its step counts if the variable has
            all its dimensions.
    """
    found = xr.ones_like(arrays[path], dtype=bool)
    group, _, _ = path.rpartition("/")
    step, _, field = group.partition("/")
    key, _, value = field.rpartition("_")
    for other, status in arrays.items():
        if other.rpartition("/")[0] != step or not is_status(status):
            continue
        if key in status.indexes:  # the fields at one value of a key have a group
            status = status.sel({key: int(value)}, drop=True)
        if set(status.dims) <= set(found.dims):
            found &= status.isin(KEEPS_DATA)
    return found

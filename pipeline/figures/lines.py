"""Straight lines through points in log–log, where only their slope is stored."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def with_line(
    table: pd.DataFrame, x: str, y: str, slope: str, keys: Sequence[str], smallest: float = 0.0
) -> pd.Series:
    """The line of a given slope through the mean of the logarithms of each row's points.

    That is the least squares line where the slope is that of least squares.

    Args:
        table: the points.
        x: the column of their abscissae.
        y: the column of their ordinates; those not above ``smallest`` do not count.
        slope: the column of the slope, constant along a row.
        keys: what makes a row.
        smallest: see ``y``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        known = table[y].where(table[y] > smallest)
        log_x, log_y = np.log(table[x].astype(float)), np.log(known)
    offset = log_y - table[slope] * log_x
    if keys:
        groups = [table[key] for key in keys]
        offset = offset.groupby(groups, sort=False, dropna=False).transform("mean")
    else:
        offset = pd.Series(offset.mean(), index=table.index)
    line: pd.Series = np.exp(offset + table[slope] * log_x)
    return line

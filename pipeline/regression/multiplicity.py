"""Many tests in one night, and few false alarms among them (Holm 1979, Scand. J. Stat. 6, 65-70).

If the smallest of n p-values is multiplied by n, the next by n - 1 and so on, then alarms where the
result is at most α have a probability of at most α that any of them is false, however the tests
depend on each other.
"""

import numpy as np

from solvers.arrays import FloatArray


def holm(p_values: FloatArray) -> FloatArray:
    """The adjusted p-values, (n,); NaN where there is no test, which then does not count."""
    p_values = np.asarray(p_values, dtype=float)
    found = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return found

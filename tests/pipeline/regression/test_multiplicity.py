"""Holm's adjustment against its definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.regression.multiplicity import holm

P_VALUES = st.lists(st.one_of(st.floats(0.0, 1.0), st.just(float("nan"))), max_size=12)


def rejected(p_values: list[float], level: float) -> set[int]:
    """Those that Holm rejects: step by step, until one is not."""
    order = sorted((p, i) for i, p in enumerate(p_values) if p == p)
    found: set[int] = set()
    for step, (p, i) in enumerate(order):
        if p * (len(order) - step) > level:
            break
        found.add(i)
    return found


@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.3]))
def test_the_same_are_rejected_as_step_by_step(p_values: list[float], level: float) -> None:
    adjusted = holm(np.array(p_values))
    assert {int(i) for i in np.flatnonzero(adjusted <= level)} == rejected(p_values, level)


@given(P_VALUES)
def test_never_smaller_and_in_the_same_order(p_values: list[float]) -> None:
    p = np.array(p_values)
    adjusted = holm(p)
    tested = ~np.isnan(p)
    assert (np.isnan(adjusted) == ~tested).all()
    assert (adjusted[tested] >= p[tested]).all()
    assert (adjusted[tested] <= 1.0).all()
    assert (np.diff(adjusted[tested][np.argsort(p[tested], kind="stable")]) >= 0.0).all()

"""How fast the PDE solution approaches the limit as cells are refined: orders out of a store.

At each activation and snapshot (and every further axis) the errors of /limit are fitted by
error = C · cells^-order, and compared between neighbouring resolutions.
"""

import math

import numpy as np

from pipeline.analysis.along import Row, complete, missing_along, read_along, rows, sizes
from pipeline.analysis.results import Found
from pipeline.analysis_tables import LOCAL_ORDERS, ORDERS
from pipeline.case import Case
from pipeline.expected_orders import SMOOTH, expected_orders
from pipeline.store import Store
from solvers.convergence import experimental_orders, fit_order

ERRORS = ("l1", "w1")
ROUNDING = 1e-10  # errors of this size, as at time 0, have no order


def analyse_orders(store: Store, partial: bool) -> None:
    """Compute the orders of /limit, and write them to /analysis.

    There are none where an axis repeats a number of cells with other settings: the errors would be
    those of different problems.
    """
    cells = sizes(store, "cells")
    fitted, local = Found(store, ORDERS), Found(store, LOCAL_ORDERS)
    missing = missing_along(store, ORDERS)
    for name in ERRORS if len(set(cells.tolist())) == len(cells) else ():
        errors = complete(read_along(store, f"limit/{name}_error", ORDERS), missing, partial)
        for row in rows(store, ORDERS):
            for snapshot, measured in enumerate(errors.at(row).T):
                known = np.where(measured > ROUNDING, measured, np.nan)
                fit = fit_order(cells, known)
                fitted.put(row, f"{name}_order", fit.order, snapshot)
                fitted.put(row, f"{name}_order_deviation", fit.standard_error, snapshot)
                between = [np.nan, *experimental_orders(cells, known)]
                local.put(row, f"{name}_order_local", between, snapshot)
    for row in rows(store, ORDERS):
        _put_expected(fitted, row, store.study.case(dict(row.settings)))
    fitted.write()
    local.write()


def _put_expected(fitted: Found, row: Row, case: Case) -> None:
    """What theory gives; at time 0 the cell averages are exact, and jumps have no order."""
    l1, w1 = expected_orders(case.problem.initial, case.activation)
    for snapshot, time in enumerate(case.problem.snapshots):
        later = time > 0
        fitted.put(row, "l1_order_expected", l1 if later else math.nan, snapshot)
        smooth = (l1, w1) == SMOOTH
        fitted.put(row, "w1_order_expected", w1 if later or smooth else math.nan, snapshot)

"""How fast the PDE solution approaches the limit as cells are refined: orders out of a store.

At each activation and snapshot (and every further axis) the errors of /limit are fitted by
error = C · cells^-order, and compared between neighbouring resolutions.
"""

import math
from collections.abc import Iterator

import numpy as np

from pipeline.analysis_tables import LOCAL_ORDERS, ORDERS
from pipeline.layout import analysis_axes
from pipeline.store import Store
from solvers.convergence import experimental_orders, fit_order

ERRORS = ("l1", "w1")
ROUNDING = 1e-10  # errors of this size, as at time 0, have no order
Index = tuple[int, ...]


def analyse_orders(store: Store) -> None:
    """Compute the orders of /limit, and write them to /analysis."""
    for name in ERRORS:
        errors = np.asarray(store.array(f"limit/{name}_error")[...])
        outputs = (f"{name}_order", f"{name}_order_deviation", f"{name}_order_local")
        fitted, deviation, local = (
            np.full(store.array(f"analysis/{output}").shape, math.nan) for output in outputs
        )
        for index, cells, places in refinements(store):
            for snapshot in range(errors.shape[-1]):
                measured = [errors[(*place, snapshot)] for place in places]
                measured = [error if error > ROUNDING else math.nan for error in measured]
                fit = fit_order(cells, measured)
                fitted[(*index, snapshot)] = fit.order
                deviation[(*index, snapshot)] = fit.standard_error
                between = experimental_orders(cells, measured)
                for place, order in zip(places[1:], between, strict=True):
                    local[(*place, snapshot)] = order
        for output, values in zip(outputs, (fitted, deviation, local), strict=True):
            store.array(f"analysis/{output}")[...] = values


def refinements(store: Store) -> Iterator[tuple[Index, list[int], list[Index]]]:
    """Each row of resolutions: its position in ORDERS, its cells ascending, their positions.

    There is none where an axis repeats a number of cells with other settings: the errors would be
    those of different problems.
    """
    every = [store.axes[axis.name] for axis in analysis_axes(store.study, LOCAL_ORDERS)]
    others = [store.axes[axis.name] for axis in analysis_axes(store.study, ORDERS)]
    number = next(i for i, axis in enumerate(every) if "cells" in axis.keys)
    labels = every[number].labels("cells")
    if len(set(labels)) < len(labels):
        return
    chosen = sorted(store.positions(every[number].name), key=lambda position: labels[position])
    for index in store.points(others):
        places = [(*index[:number], position, *index[number:]) for position in chosen]
        yield index, [labels[position] for position in chosen], places

"""The analysis as plain records, for scripts and for tables of text."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.analysis.along import Row, Samples, positions, read_along, rows, sizes
from pipeline.analysis.gaps import Gap, gaps
from pipeline.analysis.orders import ERRORS
from pipeline.analysis_tables import (
    CLOUD_RATES,
    CONTROL_RATES,
    FLOOR,
    LOCAL_ORDERS,
    LOCAL_RATES,
    ORDERS,
    PLANE,
    RATES,
    AnalysisTable,
)
from pipeline.axes import label
from pipeline.inner_coordinates import BUDGETS, NORMS
from pipeline.layout import analysis_axes, analysis_tables
from pipeline.store import Store

Record = dict[str, Any]


def analysis_records(store: Store) -> dict[str, list[Record]]:
    """The analysis as numbers: rates, joint fits, orders, and what they lack."""
    tables = analysis_tables(store.study)
    found: dict[str, list[Record]] = {}
    if (table := rate_table(store)) is not None:
        found["rates"] = rate_records(store, table)
    if PLANE in tables:
        found["plane"] = plane_records(store)
    if ORDERS in tables:
        found["orders"] = order_records(store)
    if CONTROL_RATES in tables:
        found["control_rates"] = control_rate_records(store)
    found["gaps"] = [gap_record(gap) for gap in gaps(store)]
    return found


def rate_table(store: Store) -> AnalysisTable | None:
    """The table of the study's rates in M, on the line or in R^d, if it has one."""
    tables = analysis_tables(store.study)
    return next((table for table in (RATES, CLOUD_RATES) if table in tables), None)


def rate_records(store: Store, table: AnalysisTable) -> list[Record]:
    """One record per row and snapshot; local slopes and means over M as lists."""
    found = _arrays(store, table)
    has_local = LOCAL_RATES in analysis_tables(store.study)
    local = _arrays(store, LOCAL_RATES, "particles") if has_local else {}
    particles = sizes(store, "particles").tolist()
    return [
        {
            **_settings(row),
            "snapshot": time,
            **_at(found, row, s),
            "particles": particles,
            **{name: _list(at[..., s]) for name, at in _rows(local, row).items()},
        }
        for row in rows(store, table)
        for s, time in enumerate(store.study.snapshots)
    ]


def plane_records(store: Store) -> list[Record]:
    """One record per row and snapshot; what depends on cells or on the budget as lists."""
    found, by_cells = _arrays(store, PLANE), _arrays(store, FLOOR, "cells")
    cells = sizes(store, "cells").tolist()
    own = {name: a for name, a in found.items() if not name.startswith("best_")}
    best = {name: a for name, a in found.items() if name.startswith("best_")}
    return [
        {
            **_settings(row),
            "snapshot": time,
            **_at(own, row, s),
            "budget": list(BUDGETS),
            **{name: _list(at[..., s]) for name, at in _rows(best, row).items()},
            "cells": cells,
            **{name: _list(at[..., s]) for name, at in _rows(by_cells, row).items()},
        }
        for row in rows(store, PLANE)
        for s, time in enumerate(store.study.snapshots)
    ]


def order_records(store: Store) -> list[Record]:
    """One record per row and snapshot; errors and local orders over cells as lists."""
    fitted, local = _arrays(store, ORDERS), _arrays(store, LOCAL_ORDERS, "cells")
    errors = {f"{e}_error": read_along(store, f"limit/{e}_error", ORDERS) for e in ERRORS}
    cells = sizes(store, "cells").tolist()
    return [
        {
            **_settings(row),
            "snapshot": time,
            "cells": cells,
            **{name: _list(values.at(row)[..., s]) for name, values in errors.items()},
            **{name: _list(at[..., s]) for name, at in _rows(local, row).items()},
            **_at(fitted, row, s),
        }
        for row in rows(store, ORDERS)
        for s, time in enumerate(store.study.snapshots)
    ]


def control_rate_records(store: Store) -> list[Record]:
    """Rates in M of the optimal controls (in L2 and C0) and of their cost, one record per row."""
    found = _arrays(store, CONTROL_RATES)
    records = []
    for row in rows(store, CONTROL_RATES):
        record = _settings(row)
        for name, at in _rows(found, row).items():
            if at.ndim:
                record |= {f"{name}_{norm}": known(at[i]) for i, norm in enumerate(NORMS)}
            else:
                record[name] = known(float(at))
        records.append(record)
    return records


def gap_record(gap: Gap) -> Record:
    """A row that lacks points, its points by their settings and status."""
    points = [
        {**{k: label(v) for k, v in at.items()}, "status": int(status)} for at, status in gap.points
    ]
    settings = {key: label(value) for key, value in gap.row.items()}
    return {"fits": list(gap.fits), "row": settings, "missing": points}


def known(value: float) -> float | None:
    """A number, or None for NaN."""
    return float(value) if math.isfinite(value) else None


def _settings(row: Row) -> Record:
    return {key: label(value) for key, value in row.settings.items()}


def _arrays(store: Store, table: AnalysisTable, last: str = "") -> dict[str, Samples]:
    """The variables of a table, with the axis of one key, ascending, behind the others."""
    axes = [store.axes[axis.name] for axis in analysis_axes(store.study, table)]
    kept = [i for i, axis in enumerate(axes) if last not in axis.keys]
    moved = [i for i in range(len(axes)) if i not in kept]
    found = {}
    for variable in table.variables:
        values = np.asarray(store.array(f"analysis/{variable.name}")[...])
        for i in moved:
            values = values.take(positions(store, axes[i]), axis=i)
        order = [*kept, *moved, *range(len(axes), values.ndim)]
        found[variable.name] = Samples(tuple(axes[i] for i in kept), values.transpose(order))
    return found


def _rows(arrays: dict[str, Samples], row: Row) -> dict[str, np.ndarray]:
    return {name: samples.at(row) for name, samples in arrays.items()}


def _at(arrays: dict[str, Samples], row: Row, snapshot: int) -> Record:
    """The numbers of a row at a snapshot; those without snapshots as they are."""
    return {
        name: known(float(at[snapshot] if at.ndim else at))
        for name, at in _rows(arrays, row).items()
    }


def _list(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [known(float(value)) for value in values]

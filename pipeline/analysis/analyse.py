"""The analysis of a store: every table of /analysis that its study has."""

from pipeline.analysis.orders import analyse_orders
from pipeline.analysis.plane import analyse_plane
from pipeline.analysis.rates import analyse_control_rates, analyse_rates
from pipeline.analysis_tables import CLOUD_RATES, CONTROL_RATES, ORDERS, PLANE, RATES
from pipeline.layout import analysis_tables
from pipeline.store import Store


def analyse(store: Store, *, partial: bool = False) -> None:
    """Compute /analysis from what the steps hold, and write it.

    Args:
        store: the store.
        partial: whether rows that lack points are fitted from the points that are there; else
            they have no fit, and :func:`pipeline.analysis.gaps.gaps` names their points.
    """
    tables = analysis_tables(store.study)
    for table in (RATES, CLOUD_RATES):
        if table in tables:
            analyse_rates(store, table, partial)
    if PLANE in tables:
        analyse_plane(store, partial)
    if ORDERS in tables:
        analyse_orders(store, partial)
    if CONTROL_RATES in tables:
        analyse_control_rates(store, partial)

"""Figures of a store: functions of the tree that ``xarray.open_datatree(path)`` gives.

    import xarray as xr
    from pipeline.figures import plot_w1
    plot_w1(xr.open_datatree("runs/quickstart/data.zarr"))

Each ``plot_…`` returns an Altair chart with inputs (small multiples with ``static=True``), and each
``…_table`` the numbers behind it. Altair takes most of a second to import, so that is left until a
figure is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.figures.control_rates import control_rates_table, plot_control_rates
    from pipeline.figures.controls import controls_table, plot_controls
    from pipeline.figures.costs import costs_table, plot_costs
    from pipeline.figures.densities import densities_table, plot_densities
    from pipeline.figures.dependence import dependence_table, plot_dependence
    from pipeline.figures.drawing import draw_figures
    from pipeline.figures.gammas import gammas_table, plot_gammas
    from pipeline.figures.local_rates import local_rates_table, plot_local_rates
    from pipeline.figures.orders import orders_table, plot_orders
    from pipeline.figures.plane import plane_table, plot_plane
    from pipeline.figures.status import plot_status, status_table
    from pipeline.figures.timings import plot_timings, timings_table
    from pipeline.figures.w1 import plot_w1, w1_table

__all__ = [
    "control_rates_table",
    "controls_table",
    "costs_table",
    "densities_table",
    "dependence_table",
    "draw_figures",
    "gammas_table",
    "local_rates_table",
    "orders_table",
    "plane_table",
    "plot_control_rates",
    "plot_controls",
    "plot_costs",
    "plot_densities",
    "plot_dependence",
    "plot_gammas",
    "plot_local_rates",
    "plot_orders",
    "plot_plane",
    "plot_status",
    "plot_timings",
    "plot_w1",
    "status_table",
    "timings_table",
    "w1_table",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    stem = name.removeprefix("plot_").removesuffix("_table")
    module = "drawing" if name == "draw_figures" else stem
    return getattr(import_module(f"{__name__}.{module}"), name)

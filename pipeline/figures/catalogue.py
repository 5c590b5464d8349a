"""All figures that a store may have, in the order of a report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd
import xarray as xr

from pipeline.figures.choices import Chart
from pipeline.figures.control_rates import control_rates_table, plot_control_rates
from pipeline.figures.controls import controls_table, plot_controls
from pipeline.figures.costs import costs_table, plot_costs
from pipeline.figures.densities import densities_table, plot_densities
from pipeline.figures.dependence import dependence_table, plot_dependence
from pipeline.figures.gammas import gammas_table, plot_gammas
from pipeline.figures.local_rates import local_rates_table, plot_local_rates
from pipeline.figures.orders import orders_table, plot_orders
from pipeline.figures.plane import plane_table, plot_plane
from pipeline.figures.status import plot_status, status_table
from pipeline.figures.timings import plot_timings, timings_table
from pipeline.figures.w1 import plot_w1, w1_table


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: of its files.
        title: above it.
        caption: what its marks are.
        plot: draws it from a store.
        table: the numbers behind it.
        options: further arguments of both.
        between_clouds: the caption where particles are compared with one another, as in R^d.
    """

    name: str
    title: str
    caption: str
    plot: Callable[..., Chart]
    table: Callable[..., pd.DataFrame]
    options: Mapping[str, Any]
    between_clouds: str = ""

    def of_store(self, tree: xr.DataTree) -> Self:
        """The figure with the caption that is true for a store."""
        clouds = "particles" in tree.children and "sliced_w1" in tree["particles"].data_vars
        return (
            replace(self, caption=self.between_clouds) if clouds and self.between_clouds else self
        )


FIGURES = (
    Figure(
        "w1-against-m", "W₁ against M",
        "Mean over seeds of the distance of M particles to the exact limit, with its 95 % interval "
        "(band), the fitted power law (solid; dotted where M is too small for the fit), and what "
        "theory expects (dashed).",
        plot_w1, w1_table, {},
        "Mean over seeds of the distance between two independent clouds of M particles, with its "
        "95 % interval (band), the fitted power law (solid; dotted where M is too small for the "
        "fit), and what theory expects (dashed).",
    ),
    Figure(
        "sliced-w1-against-m", "Sliced W₁ against M",
        "The same for sliced W₁, between two independent clouds of M particles.",
        plot_w1, w1_table, {"distance": "sliced_w1"},
    ),
    Figure(
        "local-rates", "Local rates",
        "Slope between each M and the next smaller one, with its 95 % interval (band), and the "
        "expected rate (dashed).",
        plot_local_rates, local_rates_table, {},
    ),
    Figure(
        "error-against-cells", "Error against cells",
        "Distance of the PDE solution to the exact limit, the fitted order (solid), and the order "
        "that theory gives for these data and this norm (dashed), where it gives one.",
        plot_orders, orders_table, {},
    ),
    Figure(
        "plane", "The (M, cells) plane",
        "Mean distance of the particles to the PDE solution. On the line both errors balance: to "
        "its right the grid limits, to its left the sample.",
        plot_plane, plane_table, {},
    ),
    Figure(
        "densities", "Densities over time",
        "The PDE solution f_t, where it began (f₀), the target g, and the histogram of one "
        "sample's particles.",
        plot_densities, densities_table, {},
    ),
    Figure(
        "controls", "Controls",
        "w(t) and b(t); over several seeds the mean with its 95 % interval (band).",
        plot_controls, controls_table, {},
    ),
    Figure(
        "cost-histories", "Cost histories",
        "Cost and largest relative change of the controls after each iteration.",
        plot_costs, costs_table, {},
    ),
    Figure(
        "gamma-paths", "Along γ",
        "What the weight of the control cost does.",
        plot_gammas, gammas_table, {},
    ),
    Figure(
        "control-rates", "Optimal controls of M samples",
        "Distance to the mean-field optimum, mean over seeds with its 95 % interval (band) and the "
        "fitted power law.",
        plot_control_rates, control_rates_table, {},
    ),
    Figure(
        "dependence", "Continuous dependence",
        "W₁ between the laws under the two controls (solid), bounded by the integral (dashed) and "
        "by the supremum (dotted) of the difference of the velocities.",
        plot_dependence, dependence_table, {},
    ),
    Figure(
        "status", "Status of the points",
        "Done points of all points; colours show the worst status.",
        plot_status, status_table, {},
    ),
    Figure(
        "timings", "Computing time",
        "Median seconds of a point (points and lines) and the largest (ticks).",
        plot_timings, timings_table, {},
    ),
)  # fmt: skip

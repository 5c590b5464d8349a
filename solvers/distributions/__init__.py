"""Probability laws on the real line: densities, distribution functions, quantiles.

Each law is one file and a subclass of :class:`Distribution`.
"""

from solvers.distributions.base import Distribution
from solvers.distributions.beta import Beta
from solvers.distributions.columns import read_column
from solvers.distributions.normal import Normal
from solvers.distributions.samples import Samples
from solvers.distributions.uniform import Uniform

__all__ = ["Beta", "Distribution", "Normal", "Samples", "Uniform", "read_column"]

"""Probability laws: densities, distribution functions, quantiles; on the real line and in R^d.

Each law is one file. On the real line it is a subclass of :class:`Distribution`; laws in R^d, which
can only be drawn from, are subclasses of :class:`VectorDistribution`.
"""

from solvers.distributions.affine import Affine
from solvers.distributions.base import Distribution
from solvers.distributions.beta import Beta
from solvers.distributions.columns import read_column, read_columns
from solvers.distributions.mixture import Mixture
from solvers.distributions.normal import Normal
from solvers.distributions.product import Product
from solvers.distributions.sample_vectors import SampleVectors
from solvers.distributions.samples import Samples
from solvers.distributions.uniform import Uniform
from solvers.distributions.vector import VectorDistribution

__all__ = [
    "Affine",
    "Beta",
    "Distribution",
    "Mixture",
    "Normal",
    "Product",
    "SampleVectors",
    "Samples",
    "Uniform",
    "VectorDistribution",
    "read_column",
    "read_columns",
]

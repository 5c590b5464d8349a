"""The law of independent components."""

from collections.abc import Sequence

import numpy as np

from solvers.arrays import FloatArray
from solvers.distributions.base import Distribution, law
from solvers.distributions.vector import VectorDistribution
from solvers.errors import DistributionError


class Product(VectorDistribution):
    """The law of (X_1, ..., X_d) with independent components.

    Attributes:
        components: The laws of the components.
    """

    def __init__(self, components: Sequence[Distribution]) -> None:
        """Validate.

        Raises:
            DistributionError: if there is no component or one is no law on the real line.
        """
        self.components = tuple(law("product", component) for component in components)
        if not self.components:
            raise DistributionError("product: at least one component is needed")

    def __eq__(self, other: object) -> bool:
        """Two are equal if their components are."""
        return isinstance(other, Product) and self.components == other.components

    def __hash__(self) -> int:
        """Hash the components."""
        return hash(("product", self.components))

    def __repr__(self) -> str:
        """Show the components."""
        return f"Product(components={self.components})"

    @property
    def dimension(self) -> int:
        """The number of components."""
        return len(self.components)

    @property
    def draws(self) -> int:
        """One uniform number for each component."""
        return len(self.components)

    def from_uniforms(self, u: FloatArray) -> FloatArray:
        """Return the quantiles of each component at its column of `u`."""
        columns = [part.quantile(u[:, j]) for j, part in enumerate(self.components)]
        return np.stack(columns, axis=1)

    @property
    def mean(self) -> FloatArray:
        """The means of the components."""
        return np.array([component.mean for component in self.components])

    @property
    def covariance(self) -> FloatArray:
        """The diagonal matrix of their variances."""
        return np.diag([component.variance for component in self.components])

"""The empirical law of the rows of a table."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze, vector
from solvers.distributions.vector import VectorDistribution
from solvers.errors import DistributionError


class SampleVectors(VectorDistribution):
    """The empirical law of the rows of a table: each is drawn, as it is, with probability 1/n.

    Unlike :class:`~solvers.distributions.samples.Samples` in one dimension it has atoms.

    Attributes:
        points: The rows, in the given order, shape (n, d).
    """

    def __init__(self, points: ArrayLike) -> None:
        """Copy and validate.

        Raises:
            DistributionError: if it is no table of finite numbers or all its rows are equal.
        """
        shape = np.shape(points)
        if len(shape) != 2 or 0 in shape:
            raise DistributionError(f"sample vectors: a table (n, d) is needed, not {shape}")
        flat = vector(np.reshape(points, -1), "sample vectors: values", DistributionError)
        self.points = freeze(flat.reshape(shape))
        if np.all(self.points == self.points[0]):
            raise DistributionError("sample vectors: fewer than two distinct rows")

    def __eq__(self, other: object) -> bool:
        """Two laws are equal if their tables are."""
        return isinstance(other, SampleVectors) and np.array_equal(self.points, other.points)

    def __hash__(self) -> int:
        """Hash the data."""
        return hash((self.points.shape, self.points.tobytes()))

    def __repr__(self) -> str:
        """Name the size, not the data."""
        return f"SampleVectors(<{self.points.shape[0]} rows in R^{self.dimension}>)"

    @property
    def dimension(self) -> int:
        """The number of columns."""
        return int(self.points.shape[1])

    @property
    def draws(self) -> int:
        """One uniform number, which chooses a row."""
        return 1

    def from_uniforms(self, u: FloatArray) -> FloatArray:
        """Return the rows floor(u n)."""
        rows = np.floor(u[:, 0] * self.points.shape[0]).astype(np.int64)
        return np.asarray(self.points[rows])

    @property
    def mean(self) -> FloatArray:
        """The mean of the rows."""
        return np.asarray(self.points.mean(axis=0))

    @property
    def covariance(self) -> FloatArray:
        """Their covariance matrix (divisor n)."""
        offset = self.points - self.mean
        return np.asarray(offset.T @ offset / self.points.shape[0])

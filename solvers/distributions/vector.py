"""What every law in R^d can do."""

from abc import ABC, abstractmethod

from solvers.arrays import FloatArray


class VectorDistribution(ABC):
    """A probability law in R^d from which particles are drawn."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """The dimension d."""

    @property
    @abstractmethod
    def draws(self) -> int:
        """How many independent uniform numbers one particle needs."""

    @abstractmethod
    def from_uniforms(self, u: FloatArray) -> FloatArray:
        """Return the particles, shape (M, d), that uniform numbers of shape (M, draws) give."""

    @property
    @abstractmethod
    def mean(self) -> FloatArray:
        """The mean, shape (d,)."""

    @property
    @abstractmethod
    def covariance(self) -> FloatArray:
        """The covariance matrix, shape (d, d)."""

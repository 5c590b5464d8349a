"""The law to which the mean-field equation takes another one: f_T = Phi_T # f_0."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from solvers.activations import Activation
from solvers.arrays import FloatArray
from solvers.characteristics import Reference, reference
from solvers.controls import Controls
from solvers.distributions import Distribution
from solvers.errors import InputError


class Transported(Distribution):
    """f_T, exact to the accuracy of :func:`solvers.characteristics.reference`.

    Attributes:
        of: The initial law f_0.
        activation: The activation.
        controls: The controls.
        time: The time T.
    """

    def __init__(
        self, of: Distribution, activation: Activation, controls: Controls, time: float
    ) -> None:
        """Compute the flow.

        Raises:
            InputError: if an argument is not valid.
            NonFiniteError: if the flow blows up.
        """
        if not time >= 0.0:
            raise InputError(f"transported: time = {time} must not be negative")
        self.of = of
        self.activation = activation
        self.controls = controls
        self.time = float(time)

    def __eq__(self, other: object) -> bool:
        """Two are equal if their parts are."""
        return isinstance(other, Transported) and self._parts == other._parts

    def __hash__(self) -> int:
        """Hash the parts."""
        return hash(self._parts)

    @property
    def _parts(self) -> tuple[Distribution, Activation, Controls, float]:
        return self.of, self.activation, self.controls, self.time

    @cached_property
    def exact(self) -> Reference:
        """The flow of the law, tabulated at T."""
        return reference(self.of, self.activation, self.controls, np.array([self.time]))

    def pdf(self, x: ArrayLike) -> FloatArray:
        """Return the density."""
        return self.exact.density(0, x)

    def cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(X <= x)."""
        return self.exact.cdf(0, x)

    def sf(self, x: ArrayLike) -> FloatArray:
        """Return P(X > x) as 1 - cdf: absolute, not relative accuracy in the upper tail."""
        return np.asarray(1.0 - self.exact.cdf(0, x))

    def quantile(self, u: ArrayLike) -> FloatArray:
        """Return Phi_T(Q_0(u))."""
        return self.exact.quantile(0, u)

    def isf(self, q: ArrayLike) -> FloatArray:
        """Return the image of the initial law's."""
        return self.exact.flow(0, self.of.isf(q))

    @property
    def mean(self) -> float:
        """The mean."""
        return self.exact.mean(0)

    @property
    def variance(self) -> float:
        """The variance."""
        return self.exact.variance(0)

    def breakpoints(self) -> FloatArray:
        """Return the images of the initial law's.

        The kink of relu, which the flow may put into the density, is not among them.
        """
        points = self.of.breakpoints()
        return self.exact.flow(0, points) if points.size else points

    @property
    def is_compact(self) -> bool:
        """Whether the initial law's support is bounded."""
        return self.of.is_compact

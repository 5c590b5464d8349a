"""Controls w(t) and b(t) of one layer per time.

A control is a constant, an expression in t (evaluated exactly wherever a method asks for it), or
continuous and piecewise linear on a grid of its own. The points where a control is not smooth are
its knots; every time step ends on a knot (see :mod:`solvers.time_grid`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray, freeze, increasing, vector
from solvers.errors import ControlError
from solvers.expression import Program, evaluate, parse

CHECK_POINTS = 1025
SLACK = 1e-12


class Control(ABC):
    """One scalar function of time."""

    @abstractmethod
    def __call__(self, t: ArrayLike) -> FloatArray:
        """Return the values at the times `t`, of the shape of `t`.

        Raises:
            ControlError: if a value is not finite or a time is outside the control's range.
        """

    @property
    @abstractmethod
    def knots(self) -> FloatArray:
        """The times where the control is not smooth, increasing; empty for a smooth one."""

    def check(self, horizon: float) -> None:
        """Evaluate the control all over [0, horizon].

        Raises:
            ControlError: if it is not finite there.
        """
        self(np.linspace(0.0, horizon, CHECK_POINTS))


@dataclass(frozen=True)
class ConstantControl(Control):
    """The same value at all times."""

    value: float

    def __post_init__(self) -> None:
        """Validate."""
        if not np.isfinite(self.value):
            raise ControlError(f"control value {self.value} is not finite")

    def __call__(self, t: ArrayLike) -> FloatArray:
        """Return the value, once for each time."""
        return np.full(np.shape(t), self.value)

    @property
    def knots(self) -> FloatArray:
        """None."""
        return np.empty(0)


@dataclass(frozen=True)
class ExpressionControl(Control):
    """A formula in t."""

    text: str
    program: Program = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse."""
        object.__setattr__(self, "program", parse(self.text))

    def __call__(self, t: ArrayLike) -> FloatArray:
        """Return the values of the formula."""
        times = np.asarray(t, dtype=np.float64)
        values = evaluate(self.program, times)
        if not np.all(np.isfinite(values)):
            bad = np.flatnonzero(~np.isfinite(values.reshape(-1)))[0]
            at, value = times.reshape(-1)[bad], values.reshape(-1)[bad]
            raise ControlError(f"control {self.text!r} is {value} at t = {at:.12g}")
        return values

    @property
    def knots(self) -> FloatArray:
        """None: a formula is evaluated exactly at every stage."""
        return np.empty(0)


class PiecewiseLinearControl(Control):
    """Continuous and linear between the points of a grid."""

    def __init__(self, times: ArrayLike, values: ArrayLike) -> None:
        """Copy and validate.

        Raises:
            ControlError: if the arrays differ in length, the times do not increase strictly, or a
                number is not finite.
        """
        self.times = freeze(increasing(times, "control times", ControlError))
        self.values = freeze(vector(values, "control values", ControlError))
        if self.times.size != self.values.size:
            message = f"{self.times.size} control times but {self.values.size} values"
            raise ControlError(message)

    def __eq__(self, other: object) -> bool:
        """Two are equal if times and values are."""
        return (
            isinstance(other, PiecewiseLinearControl)
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.values, other.values)
        )

    def __hash__(self) -> int:
        """Hash the values."""
        return hash((self.times.tobytes(), self.values.tobytes()))

    def __call__(self, t: ArrayLike) -> FloatArray:
        """Interpolate."""
        t = np.asarray(t, dtype=np.float64)
        slack = SLACK * (self.times[-1] - self.times[0])
        if np.any(~((t >= self.times[0] - slack) & (t <= self.times[-1] + slack))):
            span = f"[{self.times[0]:.12g}, {self.times[-1]:.12g}]"
            at = _outside(t, self.times)
            raise ControlError(f"control given on {span} is needed at t = {at}")
        return np.asarray(np.interp(t, self.times, self.values))

    @property
    def knots(self) -> FloatArray:
        """The grid."""
        return self.times.copy()


def _outside(t: FloatArray, times: FloatArray) -> str:
    flat = t.reshape(-1)
    bad = flat[~((flat >= times[0]) & (flat <= times[-1]))]
    return f"{bad[np.argmax(np.abs(bad - 0.5 * (times[0] + times[-1])))]:.12g}"


def control_from(spec: object) -> Control:
    """Return the control that a number or an expression describes; a control as it is.

    Raises:
        ControlError: if it is neither.
    """
    if isinstance(spec, Control):
        return spec
    if isinstance(spec, str):
        return ExpressionControl(spec)
    if isinstance(spec, (int, float, np.integer, np.floating)) and not isinstance(spec, bool):
        return ConstantControl(float(spec))
    raise ControlError(f"a control is a number or an expression in t, not {spec!r}")


@dataclass(frozen=True)
class Controls:
    """The pair w(t), b(t)."""

    w: Control
    b: Control

    @classmethod
    def of(cls, w: Control | float | str, b: Control | float | str) -> "Controls":
        """Return the controls that two numbers, expressions or controls describe."""
        return cls(control_from(w), control_from(b))

    @property
    def dimension(self) -> int:
        """The dimension of the space: 1."""
        return 1

    @property
    def knots(self) -> FloatArray:
        """The knots of both, increasing."""
        return np.union1d(self.w.knots, self.b.knots)

    def evaluate(self, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return w and b at the times `t`.

        Raises:
            ControlError: if a value is not finite.
        """
        return self.w(t), self.b(t)

    def check(self, horizon: float) -> None:
        """Evaluate both all over [0, horizon].

        Raises:
            ControlError: if one of them is not finite there.
        """
        for name, control in (("w", self.w), ("b", self.b)):
            try:
                control.check(horizon)
            except ControlError as problem:
                raise ControlError(f"{name}: {problem}") from None

"""Controls in R^d: a matrix w(t) and a vector b(t), entry by entry.

Each entry is a control of its own (a number, a formula in t, or piecewise linear), so the knots are
those of all entries together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import FloatArray
from solvers.controls import Control, Controls, PiecewiseLinearControl, control_from
from solvers.errors import ControlError


@dataclass(frozen=True)
class VectorControls:
    """The pair w(t), a d x d matrix, and b(t), a vector of length d.

    Raises:
        ControlError: if w is not square or b has another length.
    """

    w: tuple[tuple[Control, ...], ...]
    b: tuple[Control, ...]

    def __post_init__(self) -> None:
        """Validate."""
        size = len(self.b)
        if size == 0:
            raise ControlError("b has no entries")
        if len(self.w) != size:
            raise ControlError(f"w has {len(self.w)} row(s), but b has {size} entries")
        for number, row in enumerate(self.w):
            if len(row) != size:
                raise ControlError(f"row {number} of w has {len(row)} entries, not {size}")

    @classmethod
    def of(cls, w: Sequence[Sequence[Any]], b: Sequence[Any]) -> "VectorControls":
        """Return the controls that nested lists of numbers, expressions or controls describe.

        Raises:
            ControlError: if an entry is none of these; it is named, as w[i][j] or b[i].
        """
        rows = [
            tuple(_entry(f"w[{i}][{j}]", spec) for j, spec in enumerate(_entries(f"w[{i}]", row)))
            for i, row in enumerate(_entries("w", w))
        ]
        return cls(
            tuple(rows), tuple(_entry(f"b[{i}]", spec) for i, spec in enumerate(_entries("b", b)))
        )

    @classmethod
    def isotropic(cls, scalars: Controls, dimension: int) -> "VectorControls":
        """Return w I and (b, ..., b) in R^dimension: every component as on the line."""
        zero = control_from(0.0)
        d = range(dimension)
        rows = tuple(tuple(scalars.w if i == j else zero for j in d) for i in d)
        return cls(rows, (scalars.b,) * dimension)

    @classmethod
    def piecewise_linear(cls, time: ArrayLike, w: ArrayLike, b: ArrayLike) -> "VectorControls":
        """Return controls that are linear between the points of one grid.

        Args:
            time: The grid, increasing, shape (n,).
            w: Values of w, shape (n, d, d).
            b: Values of b, shape (n, d).

        Raises:
            ControlError: if the shapes do not fit or a number is not finite.
        """
        w, b = np.asarray(w), np.asarray(b)
        if b.ndim != 2 or w.shape != (*b.shape, b.shape[1]):
            raise ControlError(f"w of shape {w.shape} and b of shape {b.shape} do not fit together")
        d = b.shape[1]
        return cls(
            tuple(
                tuple(PiecewiseLinearControl(time, w[:, i, j]) for j in range(d)) for i in range(d)
            ),
            tuple(PiecewiseLinearControl(time, b[:, i]) for i in range(d)),
        )

    @property
    def dimension(self) -> int:
        """The dimension d."""
        return len(self.b)

    @property
    def knots(self) -> FloatArray:
        """The knots of all entries, increasing."""
        return np.unique(np.concatenate([entry.knots for _, entry in self._entries()]))

    def evaluate(self, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return w and b at the times `t`, of shapes t.shape + (d, d) and t.shape + (d,).

        Raises:
            ControlError: if a value is not finite.
        """
        rows = [np.stack([entry(t) for entry in row], axis=-1) for row in self.w]
        return np.stack(rows, axis=-2), np.stack([entry(t) for entry in self.b], axis=-1)

    def check(self, horizon: float) -> None:
        """Evaluate all entries all over [0, horizon].

        Raises:
            ControlError: if one of them is not finite there.
        """
        for name, entry in self._entries():
            try:
                entry.check(horizon)
            except ControlError as problem:
                raise ControlError(f"{name}: {problem}") from None

    def _entries(self) -> list[tuple[str, Control]]:
        matrix = [
            (f"w[{i}][{j}]", entry) for i, row in enumerate(self.w) for j, entry in enumerate(row)
        ]
        return matrix + [(f"b[{i}]", entry) for i, entry in enumerate(self.b)]


def controls_from(w: object, b: object, dimension: int = 1) -> Controls | VectorControls:
    """Return the controls that two specifications describe: scalars, or a matrix and a vector.

    A 1 x 1 matrix and a vector of one entry are controls on the line.

    Args:
        w: A control, or nested lists of them.
        b: A control, or a list of them.
        dimension: Of the space, in which scalars mean w I and (b, ..., b).

    Raises:
        ControlError: if they are neither, or do not fit together.
    """
    nested = [isinstance(spec, (list, tuple, np.ndarray)) for spec in (w, b)]
    if not any(nested):
        scalars = Controls(_entry("w", w), _entry("b", b))
        return scalars if dimension == 1 else VectorControls.isotropic(scalars, dimension)
    if not all(nested):
        raise ControlError("w and b must both be scalars, or a d x d matrix and a vector")
    found = VectorControls.of(w, b)  # type: ignore[arg-type]
    return Controls(found.w[0][0], found.b[0]) if found.dimension == 1 else found


def _entries(name: str, spec: object) -> list[Any]:
    if not isinstance(spec, (list, tuple, np.ndarray)):
        raise ControlError(f"{name} must be a list, not {spec!r}")
    return list(spec)


def _entry(name: str, spec: object) -> Control:
    try:
        return control_from(spec)
    except ControlError as problem:
        raise ControlError(f"{name}: {problem}") from None

"""Checks of settings."""

import math

from solvers.errors import InputError


def positive(name: str, value: float) -> None:
    """Require a positive finite number.

    Raises:
        InputError: if it is none.
    """
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(f"{name} = {value} must be positive and finite")


def fraction(name: str, value: float) -> None:
    """Require a number strictly between 0 and 1.

    Raises:
        InputError: if it is none.
    """
    if not 0.0 < value < 1.0:
        raise InputError(f"{name} = {value} must lie between 0 and 1")


def not_negative(name: str, value: float) -> None:
    """Require a finite number that is not negative.

    Raises:
        InputError: if it is none.
    """
    if not (math.isfinite(value) and value >= 0.0):
        raise InputError(f"{name} = {value} must not be negative, and must be finite")

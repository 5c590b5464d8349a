"""The sections of a study file as frozen, validated settings.

Each field's description says what is allowed; it is what a user is told when a value is refused.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    model_validator,
)

from solvers.activations import ACTIVATIONS
from solvers.controls import control_from

MAX_SEED = 2**63 - 1


class Settings(BaseModel):
    """Base of every section: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )


def _whole(value: Any) -> Any:
    """Accept 1e4 where a whole number is meant: TOML writes it as a float."""
    if isinstance(value, float) and np.isfinite(value) and value == int(value):
        return int(value)
    return value


def _activation(value: Any) -> str:
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError("unknown activation")
    return value


def _domain(value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("neither 'auto' nor a pair of numbers")
    if any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in value):
        raise ValueError("the ends must be numbers")
    low, high = (float(end) for end in value)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError("the ends must be finite and in ascending order")
    return (low, high)


def _control(value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("neither a number nor an expression in t")
    control_from(value)
    return value if isinstance(value, str) else float(value)


Whole = Annotated[int, BeforeValidator(_whole)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Uniform(Settings):
    """Uniform law on [low, high]."""

    kind: Literal["uniform"]
    low: Finite = Field(description="a finite number")
    high: Finite = Field(description="a finite number above low")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


class Normal(Settings):
    """Normal law by mean and standard deviation."""

    kind: Literal["normal"]
    mean: Finite = Field(description="a finite number")
    std: Positive = Field(description="a positive number")


class Beta(Settings):
    """Beta law with shapes a and b, moved to [low, high]."""

    kind: Literal["beta"]
    a: Positive = Field(description="a positive number")
    b: Positive = Field(description="a positive number")
    low: Finite = Field(0.0, description="a finite number")
    high: Finite = Field(1.0, description="a finite number above low")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


class Samples(Settings):
    """The user's own data: a column of a CSV, Parquet or .npy file."""

    kind: Literal["samples"]
    file: str = Field(min_length=1, description="the path of a .csv, .parquet or .npy file")
    column: str | Whole | None = Field(
        None, description="the name of a column (an index for .npy; may be absent for one column)"
    )


DISTRIBUTIONS: dict[str, type[Settings]] = {
    "uniform": Uniform,
    "normal": Normal,
    "beta": Beta,
    "samples": Samples,
}
Distribution = Annotated[Uniform | Normal | Beta | Samples, Field(discriminator="kind")]


class ControlExpressions(Settings):
    """Controls as numbers or expressions in t."""

    w: Annotated[float | str, PlainValidator(_control)] = Field(
        description="a number or an expression in t"
    )
    b: Annotated[float | str, PlainValidator(_control)] = Field(
        description="a number or an expression in t"
    )


class ControlFile(Settings):
    """Controls on a time grid, from an .npz file with the arrays time, w and b."""

    file: str = Field(min_length=1, description="the path of an .npz file with time, w and b")


def _control_kind(value: Any) -> str:
    keys = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return "file" if "file" in keys else "expressions"


Controls = Annotated[
    Annotated[ControlExpressions, Tag("expressions")] | Annotated[ControlFile, Tag("file")],
    Discriminator(_control_kind),
]


class Header(Settings):
    """Section [study]: what it is called, and what is computed."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="letters, digits, '.', '_' and '-', beginning with a letter or digit",
    )
    seed: Whole = Field(0, ge=0, le=MAX_SEED, description="a whole number from 0 to 2^63 - 1")
    steps: tuple[str, ...] = Field(
        ("limit", "particles"),
        min_length=1,
        strict=False,
        description="a list of steps, each once",
    )


class Problem(Settings):
    """Section [problem]: the mean-field equation (5) of Herty et al. and its data."""

    horizon: Positive = Field(description="a positive number")
    domain: Annotated[
        Literal["auto"] | tuple[float, float],
        PlainValidator(_domain),
        PlainSerializer(lambda value: value if value == "auto" else list(value)),
    ] = Field("auto", description="'auto' or [low, high] with low < high")
    initial: Distribution = Field(description="a distribution: { kind = ..., ... }")
    target: Distribution | None = Field(None, description="a distribution: { kind = ..., ... }")
    loss: Literal["quadratic", "paired", "w2", "energy", "l2"] = Field(
        "quadratic", description="quadratic, paired, w2, energy or l2"
    )
    controls: Controls | None = Field(
        None, description="{ w = ..., b = ... } or { file = 'controls.npz' }"
    )
    activation: Annotated[str, PlainValidator(_activation)] | None = Field(
        None, description=", ".join(ACTIVATIONS)
    )
    gamma: Annotated[float, Field(ge=0)] | None = Field(None, description="a number, 0 or more")
    gamma_w: Annotated[float, Field(ge=0)] | None = Field(None, description="a number, 0 or more")
    gamma_b: Annotated[float, Field(ge=0)] | None = Field(None, description="a number, 0 or more")


class Numerics(Settings):
    """Section [numerics]: discretisation."""

    time_step: Positive = Field(1e-2, description="a positive number")
    snapshots: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="ascending multiples of time_step from 0 to horizon",
    )
    sampling: Literal["iid", "quantile"] = Field("iid", description="iid or quantile")
    integrator: Literal["euler", "ssprk3", "rk4"] = Field("rk4", description="euler, ssprk3 or rk4")
    point_timeout: Positive = Field(600.0, description="a positive number of seconds")
    cells: Annotated[int, BeforeValidator(_whole), Field(ge=8, le=10**7)] | None = Field(
        None, description="a whole number from 8 to 10^7"
    )
    particles: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=10**9)] | None = Field(
        None, description="a whole number from 1 to 10^9"
    )
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_SEED)] | None = Field(
        None, description="a whole number from 0 to 2^63 - 1"
    )


class Training(Settings):
    """Section [training]: how controls are found where they are not given."""

    discretization: Literal["eulerian", "lagrangian"] = Field(
        "eulerian", description="eulerian or lagrangian"
    )
    optimizer: Literal["armijo", "lbfgs"] = Field("armijo", description="armijo or lbfgs")
    tolerance: Positive = Field(1e-4, description="a positive number")
    max_iterations: Annotated[int, BeforeValidator(_whole), Field(ge=1)] = Field(
        5000, description="a whole number, 1 or more"
    )
    intervals: Annotated[int, BeforeValidator(_whole), Field(ge=1)] = Field(
        100, description="a whole number, 1 or more"
    )
    starts: Annotated[int, BeforeValidator(_whole), Field(ge=1)] = Field(
        1, description="a whole number, 1 or more"
    )
    cells: Annotated[int, BeforeValidator(_whole), Field(ge=8)] = Field(
        200, description="a whole number, 8 or more"
    )
    particles: Annotated[int, BeforeValidator(_whole), Field(ge=0)] = Field(
        0, description="a whole number, 0 or more"
    )


SECTIONS: dict[str, type[Settings]] = {
    "study": Header,
    "problem": Problem,
    "numerics": Numerics,
    "training": Training,
}

"""The sections of a study file as frozen, validated settings.

Each field's title says what it means, its description what is allowed; the latter is what a user is
told when a value is refused. docs/study-reference.md is made of both.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, Union

import numpy as np
from pydantic import (
    AfterValidator,
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
from solvers.vector_controls import controls_from

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


def _entries(value: Any) -> Any:
    """Numbers and expressions as they are, lists of them (of lists) as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(_entries(entry) for entry in value)
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
    """The user's own data: one or more columns of a CSV, Parquet or .npy file."""

    kind: Literal["samples"]
    file: str = Field(min_length=1, description="the path of a .csv, .parquet or .npy file")
    column: str | Whole | None = Field(
        None, description="the name of a column (an index for .npy; may be absent for one column)"
    )
    columns: tuple[str | Whole, ...] | None = Field(
        None,
        min_length=2,
        strict=False,
        exclude_if=lambda columns: columns is None,
        description="the names (indices for .npy) of two or more columns: a law in R^d",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.column is not None and self.columns is not None:
            raise ValueError("both column and columns are given; keep one")
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError("a column occurs twice")
        return self


class Mixture(Settings):
    """A mixture of laws on the line; the weights are divided by their sum."""

    kind: Literal["mixture"]
    weights: tuple[Positive, ...] = Field(
        min_length=1, strict=False, description="a list of positive numbers, one per component"
    )
    components: tuple["Law", ...] = Field(
        min_length=1, strict=False, description="a list of distributions on the line"
    )

    @model_validator(mode="after")
    def _matching(self) -> Self:
        if len(self.weights) != len(self.components):
            raise ValueError(f"{len(self.weights)} weights for {len(self.components)} components")
        return self


class Affine(Settings):
    """The law of scale · X + shift."""

    kind: Literal["affine"]
    of: "Law" = Field(description="a distribution on the line: { kind = ..., ... }")
    scale: Finite = Field(description="a finite number, not 0")
    shift: Finite = Field(0.0, description="a finite number")

    @model_validator(mode="after")
    def _invertible(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale = 0 makes an atom; the limit needs a density")
        return self


class Transported(Settings):
    """The law to which given controls take another one in a time, by the mean-field equation."""

    kind: Literal["transported"]
    of: "Law" = Field(description="a distribution on the line: { kind = ..., ... }")
    activation: Annotated[str, PlainValidator(_activation)] = Field(
        description=", ".join(ACTIVATIONS)
    )
    controls: "Controls" = Field(description="{ w = ..., b = ... } or { file = 'controls.npz' }")
    time: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="a number, 0 or more"
    )


class Product(Settings):
    """Independent components: a law in R^d."""

    kind: Literal["product"]
    components: tuple["Law", ...] = Field(
        min_length=2, strict=False, description="a list of two or more distributions on the line"
    )


class Atoms(Settings):
    """Finitely many point masses on the line; as a target only."""

    kind: Literal["atoms"]
    points: tuple[Finite, ...] = Field(
        min_length=1, strict=False, description="a list of finite numbers"
    )
    weights: tuple[Positive, ...] = Field(
        min_length=1, strict=False, description="a list of positive numbers, one per point"
    )

    @model_validator(mode="after")
    def _matching(self) -> Self:
        if len(self.weights) != len(self.points):
            raise ValueError(f"{len(self.weights)} weights for {len(self.points)} points")
        return self


def _on_the_line(value: Any) -> Any:
    if isinstance(value, Samples) and value.columns is not None:
        raise ValueError("several columns are a law in R^d; here one on the line is needed")
    return value


Law = Annotated[
    Union[Uniform, Normal, Beta, Samples, "Mixture", "Affine", "Transported"],
    Field(discriminator="kind"),
    AfterValidator(_on_the_line),
]
InitialLaw = Annotated[
    Uniform | Normal | Beta | Samples | Mixture | Affine | Transported | Product,
    Field(discriminator="kind"),
]
TargetLaw = Annotated[
    Uniform | Normal | Beta | Samples | Mixture | Affine | Transported | Product | Atoms,
    Field(discriminator="kind"),
]

DISTRIBUTIONS: dict[str, type[Settings]] = {
    "uniform": Uniform,
    "normal": Normal,
    "beta": Beta,
    "mixture": Mixture,
    "affine": Affine,
    "transported": Transported,
    "samples": Samples,
    "product": Product,
    "atoms": Atoms,
}


def dimension_of(law: Any) -> int:
    """The dimension of the space that a law lives on."""
    if isinstance(law, Product):
        return len(law.components)
    return len(law.columns) if isinstance(law, Samples) and law.columns else 1


_ENTRY = "a number or an expression in t (in R^d: nested lists of them)"


class ControlExpressions(Settings):
    """Controls as numbers or expressions in t; in R^d a d × d matrix w and a vector b of them."""

    w: Annotated[Any, PlainValidator(_entries)] = Field(description=_ENTRY)
    b: Annotated[Any, PlainValidator(_entries)] = Field(description=_ENTRY)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        controls_from(self.w, self.b)
        return self


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


for _model in (Mixture, Affine, Transported, Product):
    _model.model_rebuild()


class Header(Settings):
    """Section [study]: what it is called, and what is computed."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="letters, digits, '.', '_' and '-', beginning with a letter or digit",
        title="what it is called; its folder is runs/NAME",
    )
    seed: Whole = Field(
        0,
        ge=0,
        le=MAX_SEED,
        description="a whole number from 0 to 2^63 - 1",
        title="root of every random stream",
    )
    steps: tuple[str, ...] = Field(
        ("limit", "particles"),
        min_length=1,
        strict=False,
        description="a list of steps, each once: train, limit, particles, dependence, or one of "
        "your own as 'module:function'",
        title="what is computed",
    )
    modules: str | None = Field(
        None,
        min_length=1,
        description="the path of a folder; without it that of the study file",
        title="where the modules of steps of your own are looked for",
    )


class Problem(Settings):
    """Section [problem]: the mean-field equation (5) of Herty et al. and its data."""

    horizon: Positive = Field(description="a positive number", title="final time T")
    domain: Annotated[
        Literal["auto"] | tuple[float, float],
        PlainValidator(_domain),
        PlainSerializer(lambda value: value if value == "auto" else list(value)),
    ] = Field(
        "auto",
        description="'auto' or [low, high] with low < high",
        title="interval of the PDE grid; 'auto' holds all mass",
    )
    initial: InitialLaw = Field(
        description="a distribution: { kind = ..., ... }", title="initial law f_0"
    )
    target: TargetLaw | None = Field(
        None, description="a distribution: { kind = ..., ... }", title="law to be reached"
    )
    loss: Literal["quadratic", "paired", "w2", "energy", "l2"] = Field(
        "quadratic",
        description="quadratic, paired, w2, energy or l2",
        title="distance of the final law to the target, for train",
    )
    controls: Controls | None = Field(
        None,
        description="{ w = ..., b = ... } or { file = 'controls.npz' }",
        title="w(t) and b(t); absent where they are trained",
    )
    perturbed: Controls | None = Field(
        None,
        description="{ w = ..., b = ... } or { file = 'controls.npz' }",
        title="other controls, for the step dependence",
    )
    activation: Annotated[str, PlainValidator(_activation)] | None = Field(
        None, description=", ".join(ACTIVATIONS), title="σ"
    )
    gamma: Annotated[float, Field(ge=0)] | None = Field(
        None, description="a number, 0 or more", title="weight of the control cost, for train"
    )
    gamma_w: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="a number, 0 or more",
        title="weight of |w|² in it, with gamma_b in place of gamma",
    )
    gamma_b: Annotated[float, Field(ge=0)] | None = Field(
        None, description="a number, 0 or more", title="weight of |b|² in it"
    )


class Numerics(Settings):
    """Section [numerics]: discretisation."""

    time_step: Positive = Field(
        1e-2,
        description="a positive number",
        title="time step of the particles; the PDE divides it as CFL asks",
    )
    snapshots: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None,
        min_length=1,
        strict=False,
        description="ascending multiples of time_step from 0 to horizon",
        title="output times; 0 and the horizon without it",
    )
    sampling: Literal["iid", "quantile", "sobol", "iid-sorted"] = Field(
        "iid",
        description="iid, quantile, sobol or iid-sorted",
        title="how particles are drawn from the initial law",
    )
    integrator: Literal["euler", "ssprk3", "rk4"] = Field(
        "rk4",
        description="euler, ssprk3 or rk4",
        title="time integrator of the particles and of lagrangian training",
    )
    push: Literal["direct", "flow-map"] = Field(
        "direct",
        description="direct or flow-map",
        title="how particles on the line move: by every step, or through the tabulated flow map",
    )
    device: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="cpu or gpu",
        title="what moves particles on the line; gpu needs a CUDA device and meanfield[gpu]",
    )
    limiter: Literal["none", "positivity"] = Field(
        "none", description="none or positivity", title="limiter of the PDE scheme"
    )
    exact_particles: Whole = Field(
        2000,
        ge=0,
        le=20000,
        description="a whole number from 0 to 20000",
        title="the most particles whose exact W1 is computed in R^d",
    )
    projections: Whole = Field(
        256,
        ge=2,
        le=10**6,
        description="a whole number from 2 to 10^6",
        title="number of directions of the sliced W1 in R^d",
    )
    point_timeout: Positive = Field(
        600.0, description="a positive number of seconds", title="time after which a point fails"
    )
    cells: Annotated[int, BeforeValidator(_whole), Field(ge=8, le=10**7)] | None = Field(
        None, description="a whole number from 8 to 10^7", title="number of cells of the PDE grid"
    )
    particles: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=10**9)] | None = Field(
        None, description="a whole number from 1 to 10^9", title="number of particles M"
    )
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_SEED)] | None = Field(
        None,
        description="a whole number from 0 to 2^63 - 1",
        title="number of the sample, in the study's random stream",
    )


def _whole_from(low: int, high: int, default: int, title: str) -> Any:
    """A whole number from `low` to `high`."""
    text = f"a whole number from {low} to {high}"
    return Field(default, ge=low, le=high, description=text, title=title)


class Training(Settings):
    """Section [training]: how controls are found where they are not given."""

    discretization: Literal["eulerian", "lagrangian"] = Field(
        "eulerian",
        description="eulerian or lagrangian",
        title="finite volumes, or nodes with the exact discrete gradient",
    )
    optimizer: Literal["armijo", "lbfgs"] = Field(
        "armijo", description="armijo or lbfgs", title="the published steepest descent, or L-BFGS"
    )
    tolerance: Positive = Field(
        1e-4,
        description="a positive number",
        title="bound on the controls' relative change (armijo) or the scaled gradient (lbfgs)",
    )
    max_iterations: Whole = _whole_from(
        1, 10**6, 5000, title="the most iterations; beyond them a training is not converged"
    )
    intervals: Whole = _whole_from(
        1, 10**5, 100, title="number of intervals of the controls' time grid"
    )
    starts: Whole = _whole_from(
        1, 10**4, 1, title="number of starts, random after the first; the best is kept"
    )
    start: Controls | None = Field(
        None,
        description="{ w = ..., b = ... } or { file = 'controls.npz' }; 0 without it",
        title="the first start",
    )
    warm_start: bool = Field(
        False,
        description="true or false",
        title="whether to start at the optimum of ten times the γ, down from about 1",
    )
    cells: Whole = _whole_from(8, 10**7, 200, title="number of cells of eulerian training")
    particles: Whole = _whole_from(
        0, 10**9, 0, title="samples to train on; 0 trains on the law itself"
    )
    steps_per_interval: Whole = _whole_from(
        1, 10**4, 1, title="time steps in each interval, for lagrangian"
    )
    pinned: bool | None = Field(
        None,
        description="true or false; without it true for armijo and false for lbfgs",
        title="whether w(0) = b(0) = 0 is held",
    )
    initial_step: Positive = Field(
        10.0, description="a positive number", title="first step of the line search of armijo"
    )
    armijo_constant: Annotated[float, Field(gt=0, lt=1)] = Field(
        1e-4,
        description="a number between 0 and 1",
        title="constant of the sufficient decrease of armijo",
    )
    max_backtracking: Whole = _whole_from(
        0, 1000, 10, title="the most halvings of the step of armijo"
    )


class Analysis(Settings):
    """Section [analysis]: what the results are to be good for; it changes no result."""

    rate_half_width: Positive | None = Field(
        None,
        description="a positive number: half the width of the interval of every rate",
        title="seeds are doubled until every interval of a rate is as narrow",
    )
    max_seeds: Whole = _whole_from(3, 10**6, 512, title="the most seeds that this may take")


SECTIONS: dict[str, type[Settings]] = {
    "study": Header,
    "problem": Problem,
    "numerics": Numerics,
    "training": Training,
    "analysis": Analysis,
}


def default_of(key: str) -> Any:
    """The default of a setting by its dotted key; None where it has none.

    A store made before a setting existed is one with its default.
    """
    section, _, name = key.partition(".")
    field = SECTIONS[section].model_fields.get(name) if section in SECTIONS else None
    return None if field is None or field.is_required() else field.default

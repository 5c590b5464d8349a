"""One point of a grid as the solvers want it: laws, controls, times and numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from pipeline.settings import Training
from solvers.activations import Activation, activation
from solvers.control_files import read_controls
from solvers.controls import Controls
from solvers.distributions import (
    Affine,
    Beta,
    Distribution,
    Mixture,
    Normal,
    Product,
    Samples,
    SampleVectors,
    Uniform,
    VectorDistribution,
    read_column,
    read_columns,
)
from solvers.errors import DistributionError
from solvers.transported import Transported
from solvers.vector_controls import VectorControls, controls_from
from solvers.wasserstein import PointMasses


@dataclass(frozen=True, eq=False)
class Problem:
    """What many points share: the continuous problem on its time grid.

    Attributes:
        horizon: final time T.
        domain: the spatial domain, or "auto".
        initial: the initial law f_0, a Distribution, or a VectorDistribution in R^d.
        controls: w(t) and b(t), Controls, or VectorControls in R^d.
        perturbed: other controls, to compare with; None unless the study gives some.
        target: the law to be reached, a Distribution or PointMasses on the line, or a
            VectorDistribution; None unless the study gives one.
        pairs: the rows of initial and of target where both are samples.
        start: the controls from which training starts; None for 0.
        times: the time grid, (steps + 1,), ending on every knot of the controls.
        snapshot_indices: positions of the snapshots in ``times``.
    """

    horizon: float
    domain: Literal["auto"] | tuple[float, float]
    initial: Any
    controls: Any
    perturbed: Any
    target: Any
    pairs: tuple[np.ndarray, np.ndarray] | None
    start: Any
    times: np.ndarray
    snapshot_indices: np.ndarray

    @property
    def snapshots(self) -> np.ndarray:
        """The snapshot times."""
        return np.asarray(self.times[self.snapshot_indices])


@dataclass(frozen=True, eq=False)
class Case:
    """One point: a shared :class:`Problem` and the settings that vary from point to point.

    Numbers of axes that the asking step does not use are 0. ``gammas`` are the weights of w and b
    in the control cost.
    """

    problem: Problem
    study_seed: int
    activation: Activation
    cells: int
    particles: int
    seed: int
    sampling: str
    integrator: str
    push: Literal["direct", "flow-map"]
    device: Literal["cpu", "gpu"]
    limiter: Literal["none", "positivity"]
    exact_particles: int
    projections: int
    gammas: tuple[float, float]
    loss: str
    training: Training


def load_law(spec: Any, folder: Path) -> Distribution | VectorDistribution | PointMasses:
    """Build a law from its table.

    Raises:
        DistributionError: if the numbers or the data file are no law.
    """
    table = _table(spec)
    kind = table.pop("kind")
    if kind == "atoms":
        return _atoms(**table)
    if kind == "product":
        return Product([load_distribution(component, folder) for component in table["components"]])
    if kind == "samples" and table.get("columns"):
        path = folder / table["file"]
        return _sample_vectors(str(path), tuple(table["columns"]), _stamp(path))
    return load_distribution(spec, folder)


def load_pairs(initial: Any, target: Any, folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The rows of two samples as they stand in their files; None where one is none.

    Raises:
        DistributionError: if a file holds no numbers.
    """
    tables = [_table(spec) for spec in (initial, target) if spec is not None]
    if len(tables) < 2 or any(table["kind"] != "samples" for table in tables):
        return None
    first, second = (_rows(table, folder) for table in tables)
    return first, second


def _rows(table: Mapping[str, Any], folder: Path) -> np.ndarray:
    if table.get("columns"):
        return read_columns(folder / table["file"], table["columns"])
    return read_column(folder / table["file"], table["column"])


def load_distribution(spec: Any, folder: Path) -> Distribution:
    """Build a law on the line from its table.

    Raises:
        DistributionError: if the numbers or the data file are no law.
    """
    table = _table(spec)
    kind = table.pop("kind")
    if kind == "samples":
        path = folder / table["file"]
        return _samples(str(path), table.get("column"), _stamp(path))
    if kind == "mixture":
        components = [load_distribution(component, folder) for component in table["components"]]
        return Mixture(table["weights"], components)
    if kind == "affine":
        return Affine(load_distribution(table["of"], folder), table["scale"], table["shift"])
    if kind == "transported":
        controls = load_controls(table["controls"], folder, table["time"])
        if not isinstance(controls, Controls):
            raise DistributionError("transported: the controls must be those of the line")
        law = load_distribution(table["of"], folder)
        return Transported(law, activation(table["activation"]), controls, table["time"])
    laws: dict[str, Callable[..., Distribution]] = {
        "uniform": Uniform,
        "normal": Normal,
        "beta": Beta,
    }
    return laws[kind](**table)


def load_controls(
    spec: Any, folder: Path, horizon: float, dimension: int = 1
) -> Controls | VectorControls:
    """Build the controls from their table, and check them on [0, horizon].

    Args:
        spec: the table.
        folder: where relative paths of data files begin.
        horizon: the end of the time interval.
        dimension: of the space, in which a number or an expression w means w I, and b (b, ..., b).

    Raises:
        ControlError: if an expression or a file is no pair of finite controls there.
    """
    table = _table(spec)
    if "file" in table:
        return read_controls(folder / table["file"], horizon)
    controls = controls_from(table["w"], table["b"], dimension)
    controls.check(horizon)
    return controls


def _table(spec: Any) -> dict[str, Any]:
    if isinstance(spec, pydantic.BaseModel):
        return spec.model_dump()
    if isinstance(spec, Mapping):
        return dict(spec)
    raise TypeError(f"no table: {spec!r}")


def _stamp(path: Path) -> tuple[int, int]:
    """Change of a file since it was last read, for the cache."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def _atoms(points: Sequence[float], weights: Sequence[float]) -> PointMasses:
    return PointMasses(points, np.array(weights) / math.fsum(weights))


@lru_cache(maxsize=16)
def _sample_vectors(
    path: str, columns: tuple[str | int, ...], _stamp: tuple[int, int]
) -> SampleVectors:
    return SampleVectors(read_columns(path, columns))


@lru_cache(maxsize=16)
def _samples(path: str, column: str | int | None, _stamp: tuple[int, int]) -> Samples:
    return Samples(read_column(path, column))

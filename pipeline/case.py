"""One point of a grid as the solvers want it: laws, controls, times and numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from solvers.activations import Activation
from solvers.controls import Controls, control_from, read_controls
from solvers.distributions import Beta, Distribution, Normal, Samples, Uniform, read_column


@dataclass(frozen=True, eq=False)
class Problem:
    """What many points share: the continuous problem on its time grid.

    Attributes:
        horizon: final time T.
        domain: the spatial domain, or "auto".
        initial: the initial law f_0.
        controls: w(t) and b(t).
        times: the time grid, (steps + 1,), ending on every knot of the controls.
        snapshot_indices: positions of the snapshots in ``times``.
    """

    horizon: float
    domain: Literal["auto"] | tuple[float, float]
    initial: Distribution
    controls: Controls
    times: np.ndarray
    snapshot_indices: np.ndarray

    @property
    def snapshots(self) -> np.ndarray:
        """The snapshot times."""
        return np.asarray(self.times[self.snapshot_indices])


@dataclass(frozen=True, eq=False)
class Case:
    """One point: a shared :class:`Problem` and the settings that vary from point to point.

    Numbers of axes that the asking step does not use are 0.
    """

    problem: Problem
    study_seed: int
    activation: Activation
    cells: int
    particles: int
    seed: int
    sampling: str
    integrator: str
    timeout: float


def load_distribution(spec: Any, folder: Path) -> Distribution:
    """Build a law from its table.

    Raises:
        DistributionError: if the numbers or the data file are no law.
    """
    table = _table(spec)
    kind = table.pop("kind")
    if kind == "samples":
        path = folder / table["file"]
        return _samples(str(path), table.get("column"), _stamp(path))
    laws: dict[str, Callable[..., Distribution]] = {
        "uniform": Uniform,
        "normal": Normal,
        "beta": Beta,
    }
    return laws[kind](**table)


def load_controls(spec: Any, folder: Path, horizon: float) -> Controls:
    """Build the controls from their table, and check them on [0, horizon].

    Raises:
        ControlError: if an expression or a file is no pair of finite controls there.
    """
    table = _table(spec)
    if "file" in table:
        return read_controls(folder / table["file"], horizon)
    controls = Controls(control_from(table["w"]), control_from(table["b"]))
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


@lru_cache(maxsize=16)
def _samples(path: str, column: str | int | None, _stamp: tuple[int, int]) -> Samples:
    return Samples(read_column(path, column))

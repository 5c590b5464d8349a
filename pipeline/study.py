"""A study: what to compute, read from a TOML file or given as tables, and validated as a whole."""

import functools
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from pipeline import settings
from pipeline.analysis_tables import ANALYSIS
from pipeline.axes import ORDER, Axis, Value, digest, label, map_files, read_axes, section_of
from pipeline.case import Case, Problem, load_controls, load_law
from pipeline.errors import StudyError
from pipeline.steps import STEPS
from pipeline.steps.base import Step, Traits
from pipeline.validation import nearest, show, validate
from solvers import NUMERICS_VERSION
from solvers.activations import activation
from solvers.errors import InputError, MeanfieldError
from solvers.sampling import VECTOR_SAMPLINGS
from solvers.time_grid import time_grid

if TYPE_CHECKING:
    import xarray as xr

TABLES = ("study", "problem", "axes", "numerics", "training")


class Study:
    """What to compute: a problem, its discretisation, and the axes over which both vary.

    The arguments are the tables of a study file, as plain dictionaries; a study given this way and
    the same one read by :meth:`load` are equal in every respect.

    Args:
        study: name, seed and steps.
        problem: the mean-field problem.
        axes: what varies, and over which values.
        numerics: the discretisation.
        training: how controls are found (only where the step train is in use).
        folder: where relative paths of data files begin.
        where: what messages call this study.

    Raises:
        StudyError: for anything unknown, missing or out of range, in one line.
    """

    def __init__(
        self,
        study: Mapping[str, Any],
        problem: Mapping[str, Any],
        axes: Mapping[str, Any] | None = None,
        numerics: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        *,
        folder: str | Path = ".",
        where: str = "study",
    ) -> None:
        self.where = where
        self.folder = Path(folder).resolve()
        self.header = validate(settings.Header, study, where, "study")
        self._check_steps()
        self.axes = read_axes({} if axes is None else axes, where, self.folder)
        varying = {key for axis in self.axes for key in axis.keys}
        self.problem = validate(
            settings.Problem,
            _stand_in(problem, varying, self.axes, "problem", where),
            where,
            "problem",
        )
        self.numerics = validate(
            settings.Numerics,
            _stand_in({} if numerics is None else numerics, varying, self.axes, "numerics", where),
            where,
            "numerics",
        )
        self.training = validate(
            settings.Training, {} if training is None else training, where, "training"
        )
        self.dimension = self._dimension()
        self.steps = self._steps()
        self._check_dimension()
        self._check_zip_names()
        self.axes = self._complete_axes()
        self.snapshots = self._snapshots()
        self._check_problems()

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> "Study":
        """Read a study file.

        Args:
            path: a TOML file.
            overrides: settings that replace the file's, as ``section.key=value`` with a TOML value.

        Raises:
            StudyError: if the file cannot be read or says something that is not allowed.
        """
        path = Path(path)
        try:
            return cls._read(path, overrides)
        except MeanfieldError:
            raise
        except (ArithmeticError, ValueError, TypeError, OSError, RecursionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StudyError(f"{path}: not a study: {reason[:300]}") from None

    @classmethod
    def _read(cls, path: Path, overrides: Sequence[str]) -> "Study":
        document = _read_toml(path)
        for override in overrides:
            _apply(document, override)
        for name in document:
            if name not in TABLES:
                raise StudyError(f"{path}: unknown table [{name}]; {nearest(name, TABLES)}")
        for name in ("study", "problem"):
            if name not in document:
                raise StudyError(f"{path}: missing table [{name}]")
        return cls(**document, folder=path.parent, where=str(path))

    @property
    def name(self) -> str:
        """The study's name, which is also the name of its run folder."""
        return self.header.name

    def run(self, store: str | Path | None = None, workers: int = 1) -> "xr.DataTree":
        """Compute what the store lacks, analyse, and return the whole store.

        Args:
            store: the path of a Zarr store; ``runs/<name>/data.zarr`` by default.
            workers: 1 computes in this process, more starts so many Dask workers (then the
                calling script needs the guard ``if __name__ == "__main__"``).

        Raises:
            StoreError: if the store cannot be used, or belongs to another study.
        """
        from pipeline.run import run_study

        return run_study(self, store, workers)

    def step(self, name: str) -> Step:
        """The step of that name, which the study must have."""
        return next(step for step in self.steps if step.name == name)

    def axis(self, key: str) -> Axis | None:
        """The axis that varies a key, if one does."""
        return next((axis for axis in self.axes if key in axis.keys), None)

    def step_axes(self, step: Step, *others: Step) -> tuple[Axis, ...]:
        """The axes that a step uses, in the order of its dimensions."""
        keys = set(step.keys).union(*(other.keys for other in others))
        return tuple(axis for axis in self.axes if keys.intersection(axis.keys))

    def document(self) -> dict[str, Any]:
        """The study with every default and every axis value written out, as TOML tables."""
        varying = {key for axis in self.axes for key in axis.keys}
        plain: dict[str, Any] = {
            axis.name: [_plain(value) for (value,) in axis.values]
            for axis in self.axes
            if not axis.zipped
        }
        zipped = [
            {"name": axis.name}
            | {k: [_plain(v[i]) for v in axis.values] for i, k in enumerate(axis.keys)}
            for axis in self.axes
            if axis.zipped
        ]
        return {
            "study": _dump(self.header, set()),
            "problem": self._absolute(_dump(self.problem, varying)),
            "numerics": _dump(self.numerics, varying) | {"snapshots": list(self.snapshots)},
            "training": _dump(self.training, set()),
            "axes": plain | ({"zip": zipped} if zipped else {}),
        }

    def toml(self) -> str:
        """The resolved study as a TOML file."""
        return tomli_w.dumps(self.document())

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two studies one: all that determines results, axis values apart.

        A flat dictionary from the dotted key to its value, with the hashes of the input files in
        place of their paths, so that a store can name the key in which another study differs.
        """
        varying = {key for axis in self.axes for key in axis.keys}
        sections = {
            "problem": _dump(self.problem, varying),
            "numerics": _dump(self.numerics, varying | {"point_timeout"})
            | {"snapshots": list(self.snapshots)},
        }
        flat = {
            f"{section}.{k}": v for section, table in sections.items() for k, v in table.items()
        }
        flat["study.seed"] = self.header.seed
        flat["study.steps"] = list(self.header.steps)
        flat["dimensions"] = {axis.name: list(axis.keys) for axis in self.axes}
        flat["numerics_version"] = NUMERICS_VERSION
        return {key: self._hashed(value) for key, value in sorted(flat.items())}

    @functools.cached_property
    def identity_hash(self) -> str:
        """A digest of :attr:`identity`."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def values_at(self, axes: Sequence[Axis], index: Sequence[int]) -> dict[str, Value]:
        """The keys that vary, and their values at one position of some axes."""
        return {
            key: value
            for axis, i in zip(axes, index, strict=True)
            for key, value in zip(axis.keys, axis.values[i], strict=True)
        }

    def case(self, values: Mapping[str, Value]) -> Case:
        """Everything that a solver needs at one point.

        Args:
            values: the keys that vary and their values; keys of axes that the caller's step does
                not use may be absent.
        """
        problem = self._problem(values)
        return Case(
            problem=problem,
            study_seed=self.header.seed,
            activation=activation(values["activation"]),
            cells=values.get("cells", 0),
            particles=values.get("particles", 0),
            seed=values.get("seed", 0),
            sampling=values.get("sampling", self.numerics.sampling),
            integrator=values.get("integrator", self.numerics.integrator),
            limiter=values.get("limiter", self.numerics.limiter),
            timeout=self.numerics.point_timeout,
        )

    def _problem(self, values: Mapping[str, Value]) -> Problem:
        """The part of a case that many points share; cached, because it may read files."""
        shared = {key: value for key, value in values.items() if key in _SHARED}
        name = json.dumps({key: label(value) for key, value in shared.items()}, sort_keys=True)
        if name not in self._problems:
            self._problems[name] = self._build_problem(shared)
        return self._problems[name]

    @functools.cached_property
    def _problems(self) -> dict[str, Problem]:
        return {}

    def _build_problem(self, chosen: Mapping[str, Value]) -> Problem:
        def setting(key: str) -> Any:
            return chosen.get(key, getattr(self.problem, key))

        horizon = setting("horizon")
        time_step = chosen.get("time_step", self.numerics.time_step)
        controls = self._load("controls", load_controls, setting("controls"), horizon)
        try:
            times, indices = time_grid(horizon, time_step, controls.knots, self.snapshots)
        except InputError as error:
            raise StudyError(f"{self.where}: {error}") from None
        if controls.dimension != self.dimension:
            raise StudyError(
                f"{self.where}: problem.controls are for R^{controls.dimension}, but "
                f"problem.initial is a law in R^{self.dimension}"
            )
        return Problem(
            horizon=horizon,
            domain=setting("domain"),
            initial=self._load("initial", load_law, setting("initial")),
            controls=controls,
            perturbed=self._load("perturbed", load_controls, setting("perturbed"), horizon),
            target=self._load("target", load_law, setting("target")),
            times=times,
            snapshot_indices=indices,
        )

    def _load(self, key: str, load: Callable[..., Any], spec: Any, *more: Any) -> Any:
        """Build what a key of the problem describes; None where it is not given."""
        try:
            return None if spec is None else load(spec, self.folder, *more)
        except InputError as error:
            raise StudyError(f"{self.where}: problem.{key}: {error}") from None

    def _dimension(self) -> int:
        """The dimension of the space, that of all initial laws."""
        axis = self.axis("initial")
        laws = [self.problem.initial] if axis is None else axis.settings("initial")
        found = {settings.dimension_of(law) for law in laws}
        if len(found) > 1:
            raise StudyError(
                f"{self.where}: axes.initial: laws in spaces of different dimensions, "
                f"{', '.join(f'R^{d}' for d in sorted(found))}"
            )
        return found.pop()

    def _check_dimension(self) -> None:
        """In R^d not every step and not every sampling is at hand."""
        for step in self.steps:
            if self.dimension > step.max_dimension:
                raise StudyError(
                    f"{self.where}: study.steps: the step '{step.name}' works on the line; "
                    f"problem.initial is a law in R^{self.dimension}"
                )
        axis = self.axis("sampling")
        chosen = [self.numerics.sampling] if axis is None else axis.settings("sampling")
        for sampling in chosen:
            if self.dimension > 1 and sampling not in VECTOR_SAMPLINGS:
                raise StudyError(
                    f"{self.where}: numerics.sampling = '{sampling}' works on the line; allowed "
                    f"in R^{self.dimension}: {', '.join(VECTOR_SAMPLINGS)}"
                )

    def _check_steps(self) -> None:
        names = self.header.steps
        for name in names:
            if name not in STEPS:
                raise StudyError(
                    f"{self.where}: study.steps: unknown step '{name}'; {nearest(name, STEPS)}"
                )
        if len(set(names)) != len(names):
            raise StudyError(f"{self.where}: study.steps = {list(names)}: a step occurs twice")

    def _steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they run, as this study needs them."""
        names = self.header.steps
        target = self.axis("target") is not None or self.problem.target is not None
        traits = Traits(names, self.dimension, target=target and self.dimension == 1)
        return tuple(make(traits) for name, make in STEPS.items() if name in names)

    def _check_zip_names(self) -> None:
        """A zipped axis must not hide a variable of the store."""
        tables = [table for step in self.steps for table in step.tables]
        taken = {variable.name for table in tables for variable in table.variables}
        taken |= {variable.name for table in ANALYSIS for variable in table.variables}
        taken |= {table.status for table in tables} | set(STEPS) | {"zip", "analysis"}
        for axis in self.axes:
            if axis.zipped and (axis.name in taken or axis.name.startswith("cells_")):
                raise StudyError(
                    f"{self.where}: axes.zip: the name '{axis.name}' is taken; choose another"
                )

    def _complete_axes(self) -> tuple[Axis, ...]:
        """Turn the single values of the standing dimensions into axes of length one."""
        used = {key for step in self.steps for key in step.keys}
        varying = {key: axis for axis in self.axes for key in axis.keys}
        for axis in self.axes:
            for key in axis.keys:
                if key not in used:
                    raise StudyError(
                        f"{self.where}: axes.{key}: no step of this study depends on it "
                        f"(steps: {', '.join(self.header.steps)})"
                    )
        axes = list(self.axes)
        single = [key for key in ORDER if key in used and key not in varying]
        axes += [Axis(key, (key,), ((self._single(key),),)) for key in single]
        rank = {key: i for i, key in enumerate(ORDER)}
        return tuple(sorted(axes, key=lambda a: min(rank.get(k, len(rank)) for k in a.keys)))

    def _single(self, key: str) -> Value:
        section, _ = section_of(key) or ("", None)
        value = getattr(getattr(self, section), key)
        if value is None and key == "seed":
            return 0
        if value is None:
            raise StudyError(
                f"{self.where}: '{key}' is missing; give axes.{key} a list of values or "
                f"{section}.{key} a single one"
            )
        return value

    def _snapshots(self) -> tuple[float, ...]:
        given = self.numerics.snapshots
        if given is None:
            if (axis := self.axis("horizon")) is not None:
                raise StudyError(
                    f"{self.where}: numerics.snapshots is missing; with an axis '{axis.name}' over "
                    "horizon they must be given"
                )
            return (0.0, float(f"{self.problem.horizon:.12g}"))
        if any(later <= earlier for earlier, later in pairwise(given)):
            raise StudyError(
                f"{self.where}: numerics.snapshots = {show(list(given))}: not in ascending order, "
                "or one occurs twice"
            )
        return tuple(float(f"{time:.12g}") for time in given)

    def _check_problems(self) -> None:
        """Build every distinct problem once, so that a bad one is refused before anything runs."""
        if self.problem.controls is None and self.axis("controls") is None:
            raise StudyError(
                f"{self.where}: missing key 'problem.controls'; allowed: "
                "{ w = ..., b = ... } or { file = 'controls.npz' }"
            )
        axes = [axis for axis in self.axes if _SHARED.intersection(axis.keys)]
        for values in _positions(axes):
            self._problem(values)

    def _absolute(self, table: dict[str, Any]) -> dict[str, Any]:
        """Replace relative paths of data files, so that the resolved study works from anywhere."""
        changed: dict[str, Any] = map_files(table, lambda file: str(self.folder / file))
        return changed

    def _hashed(self, value: Any) -> Any:
        return map_files(value, lambda f: digest(self.folder / f))


_SHARED = frozenset(
    {"horizon", "time_step", "initial", "controls", "perturbed", "target", "domain"}
)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot read the study: {error.strerror}") from None


def _apply(document: dict[str, Any], override: str) -> None:
    """Put one ``section.key=value`` into a document; the value is TOML, or a bare word."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise StudyError(f"-s {override}: not an override; allowed: section.key=value")
    try:
        parsed = tomllib.loads(f"value = {text}")
        if len(parsed) != 1:
            raise StudyError(f"-s {show(override)}: more than one value; allowed: one line")
        value = parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if not text.strip().replace("-", "").replace("_", "").isalnum():
            raise StudyError(f"-s {override}: not a TOML value: {error}") from None
        value = text.strip()
    table = document
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise StudyError(f"-s {override}: '{key}' is no table of the study")
    table[keys[-1]] = value


def _stand_in(table: Any, varying: set[str], axes: Sequence[Axis], section: str, where: str) -> Any:
    """Give required keys that are axes their first value, so that the section validates."""
    if not isinstance(table, Mapping):
        return table
    for key in varying.intersection(table):
        if (found := section_of(key)) and found[0] == section:
            raise StudyError(f"{where}: '{key}' is both an axis and a key of [{section}]; keep one")
    first = {
        key: _plain(value)
        for axis in axes
        for key, value in zip(axis.keys, axis.values[0], strict=True)
        if (found := section_of(key)) and found[0] == section
    }
    return {**table, **first}


def _positions(axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    for combination in product(*(axis.values for axis in axes)):
        yield {
            key: value
            for axis, values in zip(axes, combination, strict=True)
            for key, value in zip(axis.keys, values, strict=True)
        }


def _plain(value: Value) -> Value:
    return (
        value.model_dump(mode="json", exclude_none=True)
        if hasattr(value, "model_dump")
        else (list(value) if isinstance(value, tuple) else value)
    )


def _dump(section: settings.Settings, without: set[str]) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude=without, exclude_none=True)


def point_count(axes: Sequence[Axis]) -> int:
    """The number of points of a grid."""
    return math.prod(len(axis) for axis in axes)

"""A study: what to compute, read from a TOML file or given as tables, and validated as a whole."""

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from pipeline import settings
from pipeline import study_checks as checks
from pipeline.axes import (
    ORDER,
    Axis,
    Value,
    digest,
    label,
    map_files,
    positions,
    read_axes,
    section_of,
    training_key,
)
from pipeline.case import Case, Problem, load_controls, load_law, load_pairs
from pipeline.cluster_settings import Cluster
from pipeline.errors import StudyError
from pipeline.regression_settings import Regression
from pipeline.steps import STEPS
from pipeline.steps.base import Step, Table, Traits
from pipeline.steps.own import check_cost, is_own, make_own, source_of
from pipeline.study_file import override, read_toml
from pipeline.validation import nearest, show, validate
from solvers import NUMERICS_VERSION
from solvers.activations import activation
from solvers.errors import InputError, MeanfieldError
from solvers.time_grid import time_grid

if TYPE_CHECKING:
    import xarray as xr

TABLES = ("study", "problem", "axes", "numerics", "training", "analysis", "cluster", "regression")


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
        analysis: how narrow the intervals are to be, and how many seeds that may take.
        cluster: where workers run; no part of the resolved study.
        regression: how the numbers of a night are judged; no part of the resolved study.
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
        analysis: Mapping[str, Any] | None = None,
        cluster: Mapping[str, Any] | None = None,
        regression: Mapping[str, Any] | None = None,
        *,
        folder: str | Path = ".",
        where: str = "study",
    ) -> None:
        self.where = where
        self.folder = Path(folder).resolve()
        self.header = validate(settings.Header, study, where, "study")
        self.listed_steps = self.header.steps
        self._check_steps()
        self.axes = read_axes({} if axes is None else axes, where, self.folder)
        self.problem = validate(
            settings.Problem,
            _stand_in(problem, self.axes, "problem", where),
            where,
            "problem",
        )
        self.numerics = validate(
            settings.Numerics,
            _stand_in({} if numerics is None else numerics, self.axes, "numerics", where),
            where,
            "numerics",
        )
        self.training = validate(
            settings.Training,
            _stand_in({} if training is None else training, self.axes, "training", where),
            where,
            "training",
        )
        self.analysis = validate(settings.Analysis, analysis or {}, where, "analysis")
        self.cluster = validate(Cluster, {} if cluster is None else cluster, where, "cluster")
        self.regression = validate(
            Regression, {} if regression is None else regression, where, "regression"
        )
        self.dimension = self._dimension()
        self.steps = self._steps()
        self._name_own_steps()
        checks.check_what_is_given(self)
        checks.check_dimension(self)
        checks.check_zip_names(self)
        self.axes = self._complete_axes()
        checks.check_activations(self)
        checks.check_analysis(self)
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
        document = read_toml(path)
        for assignment in overrides:
            override(document, assignment)
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

    @property
    def trains(self) -> bool:
        """Whether the controls are trained, not given."""
        return "train" in self.header.steps

    def varying(self, section: str) -> set[str]:
        """The settings of a section that are axes."""
        return {field for axis in self.axes for field in _fields(axis, section)} - {""}

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

    def steps_before(self, step: Step, table: Table) -> list[Step]:
        """The steps whose points a table of a step stands on; its own for a further table."""
        names = {name for name in table.steps if name != step.name}
        if self.trains and step.name != "train":
            names.add("train")
        own = [step] if table is not step.tables[0] else []
        return [self.step(name) for name in sorted(names)] + own

    def document(self) -> dict[str, Any]:
        """The study with every default and every axis value written out, as TOML tables.

        Where it runs and how its numbers are judged are no part of it.
        """
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
            "study": _dump(self.header, set()) | self._steps_as_listed(),
            "problem": self._absolute(_dump(self.problem, self.varying("problem"))),
            "numerics": _dump(self.numerics, self.varying("numerics"))
            | {"snapshots": list(self.snapshots)},
            "training": _dump(self.training, self.varying("training")),
            "analysis": _dump(self.analysis, set()),
            "axes": plain | ({"zip": zipped} if zipped else {}),
        }

    @functools.cached_property
    def text(self) -> str:
        """The resolved study as JSON."""
        return json.dumps(self.document())

    def toml(self) -> str:
        """The resolved study as a TOML file."""
        return tomli_w.dumps(self.document())

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two studies one: all that determines results, axis values apart.

        A flat dictionary from the dotted key to its value, with the hashes of the input files in
        place of their paths, so that a store can name the key in which another study differs.
        """
        sections = {
            "problem": _dump(self.problem, self.varying("problem")),
            "numerics": _dump(self.numerics, self.varying("numerics") | {"point_timeout"})
            | {"snapshots": list(self.snapshots)},
        }
        if self.trains:
            sections["training"] = _dump(self.training, self.varying("training"))
        flat = {
            f"{section}.{k}": v for section, table in sections.items() for k, v in table.items()
        }
        flat["study.seed"] = self.header.seed
        flat["study.steps"] = list(self.listed_steps)
        if sources := [str(source_of(name, self.modules)) for name in self._own_references()]:
            flat["study.code"] = [{"file": source} for source in sources]
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
            push=values.get("push", self.numerics.push),
            device=values.get("device", self.numerics.device),
            limiter=values.get("limiter", self.numerics.limiter),
            exact_particles=values.get("exact_particles", self.numerics.exact_particles),
            projections=values.get("projections", self.numerics.projections),
            gammas=self._gammas(values),
            loss=values.get("loss", self.problem.loss),
            training=self._training(values),
        )

    def _gammas(self, values: Mapping[str, Value]) -> tuple[float, float]:
        """The weights of w and of b in the control cost."""
        both = values.get("gamma", self.problem.gamma) or 0.0
        w = values.get("gamma_w", self.problem.gamma_w)
        b = values.get("gamma_b", self.problem.gamma_b)
        return (both if w is None else w, both if b is None else b)

    def _training(self, values: Mapping[str, Value]) -> settings.Training:
        """The settings of the training at one point."""
        chosen = {_TRAINING[key]: value for key, value in values.items() if key in _TRAINING}
        return self.training.model_copy(update=chosen) if chosen else self.training

    def _problem(self, values: Mapping[str, Value]) -> Problem:
        """The part of a case that many points share; cached, because it may read files."""
        shared = {key: value for key, value in values.items() if key in _SHARED}
        labels = {key: label(value) for key, value in shared.items()}
        name = json.dumps(labels, sort_keys=True) if labels else ""
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
        dimension = settings.dimension_of(setting("initial"))
        controls = self._load("controls", load_controls, setting("controls"), horizon, dimension)
        intervals = chosen.get("intervals", self.training.intervals)
        start = chosen.get("start", self.training.start)
        knots = controls.knots if controls else np.linspace(0.0, horizon, intervals + 1)
        try:
            times, indices = time_grid(horizon, time_step, knots, self.snapshots)
        except InputError as error:
            raise StudyError(f"{self.where}: {error}") from None
        first = self._load("start", load_controls, start, horizon, dimension)
        for key, given in (("problem.controls", controls), ("training.start", first)):
            if given and given.dimension != dimension:
                raise StudyError(
                    f"{self.where}: {checks.given_as(self, key)}: controls for "
                    f"R^{given.dimension}, but problem.initial is a law in R^{dimension}; allowed: "
                    f"controls for R^{dimension}"
                )
        return Problem(
            horizon=horizon,
            domain=setting("domain"),
            initial=self._load("initial", load_law, setting("initial")),
            controls=controls,
            perturbed=self._load("perturbed", load_controls, setting("perturbed"), horizon),
            target=self._load("target", load_law, setting("target")),
            pairs=load_pairs(setting("initial"), setting("target"), self.folder),
            start=first,
            times=times,
            snapshot_indices=indices,
        )

    def _load(self, key: str, load: Callable[..., Any], spec: Any, *more: Any) -> Any:
        """Build what a key of the problem describes; None where it is not given."""
        try:
            return None if spec is None else load(spec, self.folder, *more)
        except InputError as error:
            section = "training" if key == "start" else "problem"
            raise StudyError(
                f"{self.where}: {checks.given_as(self, f'{section}.{key}')}: {error}"
            ) from None

    def dimensions(self) -> set[int]:
        """The dimensions of the spaces that the initial laws live on."""
        axis = self.axis("initial")
        laws = [self.problem.initial] if axis is None else axis.settings("initial")
        return {settings.dimension_of(law) for law in laws}

    def _dimension(self) -> int:
        """The dimension of the space; the largest where initial laws live on several."""
        return max(self.dimensions())

    def _check_steps(self) -> None:
        names = self.header.steps
        for name in names:
            if name not in STEPS and not is_own(name):
                raise StudyError(
                    f"{self.where}: study.steps: unknown step {show(name)}; "
                    f"{nearest(name, STEPS)}, or one of your own as module:function"
                )
        if len(set(names)) != len(names):
            raise StudyError(f"{self.where}: study.steps = {list(names)}: a step occurs twice")

    def _steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they run, as this study needs them."""
        traits = self._traits()
        shipped = [make(traits) for name, make in STEPS.items() if name in traits.steps]
        with self._naming("study.steps"):
            own = [make_own(name, traits, self.modules) for name in self._own_references()]
        return (*shipped, *own)

    def _traits(self) -> Traits:
        varying = frozenset(key for axis in self.axes for key in axis.keys)
        given = self.problem.model_dump(exclude_none=True)
        chosen = {"discretization": self.training, "optimizer": self.training, "loss": self.problem}
        return Traits(
            tuple(name for name in self.listed_steps if not is_own(name)),
            self.dimension,
            target="target" in given and self.dimension == 1,
            gammas=tuple(key for key in ("gamma", "gamma_w", "gamma_b") if key in given),
            microscopic=self.training.particles > 0 or "training_particles" in varying,
            axes=varying,
            choices={
                key: frozenset(axis.settings(key) if axis else [getattr(section, key)])
                for key, section in chosen.items()
                for axis in [self.axis(key)]
            },
        )

    @property
    def modules(self) -> Path:
        """The folder in which the modules of the user's own steps are looked for."""
        return (self.folder / (self.header.modules or "")).resolve()

    def _own_references(self) -> list[str]:
        """The user's own steps as the study file lists them: ``module:function``."""
        return [name for name in self.listed_steps if is_own(name)]

    def _own_steps(self) -> list[tuple[str, Step]]:
        """The user's own steps, each with how the study file names it; they come last."""
        references = self._own_references()
        return list(zip(references, self.steps[len(self.steps) - len(references) :], strict=True))

    def _name_own_steps(self) -> None:
        """From here on the user's own steps go by the names that they give themselves."""
        names = {reference: step.name for reference, step in self._own_steps()}
        steps = tuple(names.get(name, name) for name in self.listed_steps)
        if twice := [name for name in steps if steps.count(name) > 1]:
            raise StudyError(f"{self.where}: study.steps: two steps are called '{twice[0]}'")
        self.header = self.header.model_copy(update={"steps": steps})

    def _steps_as_listed(self) -> dict[str, Any]:
        """The steps as a study file names them, and the folder of the user's own."""
        listed: dict[str, Any] = {"steps": list(self.listed_steps)}
        if self._own_references() or self.header.modules:
            listed["modules"] = str(self.modules)
        return listed

    def _complete_axes(self) -> tuple[Axis, ...]:
        """Turn the single values of the standing dimensions into axes of length one."""
        used = {key for step in self.steps for key in step.keys}
        varying = {key: axis for axis in self.axes for key in axis.keys}
        for axis in self.axes:
            for key in axis.keys:
                if key not in used:
                    raise StudyError(f"{self.where}: axes.{key}: {checks.useless(self, key)}")
        axes = list(self.axes)
        single = [key for key in ORDER if key in used and key not in varying]
        axes += [Axis(key, (key,), ((self._single(key),),)) for key in single]
        rank = {key: i for i, key in enumerate(ORDER)}
        return tuple(sorted(axes, key=lambda a: min(rank.get(k, len(rank)) for k in a.keys)))

    def _single(self, key: str) -> Value:
        section, _, field = section_of(key) or ("", None, "")
        value = getattr(getattr(self, section), field)
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
        axes = [axis for axis in self.axes if _SHARED.intersection(axis.keys)]
        for values in positions(axes):
            self._problem(values)
        if self.trains:
            checks.check_training(self)
        for reference, step in self._own_steps():
            own = self.step_axes(step)
            first = self.values_at(own, [0] * len(own))
            with self._naming("study.steps"):
                check_cost(reference, step, self.case(first))

    @contextlib.contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """Say where the study is at fault."""
        try:
            yield
        except StudyError as error:
            raise StudyError(f"{self.where}: {key}: {error}") from None

    def with_seeds(self, count: int) -> "Study":
        """The same study with more seeds: its own, and then the next whole numbers.

        Args:
            count: how many seeds it is to have.
        """
        document = self.document()
        seeds = document["axes"]["seed"]
        first = max(seeds) + 1
        document["axes"]["seed"] = [*seeds, *range(first, first + count - len(seeds))]
        return Study(**document, where=self.where)

    def _absolute(self, table: dict[str, Any]) -> dict[str, Any]:
        """Replace relative paths of data files, so that the resolved study works from anywhere."""
        changed: dict[str, Any] = map_files(table, lambda file: str(self.folder / file))
        return changed

    def _hashed(self, value: Any) -> Any:
        return map_files(value, lambda f: digest(self.folder / f))


_SHARED = frozenset(
    {
        "horizon",
        "time_step",
        "initial",
        "controls",
        "perturbed",
        "target",
        "domain",
        "intervals",
        "start",
    }
)

_TRAINING = {training_key(field): field for field in settings.Training.model_fields}
"""The settings of [training] by the keys under which they are axes."""


def _stand_in(table: Any, axes: Sequence[Axis], section: str, where: str) -> Any:
    """Give required keys that are axes their first value, so that the section validates."""
    if not isinstance(table, Mapping):
        return table
    first = {
        field: _plain(value)
        for axis in axes
        for field, value in zip(_fields(axis, section), axis.values[0], strict=True)
        if field
    }
    if twice := sorted(first.keys() & table.keys()):
        raise StudyError(
            f"{where}: '{twice[0]}' is both an axis and a key of [{section}]; keep one"
        )
    return {**table, **first}


def _fields(axis: Axis, section: str) -> list[str]:
    """What the keys of an axis are called in a section; empty for those of other sections."""
    found = [section_of(key) for key in axis.keys]
    return [f[2] if f and f[0] == section else "" for f in found]


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

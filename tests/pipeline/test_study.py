"""Study files: what is accepted, and the one line that refuses the rest."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StudyError
from pipeline.study import Study
from solvers.errors import MeanfieldError


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a study with one key set, or removed where the value is None."""
    document = copy.deepcopy(document)
    *tables, key = path.split(".")
    table = document
    for name in tables:
        table = table.setdefault(name, {})
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
    return document


BAD: list[tuple[str, Any, list[str]]] = [
    ("axes.particels", [100], ["particels", "did you mean 'particles'"]),
    ("problem.horizn", 1.0, ["problem.horizn", "did you mean 'horizon'"]),
    ("numerics.timestep", 0.1, ["numerics.timestep", "did you mean 'time_step'"]),
    ("stuff", {"a": 1}, ["unknown table [stuff]"]),
    ("problem.horizon", None, ["missing key 'problem.horizon'"]),
    ("problem.horizon", "one", ["problem.horizon = 'one'", "a positive number"]),
    ("problem.horizon", -1.0, ["problem.horizon = -1.0", "a positive number"]),
    ("problem.horizon", 0, ["problem.horizon = 0"]),
    ("problem.horizon", math.nan, ["problem.horizon = nan"]),
    ("problem.horizon", math.inf, ["problem.horizon = inf"]),
    ("problem.horizon", True, ["problem.horizon = True"]),
    ("axes.cells", [], ["axes.cells has no values"]),
    ("axes.cells", [100.5], ["axes.cells = 100.5", "whole number"]),
    ("axes.cells", [0], ["axes.cells = 0"]),
    ("axes.cells", [-5], ["axes.cells = -5"]),
    ("axes.cells", [100, 100], ["100 occurs more than once"]),
    ("axes.cells", [100, 100.0], ["100 occurs more than once"]),
    ("axes.cells", 100, ["axes.cells = 100", "a list"]),
    ("axes.particles", [math.nan], ["axes.particles = nan"]),
    ("axes.particles", [math.inf], ["axes.particles = inf"]),
    ("axes.particles", [1.5], ["axes.particles = 1.5"]),
    ("axes.particles", ["many"], ["axes.particles = 'many'"]),
    ("axes.particles", {"from": 1e2, "to": 1e5}, ["axes.particles", "per_decade"]),
    ("axes.particles", {"from": 1e5, "to": 1e2, "per_decade": 2}, ["to = 100 is below"]),
    ("axes.particles", {"from": -1, "to": 1e2, "per_decade": 2}, ["axes.particles.from = -1"]),
    ("axes.particles", {"from": 1, "to": 3, "per_decade": 20}, ["occurs more than once"]),
    ("axes.seed", {"count": 0}, ["axes.seed.count = 0"]),
    ("axes.seed", {"count": 2.5}, ["axes.seed.count = 2.5"]),
    ("axes.seed", [-1], ["axes.seed = -1"]),
    ("axes.cells", {"count": 3}, ["for the axis seed only"]),
    ("axes.activation", ["tanhh"], ["axes.activation = 'tanhh'", "tanh"]),
    ("axes.gamma", [0.1], ["axes.gamma", "no step of this study depends on it"]),
    ("axes.snapshots", [0.1], ["unknown axis 'axes.snapshots'"]),
    ("axes.zip", [{"name": "a", "cells": [1]}], ["axes.zip"]),
    ("axes", [1], ["[axes] must be a table"]),
    ("study.steps", ["limits"], ["unknown step 'limits'", "did you mean 'limit'"]),
    ("study.steps", ["limit", "limit"], ["occurs twice"]),
    ("study.steps", [], ["study.steps"]),
    ("study.name", "../escape", ["study.name = '../escape'", "letters"]),
    ("study.name", "a/b", ["study.name"]),
    ("study.name", "", ["study.name"]),
    ("study.name", "..", ["study.name"]),
    ("study.seed", -1, ["study.seed = -1"]),
    ("study.seed", 0.5, ["study.seed = 0.5"]),
    ("problem.initial", {"kind": "unifrom", "low": 0, "high": 1}, ["did you mean 'uniform'"]),
    ("problem.initial", {"kind": "uniform", "low": 1, "high": 0}, ["must be below"]),
    ("problem.initial", {"kind": "uniform", "low": 0}, ["problem.initial.high"]),
    ("problem.initial", {"kind": "uniform", "lo": 0, "high": 1}, ["problem.initial.lo"]),
    ("problem.initial", {"kind": "normal", "mean": 0, "std": 0}, ["problem.initial.std = 0"]),
    ("problem.initial", {"kind": "beta", "a": -1, "b": 1}, ["problem.initial.a = -1"]),
    ("problem.initial", {"low": 0, "high": 1}, ["problem.initial", "kind"]),
    ("problem.initial", "uniform", ["problem.initial"]),
    ("problem.initial", {"kind": "samples", "file": "no.csv", "column": "x"}, ["no.csv"]),
    ("problem.controls", None, ["missing key 'problem.controls'"]),
    ("problem.controls", {"w": 1.0}, ["problem.controls.b"]),
    ("problem.controls", {"w": "__import__('os').getcwd()", "b": 0}, ["problem.controls.w"]),
    ("problem.controls", {"w": "x + 1", "b": 0}, ["problem.controls.w", "x"]),
    ("problem.controls", {"w": "foo(t)", "b": 0}, ["problem.controls.w", "foo"]),
    ("problem.controls", {"w": "t +", "b": 0}, ["problem.controls.w"]),
    ("problem.controls", {"w": "(lambda: 1)()", "b": 0}, ["problem.controls.w"]),
    ("problem.controls", {"w": "9**9**9**9", "b": 0}, ["w"]),
    ("problem.controls", {"w": "1/t", "b": 0}, ["problem.controls", "inf at t = 0"]),
    ("problem.controls", {"w": "log(t - 5)", "b": 0}, ["problem.controls", "nan at t = 0"]),
    ("problem.controls", {"w": [1.0], "b": 0}, ["problem.controls", "scalars"]),
    ("problem.controls", {"file": "none.npz"}, ["none.npz"]),
    ("problem.domain", [3.0, -2.0], ["problem.domain"]),
    ("problem.domain", [1.0], ["problem.domain"]),
    ("problem.domain", "automatic", ["problem.domain = 'automatic'"]),
    ("problem.activation", "tanh", ["both an axis and a key"]),
    ("numerics.time_step", 0.03, ["0.03"]),
    ("numerics.time_step", 0, ["numerics.time_step = 0"]),
    ("numerics.snapshots", [0.0, 0.31], ["0.31"]),
    ("numerics.snapshots", [0.2, 0.0], ["numerics.snapshots", "ascending"]),
    ("numerics.snapshots", [0.0, 0.0], ["numerics.snapshots"]),
    ("numerics.snapshots", [0.0, 0.01], ["0.01"]),
    ("numerics.snapshots", [], ["numerics.snapshots"]),
    ("numerics.snapshots", 0.1, ["numerics.snapshots"]),
    ("numerics.sampling", "random", ["numerics.sampling = 'random'", "sobol or iid-sorted"]),
    ("numerics.integrator", "rk5", ["numerics.integrator = 'rk5'", "rk4"]),
    ("numerics.point_timeout", -5, ["numerics.point_timeout = -5"]),
    ("training.intervals", 0, ["training.intervals = 0"]),
    ("training.intervals", 7, ["training.intervals: no step", "the step train does"]),
    ("axes.tolerance", [1e-3, 1e-4], ["axes.tolerance: no step", "the step train does"]),
    ("axes.domain", [[0, "b"]], ["axes.domain = [0, 'b']", "the ends must be numbers"]),
    ("axes.horizon", ["one"], ["axes.horizon = 'one'", "a positive number"]),
    (
        "axes.target",
        [{"kind": "normal", "mean": "a", "std": 1.0}],
        ["axes.target.mean = 'a'", "a finite number"],
    ),
    ("axes.target", [{"kind": "norml"}], ["axes.target: unknown kind", "did you mean 'normal'"]),
    (
        "problem.initial",
        {"kind": "atoms", "points": [0.0], "weights": [1.0]},
        ["problem.initial: a law of kind 'atoms' cannot stand here; allowed: uniform, normal"],
    ),
    ("problem.initial", {"kind": "atom"}, ["unknown kind 'atom'; allowed: uniform"]),
    ("problem.controls", {"file": "study.toml"}, ["problem.controls", "allowed: an .npz file"]),
    ("problem.controls", {"file": "."}, ["problem.controls", "a folder; allowed: an .npz file"]),
]


@pytest.mark.parametrize(("path", "value", "said"), BAD)
def test_bad_study_is_refused_in_one_line(
    tiny: dict[str, Any], write: Any, path: str, value: Any, said: list[str]
) -> None:
    file = write(changed(tiny, path, value))
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(MeanfieldError) as caught:
        Study.load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert str(file) in message
    for text in said:
        assert text in message
    assert sorted(Path.cwd().rglob("*")) == before


def test_syntax_error_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[study]\nname = "x"\nseed = = 3\n')
    with pytest.raises(StudyError, match="line 3"):
        Study.load(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot read"):
        Study.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x\n1.0\nnan\n2.0\n", "row"),
        ("y\n1.0\n2.0\n", "'x'"),
        ("x\n1.0\nabc\n", "abc"),
        ("x\n1.0\n1.0\n", "distinct"),
        ("", "data.csv"),
    ],
)
def test_bad_data_file(
    tiny: dict[str, Any], write: Any, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "data.csv").write_text(text)
    spec = {"kind": "samples", "file": "data.csv", "column": "x"}
    with pytest.raises(MeanfieldError) as caught:
        Study.load(write(changed(tiny, "problem.initial", spec)))
    message = str(caught.value)
    assert said in message
    assert "data.csv" in message
    assert "\n" not in message


def test_overrides(tiny: dict[str, Any], write: Any) -> None:
    file = write(tiny)
    study = Study.load(file, ["axes.cells=[100]", "study.name=other", "axes.seed={count=2}"])
    assert study.name == "other"
    assert study.axis("cells").labels("cells") == [100]  # type: ignore[union-attr]
    for bad in ("axes.cells", "cells=[1]", "axes.cells=[1", "axes.cells.x=3", "axes.celsl=[10]"):
        with pytest.raises(StudyError):
            Study.load(file, [bad])


def test_ranges_are_normalised(tiny: dict[str, Any]) -> None:
    tiny["axes"]["particles"] = {"from": 1e2, "to": 1e5, "per_decade": 2}
    axis = Study(**tiny).axis("particles")
    assert axis is not None
    assert axis.labels("particles") == [100, 316, 1000, 3162, 10000, 31623, 100000]
    assert all(isinstance(value, int) for value in axis.labels("particles"))


def test_single_values_are_axes_of_length_one(tiny: dict[str, Any]) -> None:
    one = changed(changed(tiny, "axes.cells", None), "numerics.cells", 50)
    many = changed(tiny, "axes.cells", [50])
    assert Study(**one).identity_hash == Study(**many).identity_hash
    assert [axis.name for axis in Study(**one).axes] == ["activation", "cells", "particles", "seed"]


def test_zip_makes_one_dimension(tiny: dict[str, Any]) -> None:
    del tiny["axes"]["cells"]
    del tiny["numerics"]["time_step"]
    tiny["axes"]["zip"] = [{"name": "resolution", "cells": [50, 100], "time_step": [0.02, 0.01]}]
    study = Study(**tiny)
    names = [axis.name for axis in study.step_axes(study.steps[0])]
    assert names == ["activation", "resolution"]
    point = study.values_at(study.step_axes(study.steps[0]), (1, 1))
    case = study.case(point)
    assert case.cells == 100
    assert len(case.problem.times) == 21


def test_identity_ignores_values_but_not_settings(tiny: dict[str, Any]) -> None:
    base = Study(**tiny).identity_hash
    assert Study(**changed(tiny, "axes.cells", [64])).identity_hash == base
    assert Study(**changed(tiny, "numerics.point_timeout", 5.0)).identity_hash == base
    assert Study(**changed(tiny, "study.name", "renamed")).identity_hash == base
    assert Study(**changed(tiny, "study.seed", 8)).identity_hash != base
    assert Study(**changed(tiny, "problem.horizon", 0.4)).identity_hash != base
    assert Study(**changed(tiny, "numerics.integrator", "euler")).identity_hash != base


def test_identity_follows_the_content_of_files(tiny: dict[str, Any], tmp_path: Path) -> None:
    spec = {"kind": "samples", "file": "data.csv", "column": "x"}
    document = changed(tiny, "problem.initial", spec)
    (tmp_path / "data.csv").write_text("x\n1\n2\n3\n")
    first = Study(**document, folder=tmp_path).identity_hash
    (tmp_path / "data.csv").write_text("x\n1\n2\n4\n")
    assert Study(**document, folder=tmp_path).identity_hash != first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data.csv").write_text("x\n1\n2\n3\n")
    assert Study(**document, folder=elsewhere).identity_hash == first


def test_controls_from_a_file(tiny: dict[str, Any], tmp_path: Path) -> None:
    times = np.linspace(0, 0.2, 5)
    np.savez(tmp_path / "c.npz", time=times, w=np.cos(times), b=times)
    document = changed(tiny, "problem.controls", {"file": "c.npz"})
    study = Study(**document, folder=tmp_path)
    case = study.case({"activation": "tanh"})
    assert set(np.round(times, 12)) <= set(np.round(case.problem.times, 12))
    np.savez(tmp_path / "short.npz", time=times / 2, w=times, b=times)
    with pytest.raises(MeanfieldError, match=r"short\.npz"):
        Study(**changed(document, "problem.controls", {"file": "short.npz"}), folder=tmp_path)


numbers = st.floats(-1e3, 1e3, allow_nan=False)
documents = st.fixed_dictionaries(
    {
        "activation": st.lists(
            st.sampled_from(["identity", "relu", "tanh", "sigmoid", "gcu"]),
            min_size=1,
            unique=True,
        ),
        "cells": st.lists(st.integers(8, 10**6), min_size=1, max_size=5, unique=True),
        "particles": st.lists(st.integers(1, 10**9), min_size=1, max_size=5, unique=True),
        "seed": st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True),
    }
)


@settings(max_examples=50, deadline=None)
@given(axes=documents, low=numbers, width=st.floats(1e-3, 1e3), steps=st.integers(1, 50))
def test_resolved_study_round_trips(
    axes: dict[str, Any], low: float, width: float, steps: int
) -> None:
    study = Study(
        study={"name": "round-trip"},
        problem={
            "horizon": steps * 0.01,
            "initial": {"kind": "uniform", "low": low, "high": low + width},
            "controls": {"w": low / 1e3, "b": "sin(t)"},
        },
        axes=axes,
    )
    path = Path("resolved.toml")
    path.write_text(study.toml())
    again = Study.load(path)
    assert again.document() == study.document()
    assert again.identity_hash == study.identity_hash


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
PATHS = [
    f"{section}.{key}"
    for section, keys in {
        "study": ["name", "seed", "steps", "new"],
        "problem": ["horizon", "domain", "initial", "controls", "target", "loss", "new"],
        "axes": ["activation", "cells", "particles", "seed", "zip", "time_step", "new"],
        "numerics": ["time_step", "snapshots", "sampling", "integrator", "point_timeout", "new"],
    }.items()
    for key in keys
] + ["study", "problem", "axes", "numerics", "training"]


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(PATHS), value=junk)
def test_mutations_never_give_a_traceback(tiny: dict[str, Any], path: str, value: Any) -> None:
    document = copy.deepcopy(tiny)
    *tables, key = path.split(".")
    table = document
    for name in tables:
        table = table[name]
    table[key] = value
    try:
        text = tomli_w.dumps(document)
    except (TypeError, ValueError, AttributeError):
        return  # TOML cannot say it
    file = Path("mutant.toml")
    file.write_text(text)
    message = ""
    try:
        Study.load(file)
    except MeanfieldError as error:
        message = str(error)
    assert "\n" not in message


def test_data_files_on_an_axis(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Relative to the study's folder; known by content, from wherever the study is loaded."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "d.csv").write_text("x\n1\n2\n4\n")
    tiny["axes"]["initial"] = [
        {"kind": "samples", "file": "d.csv", "column": "x"},
        {"kind": "uniform", "low": 0.0, "high": 1.0},
    ]
    del tiny["problem"]["initial"]
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(tiny))
    study = Study.load(path)
    resolved = Path("resolved.toml")
    resolved.write_text(study.toml())
    again = Study.load(resolved)
    assert again.identity_hash == study.identity_hash
    labels = [
        next(a for a in s.axes if a.name == "initial").labels("initial") for s in (study, again)
    ]
    assert labels[0] == labels[1]
    assert "sha256" in labels[0][0]
    (folder / "d.csv").write_text("x\n1\n2\n5\n")
    changed_labels = next(a for a in study.axes if a.name == "initial").labels("initial")
    assert changed_labels[0] != labels[0][0]


@pytest.mark.parametrize("name", ["w1", "status", "limit", "rate", "cells_50", "mean", "zip"])
def test_zip_must_not_hide_a_variable(tiny: dict[str, Any], name: str) -> None:
    del tiny["axes"]["cells"]
    tiny["axes"]["zip"] = [{"name": name, "cells": [50, 100], "time_step": [0.02, 0.01]}]
    del tiny["numerics"]["time_step"]
    with pytest.raises(StudyError, match="is taken"):
        Study(**tiny)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("axes.particles", {"from": 1e-300, "to": 1e300, "per_decade": 1}),
        ("axes.particles", {"from": 10**18, "to": 1e300, "per_decade": 1}),
        ("numerics.snapshots", [1e308]),
        ("problem.initial", {"kind": "samples", "file": "\u0000"}),
        ("problem.initial", {"kind": "samples", "file": "."}),
        ("problem.controls", {"file": "x" * 400}),
        ("numerics", 0),
        ("training", []),
    ],
)
def test_odd_values_are_one_line(tiny: dict[str, Any], write: Any, path: str, value: Any) -> None:
    with pytest.raises(MeanfieldError) as caught:
        Study.load(write(changed(tiny, path, value)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["axes.seed={count=1}\nx=2", "axes.cells=" + "[" * 4000])
def test_odd_overrides_are_one_line(tiny: dict[str, Any], write: Any, override: str) -> None:
    with pytest.raises(MeanfieldError) as caught:
        Study.load(write(tiny), [override])
    assert "\n" not in str(caught.value)


def test_rows_longer_than_the_header_are_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x\n1,2\n3,4\n")
    tiny["problem"]["initial"] = {"kind": "samples", "file": "d.csv", "column": "x"}
    with pytest.raises(MeanfieldError, match=r"d\.csv"):
        Study(**tiny, folder=tmp_path)

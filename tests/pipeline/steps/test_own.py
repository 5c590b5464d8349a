"""A user's own step: named as module:function, run like any other, refused in one line."""

import copy
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.compute import compute_shard
from pipeline.errors import StoreError, StudyError
from pipeline.folder import Folder
from pipeline.shards import Shard
from pipeline.store import open_store, stored_study
from pipeline.study import Study
from pipeline.upstream import Results

SOURCE = """
import numpy as np
from pipeline.steps.base import Step, Table, Variable, WALL_SECONDS

def work(case, poll):
    return case.particles

def evaluate(work, case, upstream, poll):
    return {"double": np.full(len(case.problem.snapshots), 2.0 * work + case.seed)}

def against_limit(work, case, upstream, poll):
    position, density = upstream.limit_field()
    return {"peak": density.max(axis=1)}

def step(traits):
    tables = (
        Table("status", ("twice",), (Variable("double", "twice M"), WALL_SECONDS), evaluate),
        Table("status_peak", ("twice", "limit"), (Variable("peak", "peak"),), against_limit),
    )
    keys = frozenset({"activation", "particles", "seed", "horizon", "time_step"})
    return Step("twice", keys | traits.control_keys, tables, work, lambda case: 0.01)
"""
Write = Callable[..., str]


@pytest.fixture
def write_step(tmp_path: Path) -> Write:
    """Write a module into the study's folder and return how a study names it."""

    def _write(name: str, old: str = "", new: str = "", source: str = SOURCE) -> str:
        assert old in source
        (tmp_path / f"{name}.py").write_text(source.replace(old, new))
        return f"{name}:step"

    return _write


@pytest.fixture
def own(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["axes"] |= {"activation": ["tanh"], "cells": [50], "particles": [100, 300], "seed": [0, 1]}
    return tiny


def check(tree: xr.DataTree) -> None:
    twice = tree["twice"]
    assert twice["double"].dims == ("activation", "particles", "seed", "snapshot")
    expected = 2.0 * np.array([[100, 100], [300, 300]]) + [0, 1]
    np.testing.assert_array_equal(twice["double"].isel(activation=0, snapshot=1), expected)
    assert (twice["status"] == 1).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_own_step_runs(own: dict[str, Any], write_step: Write, workers: int) -> None:
    own["study"]["steps"] = ["limit", write_step(f"ran_with_{workers}")]
    tree = Study(**own).run("one.zarr", workers=workers)
    check(tree)
    density = tree["limit/cells_50/density"].isel(activation=0).max("x")
    for m in (0, 1):
        peak = tree["twice/peak"].isel(activation=0, cells=0, particles=m, seed=1)
        np.testing.assert_array_equal(peak, density)


@pytest.mark.slow
def test_own_step_on_the_command_line(own: dict[str, Any], write_step: Write, write: Any) -> None:
    own["study"]["steps"] = [write_step("told"), "limit"]
    folder = write(own).parent
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()

    def meanfield(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=200)

    ran = meanfield("run", "../study.toml", "--direct", "--workers", "2", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["points"]["twice"]["done"] == 4
    store = "runs/tiny/data.zarr"
    check(xr.open_datatree(elsewhere / store))
    again = meanfield("run", "runs/tiny/study.toml", "--direct", "--json")
    assert json.loads(again.stdout)["computed"] == 0
    point = meanfield("point", store, "twice", "particles=300", "seed=1", "--json")
    assert json.loads(point.stdout)["outputs"]["double"] == [601.0, 601.0]
    for verb in ("verify", "status"):
        assert meanfield(verb, store).returncode == 0
    (folder / "told.py").unlink()
    gone = meanfield("status", store)
    assert gone.returncode == 2
    assert f"no module 'told' in {folder}" in gone.stderr


def test_a_package_and_a_folder_of_modules(own: dict[str, Any], tmp_path: Path) -> None:
    package = tmp_path / "extra" / "own_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(
        SOURCE.replace("2.0", "FACTOR").replace(
            "import numpy", "from own_package.constants import FACTOR\nimport numpy"
        )
    )
    (package / "constants.py").write_text("FACTOR = 2.0\n")
    own["study"] |= {"steps": ["own_package.inner:step"], "modules": "extra"}
    del own["axes"]["cells"]
    check(Study(**own).run("one.zarr"))
    assert stored_study(Folder(Path("one.zarr"))).identity == Study(**own).identity


def test_changed_code_is_told(own: dict[str, Any], write_step: Write) -> None:
    own["study"]["steps"] = ["limit", write_step("altered")]
    first = Study(**own)
    first.run("one.zarr")
    write_step("altered", "2.0 * work", "20.0 * work")
    second = Study(**own)
    assert second.identity_hash != first.identity_hash
    with pytest.raises(StoreError, match=r"code of an own step .* has changed since the store was"):
        second.run("one.zarr")
    tree = second.run("two.zarr")
    assert float(tree["twice/double"].max()) == 6001
    write_step("altered")
    check(Study(**own).run("one.zarr"))


def test_equal_names_in_two_folders(own: dict[str, Any], tmp_path: Path) -> None:
    own["study"]["steps"] = ["namesake:step"]
    del own["axes"]["cells"]
    trees = []
    for factor in ("2.0", "4.0"):
        folder = tmp_path / factor
        folder.mkdir()
        (folder / "namesake.py").write_text(SOURCE.replace("2.0", factor))
        study = Study(**copy.deepcopy(own), folder=folder)
        trees.append(study.run(f"{factor}.zarr"))
    assert [float(tree["twice/double"].max()) for tree in trees] == [601, 1201]


def test_own_step_with_training(own: dict[str, Any], write_step: Write) -> None:
    own["study"]["steps"] = ["train", write_step("trained_step")]
    del own["problem"]["controls"], own["axes"]["cells"]
    own["problem"]["target"] = {"kind": "uniform", "low": 0.0, "high": 1.0}
    own["axes"]["gamma"] = [0.1, 1.0]
    own["training"] = {"discretization": "lagrangian", "optimizer": "lbfgs", "intervals": 5}
    tree = Study(**own).run("one.zarr")
    assert tree["twice/double"].dims[:2] == ("activation", "gamma")
    assert (tree["twice/status"] == 1).all()
    own["study"]["steps"][1] = write_step("lacking", "| traits.control_keys", "")
    with pytest.raises(StudyError, match=r"its keys lack .*gamma"):
        Study(**own)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def step(", "def stop(", "has no function 'step'; did you mean 'stop'?"),
        ("import numpy", "import no_such_package", "ModuleNotFoundError: No module named 'no_such"),
        ("import numpy as np", "import numpy as np)", "SyntaxError"),
        ("tables = (\n", "tables = 1 / 0, (\n", "fails: ZeroDivisionError: division by zero"),
        ("return Step(", "return Step() or Step(", "fails: TypeError"),
        ('return Step("twice"', 'return None, ("twice"', "returns (None, ('twice'"),
        ('return Step("twice"', 'return Step("limit"', "the step's name is 'limit'; allowed:"),
        ('return Step("twice"', 'return Step("analysis"', "the step's name is 'analysis'"),
        ('return Step("twice"', 'return Step("Twice/x"', "the step's name is 'Twice/x'"),
        ('"particles", "seed"', '"particels", "seed"', "'particels'; did you mean 'particles'?"),
        ('{"activation", "part', '{"part', "its keys lack activation"),
        ("tables, work, l", "(), work, l", "it has no tables"),
        ('("twice",)', '("double",)', "'twice' first"),
        ('("twice", "limit")', '("twice", "limits")', "'limits'; did you mean 'limit'?"),
        ('Variable("peak", "peak")', 'Variable("double", "peak")', "'double' occurs twice"),
        ('Variable("peak", "peak")', 'Variable("seed", "peak")', "'seed' is taken"),
        ('"peak", "peak")', '"peak", "peak", ("snapshots",))', "did you mean 'snapshot'?"),
        ('"peak", "peak")', '"peak", "peak", ("x",))', "dims = ('x',); allowed: snapshot, time"),
        ("lambda case: 0.01", "lambda case: 0.0", "its cost is 0; allowed: a positive number"),
        ("lambda case: 0.01", "lambda case: case.none", "its cost fails: AttributeError"),
    ],
)
def test_what_is_no_step_is_refused(
    own: dict[str, Any], write_step: Write, request: Any, old: str, new: str, said: str
) -> None:
    name = f"bad_{abs(hash(request.node.name))}"
    own["study"]["steps"] = ["limit", write_step(name, old, new)]
    with pytest.raises(StudyError) as caught:
        Study(**own, where="s.toml")
    message = str(caught.value)
    assert message.startswith("s.toml: study.steps: ")
    assert name in message
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("nowhere:step", "no module 'nowhere' in "),
        ("nowhere.inner:step", "no module 'nowhere.inner' in "),
        ("present.inner:step", "no module 'present.inner' in "),
        ("present", "unknown step 'present'; allowed: train, limit, particles, dependence, or one"),
        ("present:", "'present:' is no step; allowed: 'module:function'"),
        ("../present:step", "is no step; allowed"),
        ("present.py:step", "no module 'present.py' in "),
        ("present:step()", "is no step; allowed"),
        ("os:getcwd", "os is a module of Python's own"),
        ("__main__:step", "__main__ is a module of Python's own"),
        ("numpy:step", "numpy.py is hidden by "),
        ("pipeline.steps.limit:limit", "the step's name is 'limit'"),
    ],
)
def test_what_is_no_reference_is_refused(
    own: dict[str, Any], write_step: Write, reference: str, said: str
) -> None:
    write_step("present")
    write_step("numpy")
    own["study"]["steps"] = ["limit", reference]
    with pytest.raises(StudyError) as caught:
        Study(**own)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_steps_of_one_name(own: dict[str, Any], write_step: Write) -> None:
    own["study"]["steps"] = ["limit", write_step("former"), write_step("latter")]
    with pytest.raises(StudyError, match="two steps are called 'twice'"):
        Study(**own)


def test_a_module_is_only_imported_by_its_name(own: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "limit.py").write_text("raise RuntimeError")
    (tmp_path / "scipy.py").write_text("raise RuntimeError")
    before = list(sys.path)
    Study(**own)
    assert sys.path == before


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('{"double"', '{"duble"', "the step twice gives no double"),
        ("len(case.problem.snapshots)", "3", r"gives double of shape \(3,\), not \(2,\)"),
        ("2.0 * work", "np.inf * work", "double is not finite"),
        ("return case.particles", "raise RuntimeError('none')", "RuntimeError: none"),
    ],
)
def test_a_point_that_fails_is_one_failure(
    own: dict[str, Any], write_step: Write, old: str, new: str, reason: str
) -> None:
    name = f"failing_{abs(hash(new))}"
    own["study"]["steps"] = ["limit", write_step(name, old, textwrap.dedent(new))]
    study = Study(**own)
    study.run("one.zarr")
    store = open_store(Folder(Path("one.zarr")), study)
    status = np.asarray(store.array("twice/status")[:])
    assert set(status.ravel()) <= {3, 8}
    token = compute_shard(store, Results(store), Shard("twice", (0, 0, 0)), frozenset({3, 8}))
    assert token.failures
    assert all(re.search(reason, failure.reason) for failure in token.failures)

"""Nothing that is read from a study, a store or the network is unpickled or evaluated."""

import ast
import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

import flows
import pipeline
import solvers
from pipeline.errors import StudyError
from pipeline.study import Study
from pipeline.study_file import read_toml
from solvers.errors import ControlError, DistributionError, MeanfieldError

SOURCES = sorted(
    path
    for package in (solvers, pipeline, flows)
    for path in Path(str(package.__file__)).parent.rglob("*.py")
)
MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "code",
    "yaml",
}
CALLS = {"eval", "exec", "compile", "__import__", "read_pickle", "execfile", "system", "popen"}
IMPORTERS = {
    "pipeline/steps/own.py",
    "pipeline/figures/__init__.py",
}  # a step of the user; names of ours


def findings(tree: ast.AST) -> Iterator[str]:
    """What of a module could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    owner = getattr(getattr(node.func, "value", None), "id", "")
    given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
    if name in CALLS and owner != "re":
        yield name
    if name == "import_module":
        yield "import_module"
    if given.get("shell") or given.get("allow_pickle"):
        yield f"{name} with a shell or pickles"
    if owner == "np" and name == "load" and given.get("allow_pickle", True) is not False:
        yield "np.load without allow_pickle=False"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle", "pickle"),
        ("from yaml import load", "yaml"),
        ("eval(x)", "eval"),
        ("np.load(p)", "np.load without allow_pickle=False"),
        ("subprocess.run(x, shell=True)", "run with a shell or pickles"),
    ],
)
def test_the_audit_finds(text: str, found: str) -> None:
    assert list(findings(ast.parse(text))) == [found]


def test_audit() -> None:
    home = Path(str(pipeline.__file__)).parents[1]
    found = {
        (path.relative_to(home).as_posix(), what)
        for path in SOURCES
        for what in findings(ast.parse(path.read_text()))
    }
    assert found == {(name, "import_module") for name in IMPORTERS}


class Bomb:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("unpickled",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "unpickled").exists()


TABLES: dict[str, Any] = {
    "study": {"name": "hostile", "steps": ["particles"]},
    "problem": {
        "horizon": 0.1,
        "initial": {"kind": "uniform", "low": 0.0, "high": 1.0},
        "controls": {"w": 1.0, "b": 0.0},
    },
    "axes": {"activation": ["tanh"], "particles": [10]},
    "numerics": {"time_step": 0.1},
}


def study(**problem: Any) -> Study:
    return Study(**{**TABLES, "problem": TABLES["problem"] | problem})


def test_object_arrays_are_refused(here: Path) -> None:
    bomb = np.array([Bomb(), Bomb()], dtype=object)
    np.savez(here / "controls.npz", time=np.array([0.0, 1.0]), w=bomb, b=bomb)
    with pytest.raises(StudyError, match="array 'w' holds Python objects"):
        study(controls={"file": "controls.npz"})
    np.save(here / "data.npy", bomb)
    (here / "plain.npy").write_bytes(pickle.dumps(Bomb()))
    pd.DataFrame({"x": [0.1, 0.2]}).to_pickle(here / "data.parquet")
    for name in ("data.npy", "plain.npy", "data.parquet"):
        with pytest.raises(StudyError, match=f"{name}: cannot be read"):
            study(initial={"kind": "samples", "file": name})


def test_an_archive_that_swells_is_refused(here: Path) -> None:
    """A few kilobytes that claim to be terabytes of zeros."""
    head = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(head, shape)  # type: ignore[arg-type]
    with zipfile.ZipFile(here / "controls.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("time", "w", "b"):
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(1 << 20))
    with pytest.raises((ControlError, StudyError), match=r"controls\.npz"):
        study(controls={"file": "controls.npz"})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('unpickled')",
        "().__class__.__base__.__subclasses__()",
        "(lambda: 0)()",
        "[x for x in (1,)][0]",
        "exp.__globals__",
        "t if t else t",
        "9**9**9**9 or 1",
        "f'{t}'",
        "(t := 1)",
        "exp(*[1])",
        "1" + "+1" * 5000,
        "(" * 300 + "t" + ")" * 300,
        "-" * 900 + "t",
        "sin\u2025(t)",
    ],
)
def test_hostile_expressions_are_refused(here: Path, text: str) -> None:
    with pytest.raises(StudyError, match=r"expression|allowed"):
        study(controls={"w": text, "b": 0.0})


@pytest.mark.parametrize(
    "text",
    [
        "[study]\nname = " + "[" * 100_000 + "]" * 100_000,
        "[" + "a." * 20_000 + "a]\nx = 1",
        "a = " + "{ a = " * 20_000 + "1" + "}" * 20_000,
        "x = " + "9" * 100_000,
        "[study]\nname = 'x'\nsteps = [" + "'limit', " * 100_000 + "]",
    ],
    ids=["nested lists", "nested keys", "nested tables", "a long number", "a long list"],
)
def test_studies_that_swell_are_refused(here: Path, text: str) -> None:
    (here / "study.toml").write_text(text)
    with pytest.raises(StudyError) as refusal:
        Study.load(here / "study.toml")
    assert len(str(refusal.value)) < 2000


def test_a_study_file_of_any_size_is_not_read(here: Path) -> None:
    with (here / "study.toml").open("wb") as stream:
        stream.truncate(10**9)
    with pytest.raises(StudyError, match="1 GB; allowed: up to 64 MB"):
        read_toml(here / "study.toml")


@pytest.mark.parametrize("name", ["../out", "/out", "a/b", "..", ".hidden", "a\\b", "", "a\n"])
def test_a_name_stays_in_its_folder(here: Path, name: str) -> None:
    with pytest.raises(StudyError, match=r"study\.name"):
        Study(**{**TABLES, "study": TABLES["study"] | {"name": name}})


@pytest.mark.parametrize(
    "reference", ["os:system", "../out:step", "a/b:step", ".a:step", "a..b:step", "a:b.c", "a:b()"]
)
def test_own_steps_are_modules_by_name(here: Path, reference: str) -> None:
    (here / "study.toml").write_text(
        tomli_w.dumps({**TABLES, "study": TABLES["study"] | {"steps": [reference]}})
    )
    with pytest.raises(MeanfieldError, match=r"no step|Python's own|no module"):
        Study.load(here / "study.toml")


def test_errors_are_refusals() -> None:
    """What a hostile file provokes is a refusal, which the command line prints in a line."""
    assert issubclass(DistributionError, MeanfieldError)

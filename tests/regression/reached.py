"""Print which functions of the solvers a study and its members reach, made small.

    python tests/regression/reached.py studies/regression.toml FOLDER

A kernel counts where it is compiled: so the cache of kernels has to be an empty folder, and nothing
is warmed. Functions are named "module:qualified name", one a line.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from numba.core.registry import CPUDispatcher

import solvers
from pipeline import run
from pipeline.regression.night import with_members
from pipeline.study import Study

ROOT = Path(solvers.__file__).parent
SMALL = {
    "cells": [16, 32],
    "particles": [8, 32],
    "seed": [0],
    "training_particles": [8, 32],
}


def functions() -> Iterator[str]:
    """All functions and methods that the sources define, those inside functions apart."""
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        yield from (f"{module}:{name}" for name in _defined(ast.parse(path.read_text()), ""))


def _defined(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield prefix + child.name
        elif isinstance(child, ast.ClassDef):
            yield from _defined(child, f"{prefix}{child.name}.")


def reached(study: Study, folder: Path) -> set[str]:
    """The functions that were entered or compiled while a study and its members were computed."""
    entered: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            path = Path(frame.f_code.co_filename).relative_to(ROOT).with_suffix("")
            entered.add(f"{path.as_posix()}:{frame.f_code.co_qualname}")

    sys.setprofile(note)
    try:
        with mock.patch.object(run, "warm", return_value=0.0):
            for member in with_members(study):
                small(member).run(folder / f"{member.name}.zarr")
    finally:
        sys.setprofile(None)
    return entered | set(_compiled())


def small(study: Study) -> Study:
    """The study with few and short points."""
    document = study.document()
    for key, values in SMALL.items():
        if len(document["axes"].get(key, ())) > 1:
            document["axes"][key] = values
    return Study(**document, folder=study.folder)


def _compiled() -> Iterator[str]:
    for name, module in sys.modules.items():
        if name.startswith("solvers."):
            for found in vars(module).values():
                if isinstance(found, CPUDispatcher) and found.signatures:
                    path = found.py_func.__module__.removeprefix("solvers.").replace(".", "/")
                    yield f"{path}:{found.py_func.__name__}"


if __name__ == "__main__":
    found = reached(Study.load(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(sorted(found & set(functions()))))

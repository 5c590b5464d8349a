"""A user's own step: a function ``module:function`` that makes it out of a study's traits.

The function has the shape of the builders in this folder. Its module is imported by that name and
no other, from Python's path or from the study's folder of modules, which is put at the end of that
path so that it hides nothing. Each process that works on a study imports it anew.
"""

import importlib
import math
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from pipeline.axes import axis_keys, digest
from pipeline.case import Case
from pipeline.errors import StudyError
from pipeline.steps import STEPS
from pipeline.steps.base import INNER_DIMENSIONS, Step, Table, Traits, Variable
from pipeline.validation import nearest, show

REFERENCE = re.compile(r"(?!\d)\w+(\.(?!\d)\w+)*:(?!\d)\w+", re.ASCII)
NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = (*STEPS, "analysis", "zip")


class _Folder(str):
    """An entry of Python's path that a study has added."""

    __slots__ = ()


def is_own(name: str) -> bool:
    """Whether a step is given as ``module:function``, not by the name of one that ships."""
    return ":" in name


def make_own(reference: str, traits: Traits, folder: Path) -> Step:
    """Make a user's own step.

    Args:
        reference: ``module:function``.
        traits: of the study.
        folder: where its module is looked for, besides Python's path.

    Raises:
        StudyError: if there is no such function, or it makes no step that a study can have.
    """
    build = _function(reference, folder)
    try:
        step = build(traits)
    except Exception as error:
        raise StudyError(f"'{reference}' fails: {_reason(error)}") from error
    if not isinstance(step, Step):
        raise StudyError(
            f"'{reference}' returns {show(step)}; allowed: a Step (pipeline.steps.base)"
        )
    if fault := _fault(step, traits):
        raise StudyError(f"'{reference}': {fault}")
    return step


def check_cost(reference: str, step: Step, case: Case) -> None:
    """See that what an own step costs is a number: seconds, and bytes where it declares them.

    Raises:
        StudyError: if not.
    """
    declared = {"cost": step.cost} | ({"memory": step.memory} if step.memory else {})
    for name, function in declared.items():
        try:
            number = float(function(case))
        except Exception as error:
            raise StudyError(f"'{reference}': its {name} fails: {_reason(error)}") from error
        if not 0 < number < math.inf:
            raise StudyError(f"'{reference}': its {name} is {number:g}; allowed: a positive number")


def source_of(reference: str, folder: Path) -> Path:
    """The file that the function of an own step is read from.

    Raises:
        StudyError: if there is none.
    """
    if not REFERENCE.fullmatch(reference):
        raise StudyError(f"{show(reference)} is no step; allowed: 'module:function'")
    name = reference.partition(":")[0]
    top = name.partition(".")[0]
    if top == "__main__" or top in sys.stdlib_module_names:
        raise StudyError(
            f"'{reference}': {top} is a module of Python's own; allowed: one that workers can "
            "import by its name"
        )
    _extend_path(folder)
    _refuse_two(top, folder)
    spec = _spec(name)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise StudyError(f"'{reference}': no module '{name}' in {folder} or on Python's path")
    return Path(spec.origin)


def _function(reference: str, folder: Path) -> Callable[[Traits], object]:
    name, _, function = reference.partition(":")
    source = source_of(reference, folder)
    try:
        module = _module(name, source, digest(source))
    except Exception as error:
        raise StudyError(f"'{reference}': {source} fails: {_reason(error)}") from error
    if module.__file__ is None or not Path(module.__file__).samefile(source):
        raise StudyError(
            f"'{reference}': {name} is loaded from {module.__file__} already, not from {source}; "
            "give one of them another name"
        )
    found = getattr(module, function, None)
    if not callable(found):
        names = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        raise StudyError(
            f"'{reference}': {source} has no function '{function}'; {nearest(function, names)}"
        )
    return found  # type: ignore[no-any-return]


@lru_cache(maxsize=32)
def _module(name: str, _source: Path, _digest: str) -> ModuleType:
    """A module, imported once for each content of its file."""
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def _extend_path(folder: Path) -> None:
    sys.path[:] = [entry for entry in sys.path if not isinstance(entry, _Folder)]
    sys.path.append(_Folder(folder))
    importlib.invalidate_caches()


def _refuse_two(top: str, folder: Path) -> None:
    """Refuse a module that stands in the folder, but would be read from elsewhere."""
    here, first = PathFinder.find_spec(top, [str(folder)]), PathFinder.find_spec(top)
    places = [s.origin for s in (here, first) if s is not None and s.origin is not None]
    if len(places) == 2 and not Path(places[0]).samefile(places[1]):
        raise StudyError(f"{places[0]} is hidden by {places[1]}; give it another name")


def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies, found without importing the packages around it."""
    top, *inner = name.split(".")
    spec = PathFinder.find_spec(top) or find_spec(top)
    path = top
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        path = f"{path}.{part}"
        spec = PathFinder.find_spec(path, list(spec.submodule_search_locations))
    return spec


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _fault(step: Step, traits: Traits) -> str:
    """Why a study cannot have a step; empty if it can."""
    if not isinstance(step.name, str) or not NAME.fullmatch(step.name) or step.name in RESERVED:
        taken = ", ".join(RESERVED)
        return (
            f"the step's name is {show(step.name)}; allowed: a word in small letters, not {taken}"
        )
    needed = {"activation", *(traits.control_keys if "train" in traits.steps else ())}
    if lacking := sorted(needed - step.keys):
        return f"its keys lack {', '.join(lacking)}; allowed: keys with these among them"
    if unknown := sorted(step.keys - set(axis_keys())):
        return f"unknown key '{unknown[0]}'; {nearest(unknown[0], axis_keys())}"
    if not step.tables:
        return "it has no tables; allowed: one or more"
    faults = (_table_fault(step, table) for table in step.tables)
    return next(filter(None, faults), "") or _repeated(step)


def _table_fault(step: Step, table: Table) -> str:
    if not table.steps or table.steps[0] != step.name:
        return f"table '{table.status}': steps = {table.steps}; allowed: '{step.name}' first"
    known = (step.name, *STEPS)
    if table is step.tables[0] and len(table.steps) > 1:
        return f"table '{table.status}': the first table has the axes of '{step.name}' alone"
    if strange := [name for name in table.steps if name not in known]:
        return f"table '{table.status}': no step '{strange[0]}'; {nearest(strange[0], known)}"
    faults = (_variable_fault(step, variable) for variable in table.variables)
    return next(filter(None, faults), "")


def _variable_fault(step: Step, variable: Variable) -> str:
    if not variable.name.isidentifier() or variable.name in (*axis_keys(), *INNER_DIMENSIONS):
        return f"the variable's name '{variable.name}' is taken or no word; choose another"
    allowed = [name for name in INNER_DIMENSIONS if name != "x" or variable.per == "cells"]
    if strange := [name for name in variable.dims if name not in allowed]:
        return f"variable '{variable.name}': dims = {variable.dims}; {nearest(strange[0], allowed)}"
    if variable.per and (variable.per != "cells" or "cells" not in step.keys):
        return f"variable '{variable.name}': per = '{variable.per}'; allowed: 'cells', if a key"
    return ""


def _repeated(step: Step) -> str:
    """A name that two variables share."""
    names = [variable.name for table in step.tables for variable in table.variables]
    names += [table.status for table in step.tables]
    twice = [name for name in names if names.count(name) > 1]
    return f"the name '{twice[0]}' occurs twice" if twice else ""

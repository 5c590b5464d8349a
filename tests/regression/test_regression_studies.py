"""The studies of regression runs: together they reach every solver of the product."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.regression.night import with_members
from pipeline.steps import STEPS
from pipeline.study import Study
from solvers.activations import ACTIVATIONS
from solvers.particles import INTEGRATORS
from solvers.sampling import SAMPLINGS
from solvers.training import LOSSES
from solvers.transport import LIMITERS

HERE = Path(__file__).parent
STUDY = HERE.parents[1] / "studies" / "regression.toml"
NO_SOLVERS = {"cache", "warm", "distributions/vector", "gpu"}
"""Modules of the package solvers that compute nothing, and that which needs a GPU."""


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    return with_members(Study.load(STUDY))


def used(studies: list[Study], key: str, section: str) -> set[Any]:
    """The values of a setting in those studies whose steps use it."""
    found: set[Any] = set()
    for study in studies:
        if any(key in step.keys for step in study.steps):
            axis = study.axis(key)
            found |= set(axis.settings(key)) if axis else {getattr(getattr(study, section), key)}
    return found


@pytest.mark.parametrize(
    ("key", "section", "choices"),
    [
        ("activation", "problem", ACTIVATIONS),
        ("loss", "problem", LOSSES),
        ("sampling", "numerics", SAMPLINGS),
        ("integrator", "numerics", INTEGRATORS),
        ("push", "numerics", ("direct", "flow-map")),
        ("limiter", "numerics", LIMITERS),
        ("discretization", "training", ("eulerian", "lagrangian")),
        ("optimizer", "training", ("armijo", "lbfgs")),
        ("warm_start", "training", (False, True)),
    ],
)
def test_every_choice_is_made(studies: list[Study], key: str, section: str, choices: Any) -> None:
    assert used(studies, key, section) == set(choices)


def kinds(value: Any) -> Iterator[str]:
    """The kinds of laws and controls in the tables of a study, however deep."""
    if isinstance(value, dict):
        yield from (value["kind"],) if "kind" in value else ()
        yield from ("file",) if "file" in value and "kind" not in value else ()
        yield from (kind for part in value.values() for kind in kinds(part))
    elif isinstance(value, list):
        yield from (kind for part in value for kind in kinds(part))


def test_every_law_and_every_step_is_there(studies: list[Study]) -> None:
    found = {kind for study in studies for kind in kinds(study.document())}
    laws = {"uniform", "normal", "beta", "mixture", "affine", "transported", "samples", "product"}
    assert found == laws | {"atoms", "file"}
    assert {step.name for study in studies for step in study.steps} == set(STEPS)
    dimensions = {(study.dimension > 1, study.trains) for study in studies}
    assert dimensions == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.slow
def test_every_solver_is_reached(tmp_path: Path) -> None:
    """The studies, made small, enter or compile a function of every module."""
    environment = {**os.environ, "MEANFIELD_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, str(HERE / "reached.py"), str(STUDY), str(tmp_path)]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=1200, check=True
    )
    found = {line.partition(":")[0] for line in result.stdout.splitlines()}
    solvers = HERE.parents[1] / "solvers"
    modules = {
        path.relative_to(solvers).with_suffix("").as_posix() for path in solvers.rglob("*.py")
    }
    assert {m for m in modules - found if not m.endswith("__init__")} <= NO_SOLVERS

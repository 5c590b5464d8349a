"""Studies small enough for tests."""

import copy
from pathlib import Path
from typing import Any

import pytest
import tomli_w

TINY: dict[str, Any] = {
    "study": {"name": "tiny", "seed": 7, "steps": ["limit", "particles"]},
    "problem": {
        "horizon": 0.2,
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "controls": {"w": -1.0, "b": "exp(t) - 1"},
    },
    "axes": {
        "activation": ["identity", "tanh"],
        "cells": [50, 100],
        "particles": [100, 300, 1000],
        "seed": {"count": 4},
    },
    "numerics": {"time_step": 0.02, "snapshots": [0.0, 0.2]},
}


@pytest.fixture(scope="session")
def tables() -> dict[str, Any]:
    """The tables of a small valid study, not to be changed."""
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The tables of a small valid study, to be changed at will."""
    return copy.deepcopy(TINY)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write tables as a study file and return its path."""

    def _write(document: dict[str, Any], name: str = "study.toml") -> Path:
        path = tmp_path / name
        path.write_text(tomli_w.dumps(document))
        return path

    return _write


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in its own folder: what it writes below runs/ goes away with it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures out at the end of runs: they take longer than a tiny study."""
    monkeypatch.setattr("pipeline.figures.draw_figures", lambda *_: [])

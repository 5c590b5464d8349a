"""Stores to report on."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.study import Study


def small(name: str, **changes: Any) -> Study:
    """A study of some seconds, on the line."""
    return Study(
        study={"name": name, "seed": 3, "steps": ["limit", "particles"]},
        problem={
            "horizon": 0.2,
            "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
            "target": {"kind": "normal", "mean": 0.5, "std": 0.2},
            "controls": {"w": -1.0, "b": "exp(t) - 1"},
        },
        axes={
            "activation": ["identity", "tanh"],
            "cells": [50, 100],
            "particles": [100, 300, 1000],
            "seed": {"count": 4},
            **changes,
        },
        numerics={"time_step": 0.02, "snapshots": [0.0, 0.1, 0.2]},
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "one.zarr"
    small("one").run(path)
    return path


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "two.zarr"
    small("two", particles=[100, 300, 900]).run(path)
    return path

"""A small store to be made hostile."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.folder import Folder
from pipeline.root import BACKUP, NAME, _digest
from pipeline.run import run_study
from pipeline.study import Study

TABLES: dict[str, Any] = {
    "study": {"name": "hostile", "steps": ["particles"]},
    "problem": {
        "horizon": 0.1,
        "initial": {"kind": "uniform", "low": 0.0, "high": 1.0},
        "controls": {"w": 1.0, "b": 0.0},
    },
    "axes": {"activation": ["tanh"], "particles": [10, 20]},
    "numerics": {"time_step": 0.1},
}


@pytest.fixture
def tables() -> dict[str, Any]:
    """The tables of a small study."""
    return copy.deepcopy(TABLES)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; the folder above it must stay as it is."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(here: Path, tables: dict[str, Any]) -> Folder:
    """A finished store."""
    run_study(Study(**tables), "data.zarr")
    return Folder(Path("data.zarr"))


@pytest.fixture
def change() -> Callable[[Folder, Callable[[dict[str, Any]], None]], None]:
    """Change the root metadata of a store, as anybody can who knows the format."""

    def _change(store: Folder, how: Callable[[dict[str, Any]], None]) -> None:
        document = json.loads((store.path / NAME).read_text())
        how(document)
        document["attributes"]["digest"] = _digest(document)
        for name in (NAME, BACKUP):
            (store.path / name).write_text(json.dumps(document))

    return _change

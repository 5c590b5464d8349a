"""A store that somebody else wrote: nothing in it runs, and nothing is written outside it."""

import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StoreError, StudyError
from pipeline.folder import Folder
from pipeline.run import run_study
from pipeline.store import open_and_grow, stored_study
from pipeline.study import Study

Change = Callable[[Folder, Callable[[dict[str, Any]], None]], None]

READERS = (
    ("status", "data.zarr"),
    ("verify", "data.zarr"),
    ("analyse", "data.zarr"),
    ("report", "data.zarr"),
    ("export", "data.zarr", "out"),
    ("export", "data.zarr", "out.nc"),
    ("compare", "data.zarr", "data.zarr"),
    ("point", "data.zarr", "particles", "particles=10"),
    ("retry", "data.zarr", "--direct", "--workers", "1"),
)
MAIN = """
import sys
from flows.cli import main
print(*[main(words.split()) for words in sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path: Path) -> Iterator[None]:
    """Whatever a store says, the folders around it stay as they are."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("as it was")
    yield
    assert {path.name for path in tmp_path.iterdir()} == {"here", "outside"}
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "as it was"
    assert not Path("unpickled").exists()


def every_verb() -> tuple[list[int], str]:
    """The exit statuses of all verbs that read a store, and all that they print as errors."""
    command = [sys.executable, "-c", MAIN, *map(" ".join, READERS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return [int(code) for code in done.stdout.split("\n")[-2].split()], done.stderr


class Bomb:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("unpickled",)


def pickled(document: dict[str, Any]) -> None:
    """Let an array be one of Zarr 2, with a filter that unpickles."""
    nodes = document["consolidated_metadata"]["metadata"]
    nodes["particles/w1"] = {
        "zarr_format": 2,
        "shape": nodes["particles/w1"]["shape"],
        "chunks": nodes["particles/w1"]["shape"],
        "dtype": "|O",
        "fill_value": base64.b64encode(pickle.dumps(Bomb())).decode(),
        "order": "C",
        "filters": [{"id": "pickle"}],
        "compressor": None,
        "dimension_separator": "/",
        "attributes": {},
    }


def strange_codec(document: dict[str, Any]) -> None:
    """Let an array have a codec of others."""
    node = document["consolidated_metadata"]["metadata"]["particles/w1"]
    node["codecs"].append({"name": "numcodecs.pickle", "configuration": {"id": "pickle"}})


def test_pickles_in_arrays(store: Folder, change: Change) -> None:
    change(store, pickled)
    statuses, said = every_verb()
    assert set(statuses) == {2}
    assert said.count("'particles/w1' is no array or group that meanfield writes") == len(READERS)


def test_codecs_of_others(store: Folder, change: Change) -> None:
    change(store, strange_codec)
    with pytest.raises(StoreError, match="is no array or group that meanfield writes"):
        stored_study(store)


@pytest.mark.parametrize("name", ["../outside/new", "{outside}/evil", "particles/../../evil"])
def test_names_that_lead_out(
    store: Folder, change: Change, tables: dict[str, Any], tmp_path: Path, name: str
) -> None:
    def add(document: dict[str, Any]) -> None:
        nodes = document["consolidated_metadata"]["metadata"]
        nodes[name.format(outside=tmp_path)] = nodes["particles"]

    change(store, add)
    with pytest.raises(StoreError, match="is no array or group that meanfield writes"):
        open_and_grow(store, Study(**tables))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("link", ["particles", "particles/w1", "particles/w1/c", "analysis"])
def test_links_that_lead_out(store: Folder, tables: dict[str, Any], link: str) -> None:
    """Folders behind a link are not written, nor emptied, where the store grows."""
    shutil.rmtree(store.path / link)
    (store.path / link).symlink_to(Path("../outside").resolve())
    tables["axes"]["particles"] = [10, 20, 40]
    try:
        run_study(Study(**tables), "data.zarr")
        said = json.loads(Path("data.zarr.run/run.json").read_text())["problem"]
    except StoreError as refusal:
        said = str(refusal)
    assert "link that leads out of the store" in said


def test_links_as_files(store: Folder, tables: dict[str, Any]) -> None:
    """A link in place of a file is replaced, not followed."""
    chunk = next(path for path in (store.path / "particles/w1/c").rglob("*") if path.is_file())
    for file in (chunk, store.path / "zarr.json"):
        file.unlink()
        file.symlink_to(Path("../outside/kept").resolve())
    (store.path / "old.partial").symlink_to(Path("../outside").resolve())
    run_study(Study(**tables), "data.zarr")
    assert not chunk.is_symlink()
    assert not (store.path / "zarr.json").is_symlink()


EVIL = "from pathlib import Path\nPath('unpickled').mkdir()\n\ndef step(traits):\n    return None\n"


def test_code_in_a_store_is_not_run(store: Folder, change: Change) -> None:
    (store.path / "evil.py").write_text(EVIL)

    def name_it(document: dict[str, Any]) -> None:
        study = json.loads(document["attributes"]["study"])
        study["study"] |= {"steps": ["particles", "evil:step"], "modules": "data.zarr"}
        document["attributes"]["study"] = json.dumps(study)

    change(store, name_it)
    with pytest.raises(StoreError, match="that no run of yours has used; if you trust it, run"):
        stored_study(store)


@pytest.mark.parametrize("name", ["../outside/new", "/tmp/new", "..", "a/b"])
def test_a_stored_study_has_a_plain_name(store: Folder, change: Change, name: str) -> None:
    def rename(document: dict[str, Any]) -> None:
        study = json.loads(document["attributes"]["study"])
        study["study"]["name"] = name
        document["attributes"]["study"] = json.dumps(study)

    change(store, rename)
    with pytest.raises(StudyError, match=r"study\.name"):
        stored_study(store)


def test_labels_make_plain_file_names(store: Folder, here: Path) -> None:
    """Values of points name the logs of failures; whatever they hold, a log stays in its folder."""
    from pipeline.compute import Failure, Token
    from pipeline.monitor import Monitor
    from pipeline.shards import Shard
    from pipeline.status import Status

    monitor = Monitor(here / "logs", store)
    values = {"activation": "../../outside/new", "seed": "/etc/passwd", "x": "a\0b\n" * 200}
    failure = Failure("../particles", values, Status.ERROR, "", "")
    monitor.finished([Token(Shard("particles", (0,)), 1, 1, [failure])], 1.0)
    (log,) = (here / "logs").iterdir()
    assert log.name.startswith("..__") or log.name.startswith(".._")

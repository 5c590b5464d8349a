"""A store that somebody else wrote: nothing in it runs, and nothing is written outside it."""

import base64
import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import trust
from pipeline.errors import StoreError, StudyError
from pipeline.folder import Folder
from pipeline.run import run_study
from pipeline.store import open_and_grow, open_store, stored_study
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


def every_verb(readers: Sequence[Sequence[str]] = READERS) -> tuple[list[int], str]:
    """The exit statuses of all verbs that read a store, and all that they print as errors."""
    command = [sys.executable, "-c", MAIN, *map(" ".join, readers)]
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
    assert "link that leads out of" in said


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


def link_outside(link: str) -> None:
    """Put a link that leads out in place of a run folder, or of a folder in it."""
    place = Path("data.zarr.run") / link
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(Path("../outside").resolve())


def test_links_beside_a_store(store: Folder, tables: dict[str, Any]) -> None:
    """A run folder may come with the store: nothing is written behind links in it."""
    study = Study(**tables)
    for link in ("report/figures", "report", "logs/slurm", "logs", "."):
        link_outside(link)
        with pytest.raises(StoreError, match="behind a link that leads out of"):
            run_study(study, "data.zarr")
        (Path("data.zarr.run") / link).unlink()


def test_verbs_beside_links(store: Folder) -> None:
    link_outside("report")
    writers = [words for words in READERS if words[0] in ("analyse", "report", "retry")]
    statuses, said = every_verb([("status", "data.zarr"), *writers])
    assert statuses == [0, 2, 2, 2]
    assert said.count("behind a link that leads out of") == 3


def test_links_as_files_beside_a_store(store: Folder, tables: dict[str, Any]) -> None:
    """Links in place of what a run and its figures write are replaced."""
    folder = Path("data.zarr.run")
    figures = [path for path in folder.iterdir() if path.suffix == ".png"]
    assert figures
    for file in (folder / "study.toml", folder / "run.json", *figures):
        file.unlink()
        file.symlink_to(Path("../outside/kept").resolve())
        scratch = file.with_name(f"{file.name}.partial")
        scratch.symlink_to(Path("../outside/kept").resolve())
    run_study(Study(**tables), "data.zarr")
    for file in (folder / "study.toml", folder / "run.json", *figures):
        assert not file.is_symlink()


def test_a_folder_that_is_named_may_be_a_link(here: Path, tables: dict[str, Any]) -> None:
    """The store itself, and what it stands in, are the user's word."""
    (here / "disk").mkdir()
    (here / "runs").symlink_to("disk")
    run_study(Study(**tables), None)
    (here / "link.zarr").symlink_to("disk/hostile/data.zarr")
    run_study(Study(**tables), "link.zarr")
    assert (here / "link.zarr.run/run.json").is_file()


MISSING = object()


def misshapen(*path: str, value: Any = MISSING) -> Callable[[dict[str, Any]], None]:
    """Replace a part of the root metadata, or of the study in it; without a value leave it out."""

    def change(document: dict[str, Any]) -> None:
        study = json.loads(document["attributes"]["study"])
        node = study if path[0] == "[study]" else document
        for key in path[path[0] == "[study]" : -1]:
            node = node[key]
        if value is MISSING:
            del node[path[-1]]
        else:
            node[path[-1]] = value
        if path[0] == "[study]":
            document["attributes"]["study"] = json.dumps(study)

    return change


NODES = ("consolidated_metadata", "metadata")


SHAPES = (
    misshapen("zarr_format"),
    misshapen("consolidated_metadata"),
    misshapen("consolidated_metadata", value=None),
    misshapen(*NODES, value=[]),
    misshapen(*NODES, "particles", value=[1]),
    misshapen(*NODES, "particles/w1", "zarr_format"),
    misshapen(*NODES, "particles/w1", "codecs", value=["bytes"]),
    misshapen(*NODES, "particles/w1", "codecs", value=5),
    misshapen("attributes", "study", value=5),
    misshapen("attributes", "study", value="[]"),
    misshapen("attributes", "study", value="null"),
    misshapen("attributes", "study", value="{"),
    misshapen("attributes", "identity", value=["a"]),
    misshapen("attributes", "axes", value=[]),
    misshapen("attributes", "axes", "particles", value={}),
    misshapen("attributes", "axes", "particles", value={"particles": [[1], [2]]}),
    misshapen("attributes", "shards"),
    misshapen("attributes", "shards", value={"particles": {"particles": 0}}),
    misshapen("[study]", "study"),
    misshapen("[study]", "study", value=[]),
    misshapen("[study]", "study", "steps", value=[["a"]]),
    misshapen("[study]", "study", "modules", value=5),
    misshapen("[study]", "unknown", value={}),
    misshapen("[study]", "where", value="elsewhere"),
)


def test_metadata_of_other_shapes(store: Folder, change: Change, tables: dict[str, Any]) -> None:
    """Metadata that are whole and say something else than ours are refused, whoever asks."""
    study, root = Study(**tables), store.path / "zarr.json"
    whole = root.read_text()
    for how in SHAPES:
        root.write_text(whole)
        change(store, how)
        with pytest.raises((StoreError, StudyError), match=r"data\.zarr") as refused:
            open_store(store, stored_study(store))
        assert "\n" not in str(refused.value)
        with contextlib.suppress(StoreError):
            open_and_grow(store, study)


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


def test_notes_of_own_steps_outlive_a_half_written_line(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = here / "own-steps.jsonl"
    monkeypatch.setattr(trust, "NOTES", notes)
    notes.write_text('["/a", "one:step"]\n["/b", "tw')
    study = SimpleNamespace(listed_steps=("particles", "evil:step"), modules=here)
    for _ in range(2):
        trust.remember(study)  # type: ignore[arg-type]
    assert list(trust._known()) == [("/a", "one:step"), (str(here), "evil:step")]
    assert notes.read_text().count("evil:step") == 1


@pytest.mark.parametrize("name", ["../outside/new", "/new", "..", "a/b"])
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

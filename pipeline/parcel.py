"""The input files and modules of a study, as they travel with a run to workers that lack them.

A worker that finds the same content at the same path uses that. Another one uses what the driver
sent it through Dask, which hands it to workers that join late too. Code comes from the driver of
the run alone, never out of a store; a content that is not the driver's is refused.
"""

import contextlib
import hashlib
import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.axes import digest, map_files
from pipeline.errors import ClusterError, StoreError
from pipeline.steps.own import is_own
from pipeline.study import Study

if TYPE_CHECKING:
    from dask.distributed import Client

MOST_BYTES = 64_000_000
"""What a run carries at most; the scheduler and each worker keep a copy."""
OURS = ("solvers", "pipeline", "flows")

_received: list[Path] = []
"""Folders with what drivers have sent to this process."""


@dataclass(frozen=True)
class Item:
    """One file.

    Attributes:
        path: where the driver has it.
        digest: the SHA-256 of its content.
        key: its path below a folder of what was sent.
    """

    path: str
    digest: str
    key: str

    @property
    def in_place(self) -> bool:
        """Whether this process finds the content where the driver has it."""
        return digest(Path(self.path)) == self.digest

    def find(self) -> Path | None:
        """Where this process finds the content."""
        places = [Path(self.path), *(folder / self.key for folder in _received)]
        return next((path for path in places if digest(path) == self.digest), None)


@dataclass(frozen=True)
class Inputs:
    """What a study needs besides its own text.

    Attributes:
        files: the data files that it names.
        code: the modules of its own steps that lie in its folder of modules.
        modules: the path of that folder below one of what was sent.
    """

    files: tuple[Item, ...] = ()
    code: tuple[Item, ...] = ()
    modules: str = ""

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them."""
        return self.files + self.code


def inputs_of(study: Study) -> Inputs:
    """What a study needs besides its own text; modules that are installed are not among it."""
    files: dict[str, str] = {}

    def note(file: str) -> str:
        files[file] = digest(Path(file))
        return file

    map_files(study.document(), note)
    code = sorted(_code(study))
    modules = hashlib.sha256(repr(code).encode()).hexdigest()[:16]
    return Inputs(
        tuple(
            Item(path, content, f"{content}/{Path(path).name}") for path, content in files.items()
        ),
        tuple(Item(str(study.modules / n), content, f"{modules}/{n}") for n, content in code),
        modules,
    )


def _code(study: Study) -> Iterator[tuple[str, str]]:
    """The modules in the study's folder that go by names which are loaded, and their digests."""
    if not any(map(is_own, study.listed_steps)):
        return
    for name in sorted(sys.modules):
        stem = study.modules.joinpath(*name.split("."))
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if name.partition(".")[0] not in OURS and path.is_file():
                yield path.relative_to(study.modules).as_posix(), digest(path)


@contextlib.contextmanager
def travelling(inputs: Inputs, client: "Client | None") -> Iterator[None]:
    """Send what a study needs to the workers of a run, and see that each has it.

    Raises:
        ClusterError: if a worker lacks a file that is too large to be sent.
        StoreError: if a file has changed since the study was read.
    """
    if client is None or not inputs.items:
        yield
        return
    from pipeline.courier import Courier

    name = f"meanfield-{uuid.uuid4().hex}"
    client.register_plugin(Courier(_packed(inputs)), name=name)
    try:
        for worker, lacking in client.run(lacks, inputs).items():
            if lacking:
                raise ClusterError(f"the worker {worker}: {lacking}")
        yield
    finally:
        with contextlib.suppress(Exception):  # the cluster may have gone
            client.unregister_worker_plugin(name)


def _packed(inputs: Inputs) -> dict[str, bytes]:
    """The contents that are small enough to be sent, by where they go."""
    contents: dict[str, bytes] = {}
    room = MOST_BYTES
    sizes = {item: Path(item.path).stat().st_size for item in inputs.items}
    for item in sorted(sizes, key=lambda item: sizes[item]):
        if (room := room - sizes[item]) < 0:
            break
        contents[item.key] = Path(item.path).read_bytes()
        if hashlib.sha256(contents[item.key]).hexdigest() != item.digest:
            raise StoreError(f"{item.path}: has changed since the study was read; run again")
    return contents


def unpack(contents: Mapping[str, bytes], folder: Path) -> None:
    """Put what a driver has sent into a folder of this process."""
    for key, content in contents.items():
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if folder not in _received:
        _received.append(folder)


def lacks(inputs: Inputs) -> str:
    """What of a study's needs this process does not find; empty if nothing."""
    missing = next((item for item in inputs.items if item.find() is None), None)
    if missing is None:
        return ""
    path = Path(missing.path)
    fault = "another content than the driver's" if path.exists() else "no such file"
    return (
        f"{path}: {fault}, and it did not come with the run, which carries up to "
        f"{MOST_BYTES / 1e6:g} MB: put it on a file system that all workers share"
    )


def at_hand(document: str, inputs: Inputs) -> str:
    """A study's document with the paths under which this process finds what it needs.

    Raises:
        StoreError: if something is not there with the content that the driver has read.
    """
    if not inputs.items:
        return document
    if lacking := lacks(inputs):
        raise StoreError(lacking)
    places = {item.path: str(item.find()) for item in inputs.files}
    tables: dict[str, Any] = json.loads(document)
    tables = map_files(tables, lambda file: places.get(file, file))
    if not all(item.in_place for item in inputs.code):
        folders = (folder / inputs.modules for folder in _received)
        tables["study"]["modules"] = str(next(path for path in folders if path.is_dir()))
    return json.dumps(tables)

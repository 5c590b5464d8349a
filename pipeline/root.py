"""The root metadata of a store: the one small file that says what is committed.

It holds the attributes and a copy of the metadata of every group and array ("consolidated
metadata", which readers use). It is replaced in one move, carries a digest of itself, and has a
backup beside it, so that neither a crash nor a flipped bit in it, or in the metadata of an array,
loses anything.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError

FORMAT = 1
NAME = "zarr.json"
BACKUP = ".zarr.json.backup"

Document = dict[str, Any]


def read_root(path: Path) -> Document:
    """The root metadata of a store of ours, from the backup if the file itself is damaged.

    Raises:
        StoreError: if there is no store of ours, it has a newer format, or both copies are damaged.
    """
    if not path.exists():
        raise StoreError(f"{path}: no store there")
    if not path.is_dir() or not any((path / name).is_file() for name in (NAME, BACKUP)):
        raise StoreError(f"{path}: not a store of meanfield; give another path")
    document, backup = _read(path / NAME), _read(path / BACKUP)
    attributes = _attributes(document)
    if document is not None and not _valid(backup) and "identity" not in attributes:
        raise StoreError(f"{path}: a Zarr hierarchy, but not a store of meanfield")
    found = attributes.get("format", FORMAT)
    if isinstance(found, int) and found != FORMAT:
        raise StoreError(f"{path}: the store has format {found}; this version reads {FORMAT}")
    for copy in (document, backup):
        if copy is not None and _valid(copy):
            return copy
    raise StoreError(f"{path}: the store's root metadata is damaged, and so is its backup")


def root_is_readable(path: Path) -> bool:
    """Whether the root metadata is undamaged, its backup apart."""
    return _valid(_read(path / NAME))


def is_intact(path: Path) -> bool:
    """Whether both copies of the root metadata are undamaged and equal."""
    document = _read(path / NAME)
    return _valid(document) and document == _read(path / BACKUP)


def commit_root(path: Path, attributes: Mapping[str, Any], arrays: Iterable[str]) -> None:
    """Write the root metadata: what it says holds from then on.

    Args:
        path: the store.
        attributes: the root's attributes.
        arrays: paths of all arrays; their own metadata are on disk already.
    """
    nodes: dict[str, Any] = {}
    for name in arrays:
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            node = "/".join(parts[:depth])
            if node not in nodes:
                nodes[node] = json.loads((path / node / NAME).read_text())
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {k: v for k, v in attributes.items() if k != "digest"},
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(sorted(nodes.items())),
        },
    }
    document["attributes"] = {**attributes, "digest": _digest(document)}
    write_root(path, document)


def write_root(path: Path, document: Document) -> None:
    """Put a root document in place, and its backup after it."""
    for name in (NAME, BACKUP):
        _replace(path / name, document)


def damaged_nodes(path: Path, document: Document) -> list[str]:
    """Groups and arrays whose own metadata are missing or not what the root says."""
    nodes = document["consolidated_metadata"]["metadata"]
    return [name for name, node in nodes.items() if _read(path / name / NAME) != node]


def restore_nodes(path: Path, document: Document, names: Iterable[str]) -> None:
    """Write the metadata of groups and arrays anew from the root's copy."""
    for name in names:
        (path / name).mkdir(parents=True, exist_ok=True)
        _replace(path / name / NAME, document["consolidated_metadata"]["metadata"][name])


def _replace(file: Path, document: Document) -> None:
    scratch = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        scratch.write_text(json.dumps(document, indent=2))
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)


def _read(file: Path) -> Document | None:
    """A JSON object, or None if the file is missing or damaged."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _attributes(document: Document | None) -> dict[str, Any]:
    found = document.get("attributes") if document else None
    return found if isinstance(found, dict) else {}


def _valid(document: Document | None) -> bool:
    return document is not None and _attributes(document).get("digest") == _digest(document)


def _digest(document: Document) -> str:
    """A digest of a root document, its own digest apart."""
    bare = {k: v for k, v in _attributes(document).items() if k != "digest"}
    text = json.dumps({**document, "attributes": bare}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

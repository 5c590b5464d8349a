"""The root metadata of a store: the one small file that says what is committed.

It holds the attributes and a copy of the metadata of every group and array ("consolidated
metadata", which readers use). It is replaced in one move, carries a digest of itself, and has a
backup beside it, so that neither a crash nor a flipped bit in it, or in the metadata of an array,
loses anything.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pipeline.errors import StoreError
from pipeline.place import Place
from solvers.errors import MeanfieldError

FORMAT = 1
NAME = "zarr.json"
BACKUP = ".zarr.json.backup"

CODECS = {"bytes", "vlen-utf8", "zstd", "crc32c"}

Document = dict[str, Any]


def read_root(place: Place) -> Document:
    """The root metadata of a store of ours, from the backup if the first copy is damaged.

    Raises:
        StoreError: if there is no store of ours, it has a newer format, or both copies are damaged.
    """
    document = _read(place, NAME)
    number = _attributes(document).get("format", FORMAT)
    if isinstance(number, int) and number != FORMAT:
        raise StoreError(f"{place}: the store has format {number}; this version reads {FORMAT}")
    found = document if document is not None and _valid(document) else _backup(place, document)
    with understood(place):
        _check_nodes(place, found)
    return found


@contextlib.contextmanager
def understood(place: Place) -> Iterator[None]:
    """Read what a store says of itself, with a refusal where it is whole, but not as ours is.

    Raises:
        StoreError: if something is missing, or of another kind than we write.
    """
    try:
        yield
    except MeanfieldError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        problem = "its metadata are not those of a store that meanfield writes"
        raise StoreError(f"{place}: {problem}") from None


def _backup(place: Place, damaged: Document | None) -> Document:
    """The second copy of the root metadata, where the first is damaged or missing.

    Raises:
        StoreError: if it is no better, or there is no store of ours.
    """
    backup = _read(place, BACKUP)
    if backup is not None and _valid(backup):
        return backup
    if damaged is not None and "identity" not in _attributes(damaged):
        problem = "a Zarr hierarchy, but not a store of meanfield"
    elif any(place.has(name) for name in (NAME, BACKUP)):
        problem = "the store's root metadata is damaged, and so is its backup"
    elif place.exists():
        problem = "not a store of meanfield; give another path"
    else:
        problem = "no store there"
    raise StoreError(f"{place}: {problem}")


def _check_nodes(place: Place, document: Document) -> None:
    """See that groups and arrays lie below the root, and are encoded as ours are.

    Other codecs may do anything, and a name with ".." would have metadata written elsewhere.

    Raises:
        StoreError: if not.
    """
    if document["zarr_format"] != 3 or not isinstance(document["attributes"]["study"], str):
        raise ValueError
    for name, node in document["consolidated_metadata"]["metadata"].items():
        parts = name.replace("\\", "/").split("/")
        codecs = {codec["name"] for codec in node.get("codecs", ())}
        if not {"", ".", ".."}.isdisjoint(parts) or node["zarr_format"] != 3 or codecs - CODECS:
            raise StoreError(f"{place}: '{name}' is no array or group that meanfield writes")


def root_is_readable(place: Place) -> bool:
    """Whether the root metadata is undamaged, its backup apart."""
    return _valid(_read(place, NAME))


def is_intact(place: Place) -> bool:
    """Whether both copies of the root metadata are undamaged and equal."""
    document = _read(place, NAME)
    return _valid(document) and document == _read(place, BACKUP)


def root_document(
    read: Callable[[str], bytes | None], attributes: Mapping[str, Any], arrays: Iterable[str]
) -> Document:
    """The root metadata of a store.

    Args:
        read: gives the metadata of groups and arrays by key; they are in place already.
        attributes: the root's attributes.
        arrays: paths of all arrays.
    """
    nodes: dict[str, Any] = {}
    for name in arrays:
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            node = "/".join(parts[:depth])
            if node not in nodes:
                nodes[node] = json.loads(read(f"{node}/{NAME}") or b"{}")
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
    return document


def write_root(place: Place, document: Document) -> None:
    """Put a root document in place, and its backup after it: what it says holds from then on."""
    for name in (NAME, BACKUP):
        place.write(name, encoded(document))


def damaged_nodes(place: Place, document: Document) -> list[str]:
    """Groups and arrays whose own metadata are missing or not what the root says."""
    nodes = document["consolidated_metadata"]["metadata"]
    return [name for name, node in nodes.items() if _read(place, f"{name}/{NAME}") != node]


def restore_nodes(place: Place, document: Document, names: Iterable[str]) -> None:
    """Write the metadata of groups and arrays anew from the root's copy."""
    for name in names:
        node = document["consolidated_metadata"]["metadata"][name]
        place.write(f"{name}/{NAME}", encoded(node))


def encoded(document: Document) -> bytes:
    """A document as it is stored."""
    return json.dumps(document, indent=2).encode()


def _read(place: Place, key: str) -> Document | None:
    """A JSON object, or None if it is missing or damaged."""
    try:
        document = json.loads(place.read(key) or b"")
    except (ValueError, RecursionError):
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

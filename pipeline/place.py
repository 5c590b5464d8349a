"""Where a store is: a folder, or a bucket of an object store; all that the pipeline asks of either.

A place holds values under keys such as ``particles/w1/c/0/0``. Each value is written whole or not
at all, and nothing here renames or locks: that is what folders and object stores have in common.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr
    from zarr.abc.store import Store as ZarrStore

BUCKETS = "s3"


class Place(ABC):
    """The place of one store; its text is what a person gave: a path or a URL."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The place as any process may be told of it: an absolute path, or the URL."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the address."""

    @property
    @abstractmethod
    def writable(self) -> bool:
        """Whether values may be written, as far as that can be told without writing one."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether anything is there."""

    @abstractmethod
    def check_makeable(self) -> None:
        """See that a store could be made here, without writing anything.

        Raises:
            StoreError: if not.
        """

    @abstractmethod
    def create(self, values: Mapping[str, bytes], root: str) -> None:
        """Make a store of these values, unless there is one: then nothing is changed.

        Args:
            values: by key.
            root: the key whose presence says that there is a store.

        Raises:
            OSError: if it cannot be written.
        """

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """A value, or None if there is none that can be read.

        Raises:
            UnreachableError: if the whole place is out of reach.
        """

    @abstractmethod
    def write(self, key: str, value: bytes) -> None:
        """Put a value in place, in one move.

        Raises:
            OSError: if it cannot be written.
        """

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a value if it is there."""

    @abstractmethod
    def clear(self) -> None:
        """Remove every value, and what holds them."""

    @abstractmethod
    def has(self, key: str) -> bool:
        """Whether there is a value under a key."""

    @abstractmethod
    def keys(self, prefix: str) -> frozenset[str]:
        """The keys below a prefix that ends a part of a key, such as ``particles/w1``."""

    @abstractmethod
    def zarr_store(self, *, read_only: bool) -> "ZarrStore":
        """The place as Zarr sees it."""

    @abstractmethod
    def leftovers(self) -> frozenset[str]:
        """What writers that were killed left behind: half-written values and half-made stores."""

    @abstractmethod
    def remove_leftovers(self, found: frozenset[str]) -> None:
        """Remove leftovers of killed writers."""

    @abstractmethod
    def child(self, key: str) -> "Place":
        """The place below a key, such as that of one store among several."""

    def absolute(self) -> "Place":
        """The same place, for another process."""
        return self

    def patient(self) -> "Place":
        """The same place, for a run: a server that is away for a while is waited for."""
        return self

    def open_tree(self) -> "xr.DataTree":
        """The store as anyone may open it."""
        import xarray as xr

        return xr.open_datatree(self.zarr_store(read_only=True), engine="zarr")  # type: ignore[arg-type]


class Listing:
    """Which values are there, each array's keys listed once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[str, frozenset[str]] = {}

    def has(self, prefix: str, key: str) -> bool:
        """Whether there is a value under ``prefix/key``."""
        return f"{prefix}/{key}" in self._below(prefix)

    def has_chunks(self, array: str) -> bool:
        """Whether an array has any chunk."""
        start = f"{array}/c/"
        return any(key.startswith(start) for key in self._below(array))

    def _below(self, prefix: str) -> frozenset[str]:
        if prefix not in self._known:
            self._known[prefix] = self._place.keys(prefix)
        return self._known[prefix]


def place_of(where: str | Path | Place, option: str = "") -> Place:
    """The place that a person gives, as a path or a URL.

    Args:
        where: the path or URL.
        option: what it was given to, for the message.

    Raises:
        StudyError: for a URL of another kind than file:// and s3://, or one that says too much.
    """
    from pipeline.folder import Folder

    if isinstance(where, Place):
        return where
    scheme, separator, rest = str(where).partition("://")
    if not separator:
        return Folder(Path(where))
    if scheme == "file":
        return Folder(Path(re.sub("^localhost/", "/", rest)))
    if scheme != BUCKETS:
        raise StudyError(
            f"{option}{where}: not a place for a store; allowed: a path, file://… or "
            "s3://bucket/prefix"
        )
    from pipeline.bucket import bucket_at

    return bucket_at(str(where), option)

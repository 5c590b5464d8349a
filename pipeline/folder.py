"""A store in a folder of a local or shared file system."""

import contextlib
import errno
import glob
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.errors import StoreError
from pipeline.files import check_inside, write_atomically
from pipeline.place import Place

if TYPE_CHECKING:
    from zarr.abc.store import Store as ZarrStore

ROOTS = ("zarr.json", ".zarr.json.backup")
_MARK = 8 * "[0-9a-f]"
"""What tells half-made stores apart; other stores may have names that begin alike."""


@dataclass(frozen=True)
class Folder(Place):
    """A store in a folder; values are files, put in place by a rename."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def address(self) -> str:
        """The absolute path."""
        return str(self.path.resolve())

    def child(self, key: str) -> "Folder":
        """The folder at a relative path below."""
        return Folder(self.path / key)

    def absolute(self) -> "Folder":
        """The same folder, for a process that works in another one."""
        return Folder(self.path.resolve())

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    @property
    def writable(self) -> bool:
        """Whether the folder may be written."""
        return os.access(self.path, os.W_OK)

    def exists(self) -> bool:
        """Whether the folder, or anything in its place, is there."""
        return self.path.exists()

    def check_makeable(self) -> None:
        """See that the folder could be made.

        Raises:
            StoreError: if not.
        """
        parent = next((p for p in self.path.parents if p.exists()), Path("/"))
        if not parent.is_dir():
            raise StoreError(f"{self}: {parent} is not a folder")
        if not os.access(parent, os.W_OK):
            raise StoreError(f"{self}: the folder {parent} is not writable")

    def create(self, values: Mapping[str, bytes], root: str) -> None:
        """Make the whole store beside its place and move it there: it exists complete or not.

        Raises:
            OSError: if it cannot be written.
        """
        scratch = Folder(self.path.with_name(f"{self.name}.{uuid.uuid4().hex[:8]}.partial"))
        try:
            for key, value in values.items():
                file = scratch.path / key
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(value)
            self._take(scratch.path, root)
        finally:
            shutil.rmtree(scratch.path, ignore_errors=True)

    def _take(self, scratch: Path, root: str) -> None:
        try:
            scratch.rename(self.path)
        except OSError:
            if not (self.path / root).is_file():  # another driver was faster: use its store
                raise

    def read(self, key: str) -> bytes | None:
        """A file's content, or None if it cannot be read."""
        try:
            return (self.path / key).read_bytes()
        except OSError:
            return None

    def write(self, key: str, value: bytes) -> None:
        """Write a file beside its place and move it there.

        Raises:
            OSError: if it cannot be written, or the store's folder has gone.
        """
        file = _inside(self.path, key)
        self.path.stat()  # a folder that has gone is not made anew
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, value)

    def remove(self, key: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(OSError):
            _inside(self.path, key).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        return (self.path / key).is_file()

    def keys(self, prefix: str) -> frozenset[str]:
        """The files in a folder of the store and in the folders below it."""
        found: set[str] = set()
        for folder, _, names in os.walk(self.path / prefix):
            inner = Path(folder).relative_to(self.path).as_posix()
            start = "" if inner == "." else f"{inner}/"
            found.update(start + name for name in names)
        return frozenset(found)

    def zarr_store(self, *, read_only: bool) -> "ZarrStore":
        """The folder as Zarr sees it."""
        return ExistingStore(self.path, read_only=read_only)

    def leftovers(self) -> frozenset[str]:
        """Half-written files in the folder, and half-made stores beside it."""
        found = set(self.path.rglob("*.partial")) if self.path.is_dir() else set()
        if self.path.parent.is_dir():
            found |= set(self.path.parent.glob(f"{glob.escape(self.name)}.{_MARK}.partial"))
        return frozenset(map(str, found))

    def remove_leftovers(self, found: frozenset[str]) -> None:
        """Remove leftovers of killed writers."""
        for file in map(Path, found):
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)


class ExistingStore(LocalStore):
    """Zarr's view of an existing folder, which a late writer never makes anew.

    Zarr makes missing folders as it writes: beneath a mount that has been lost, it would begin a
    second store on the bare disk. Here a write to a store whose root has gone fails.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one value.

        Raises:
            FileNotFoundError: if there is no root metadata any more.
        """
        root = Path(self.root)
        if not any((root / name).is_file() for name in ROOTS):
            raise FileNotFoundError(errno.ENOENT, "no store there any more", str(root))
        _inside(root, key)
        await super().set(key, value)

    async def delete(self, key: str) -> None:
        """Remove one value."""
        _inside(Path(self.root), key)
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove a group or an array."""
        _inside(Path(self.root), prefix)
        await super().delete_dir(prefix)


def _inside(root: Path, key: str) -> Path:
    """The path of a value that is to be written or removed.

    Raises:
        StoreError: if a link in it leads out of the store.
    """
    file = root / key
    check_inside(file.parent, root)
    return file

"""Files beside and in a store: written whole, and never behind a link that leads elsewhere.

A store may come from anybody, and the folder beside it with it.
"""

import os
import uuid
from pathlib import Path

from pipeline.errors import StoreError


def check_inside(path: Path, root: Path) -> None:
    """See that a file or folder lies in the folder in which it seems to.

    Raises:
        StoreError: if it is, or lies behind, a link that leads out.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise StoreError(
            f"{path}: behind a link that leads out of {root.absolute()}; nothing is written there: "
            "remove the link"
        )


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or as it was; a link in its place is replaced.

    Raises:
        OSError: if it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def halves_in(*folders: Path) -> frozenset[Path]:
    """Files in some folders that writers are at, or left when they were killed."""
    mark = 32 * "[0-9a-f]"
    return frozenset(file for folder in folders for file in folder.glob(f"*.{mark}.partial"))

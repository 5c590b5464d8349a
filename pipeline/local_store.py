"""A folder that holds a store, and that is never made anew by a late writer."""

import errno
from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.root import BACKUP, NAME


class ExistingStore(LocalStore):
    """A store in an existing folder.

    Zarr makes missing folders as it writes: beneath a mount that has been lost, it would begin a
    second store on the bare disk. Here a write to a store whose root has gone fails.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write one value.

        Raises:
            FileNotFoundError: if there is no root metadata any more.
        """
        root = Path(self.root)
        if not any((root / name).is_file() for name in (NAME, BACKUP)):
            raise FileNotFoundError(errno.ENOENT, "no store there any more", str(root))
        await super().set(key, value)

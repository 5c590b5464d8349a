"""The plugin by which Dask hands a run's files to its workers; see :mod:`pipeline.parcel`."""

from collections.abc import Mapping
from pathlib import Path

from distributed import Worker, WorkerPlugin

from pipeline.parcel import unpack


class Courier(WorkerPlugin):
    """Carries contents to each worker, also to those that join later."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = dict(contents)

    def setup(self, worker: Worker) -> None:
        """Unpack them into the worker's own folder, which goes away with it."""
        unpack(self._contents, Path(worker.local_directory) / "meanfield-inputs")

"""A process that has loaded what a worker needs, for workers to fork from.

Packages and kernels take two seconds to load; on a laptop that is a good part of a small study.
Started first thing, in parallel with the driver's own imports, it lets workers start in no time.
It ends when the driver does. Imports nothing heavy itself.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver


def start() -> None:
    """Start the process, and have Dask fork its local workers from it (where forking is sound)."""
    if sys.platform != "linux":
        return
    # Dask reads this when it is imported.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "pipeline.preload"])
    forkserver.ensure_running()

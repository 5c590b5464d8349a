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
    # Workers have one thread each: a linear algebra library with more would fight with the others
    # (L-BFGS on small problems ran 8 to 30 times slower).
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    if sys.platform != "linux":
        return
    # Dask reads this when it is imported.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "pipeline.preload"])
    forkserver.ensure_running()

"""What a worker does when it is told to end, or when its scheduler is gone: it finishes its shard.

A worker that has no scheduler any more (the driver died, a cable was cut) can still write what it
has nearly computed. It starts no other shard, and then ends.
"""

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

from pipeline.compute import leaving

if TYPE_CHECKING:
    from distributed import Worker

LONGEST = 900.0
"""Seconds that a shard may still take; a worker must not outlive its driver by hours."""


class Leaving(WorkerPlugin):
    """Keeps a worker that closes until its shard is written."""

    name = "meanfield-leaving"
    idempotent = True  # another driver may have brought it along

    def setup(self, worker: "Worker") -> None:
        """Note that the worker works, and take charge of SIGTERM.

        Without a nanny, as in a container, the worker would end at once; it finishes its shard
        instead. On Slurm, which sends the signal to every process of a job, it is left to the
        nanny, who waits for some seconds.
        """
        leaving.clear()
        if not worker.nanny and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, worker.loop.add_callback, _end, worker)
        elif worker.nanny and "SLURM_JOB_ID" in os.environ:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def teardown(self, worker: "Worker") -> None:
        """Wait for the shard in flight, if the worker closes."""
        if worker.status != Status.closing:
            return
        leaving.set()
        executor: Any = worker.executors["default"]
        await asyncio.to_thread(executor.shutdown, wait=True, timeout=LONGEST)


async def _end(worker: "Worker") -> None:
    """Finish the shard in flight, tell the driver of it, and close."""
    if worker.status not in (Status.running, Status.paused):
        return  # it closes already
    leaving.set()
    worker.status = Status.closing_gracefully  # the scheduler sends nothing more
    deadline = time.monotonic() + LONGEST
    while worker.state.executing and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    await worker.close(reason="SIGTERM")

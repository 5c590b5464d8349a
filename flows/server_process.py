"""The program of the ephemeral Prefect API server's own process.

`flows.server.EphemeralServer` starts this file as a script; it imports nothing of this project.
Standard input is a pipe that only the driver can write to and that it never writes to: end of
file there means that the driver is gone, however it died, and ends this process at once. The
watch begins before the slow imports, so a driver that dies early leaves nothing behind either.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_PARENT_POLL_SECONDS = 2.0


def _watch(driver: int) -> None:
    """End this process when the driver's end of the pipe closes or the driver is not the parent.

    The parent is looked at as well because a process that the driver forked without exec may hold
    a copy of the pipe.
    """
    while os.getppid() == driver:
        ready, _, _ = select.select([0], [], [], _PARENT_POLL_SECONDS)
        if ready and not os.read(0, 1):
            break
    os._exit(0)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the lock of this home: two servers must not migrate one new database at once."""
    with (home / "server.lock").open("w") as lock:
        with contextlib.suppress(ImportError, OSError):  # some network file systems have no locks
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def serve(listener: socket.socket, home: Path) -> None:
    """Serve Prefect's API on a bound socket until SIGTERM.

    Parameters
    ----------
    listener
        A socket that is bound and does not listen yet, so that clients are refused, rather than
        left waiting, until the server is ready.
    home
        Prefect's home; it holds the database.
    """
    gc.disable()  # the imports only create objects that stay: collecting costs a tenth of the start
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        """Release the lock when migrations are done, and collect garbage from then on."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            startup.close()
            gc.freeze()
            gc.enable()

    app = create_app(ephemeral=True, final=True)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=1
    )
    with contextlib.ExitStack() as startup:
        startup.enter_context(_alone(home))
        Server(config).run(sockets=[listener])


def main() -> None:
    """Read the driver's process id, the socket's descriptor and the home from the arguments."""
    driver, descriptor, home = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    threading.Thread(target=_watch, args=(driver,), name="driver-watch", daemon=True).start()
    serve(socket.socket(fileno=descriptor), home)


if __name__ == "__main__":
    main()

"""Who is working on a store: a small file per driver, rewritten as long as the driver lives.

Drivers with the same grid may work together. A store must not grow under another driver, so growing
it looks here first.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator

import psutil

from pipeline.place import Place

FOLDER = ".drivers"
INTERVAL = 15.0
FRESH = 60.0


@contextlib.contextmanager
def heartbeat(place: Place, folder: str = FOLDER) -> Iterator[None]:
    """Say, as long as the context lasts, that this process works on a store.

    Args:
        place: the store, or another place.
        folder: where in it the sign stands.
    """
    key = f"{folder}/{socket.gethostname()}-{os.getpid()}.json"
    ended = threading.Event()
    _beat(place, key)

    def beat_on() -> None:
        while not ended.wait(INTERVAL):
            _beat(place, key)

    thread = threading.Thread(target=beat_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        place.remove(key)


def other_drivers(place: Place, folder: str = FOLDER) -> list[str]:
    """Drivers at work on a store, this process apart, as "host (pid 12, seen 3 s ago)".

    The time is that since the driver's last sign of life. One on another host counts as alive for a
    minute after it; one on this host for as long as its process exists. Files of dead ones are
    removed.
    """
    alive = []
    for key in sorted(place.keys(folder)):
        try:
            sign = json.loads(place.read(key) or b"")
            host, pid, started, when = (sign[k] for k in ("host", "pid", "started", "time"))
        except (ValueError, KeyError, TypeError):
            continue
        if host == socket.gethostname() and pid == os.getpid():
            continue
        here = host == socket.gethostname()
        if (here and _exists(pid, started)) or (not here and time.time() - when < FRESH):
            alive.append(f"{host} (pid {pid}, seen {max(time.time() - when, 0):.0f} s ago)")
        else:
            place.remove(key)
    return alive


def _beat(place: Place, key: str) -> None:
    """Rewrite the sign; a disk that is full for a moment must not end the run."""
    sign = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "time": time.time(),
    }
    with contextlib.suppress(OSError):
        place.write(key, json.dumps(sign).encode())


def _exists(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return (
            abs(process.create_time() - started) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

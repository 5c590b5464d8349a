"""A folder and processes that go away with whoever made them, however that one ends.

The guard is a process of its own that waits for the end of a pipe from its maker, which the kernel
closes even after kill -9. It then ends every process that belongs to the folder (its environment or
its working directory says so) and removes the folder.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = "MEANFIELD_TEST_SERVICE"


class Daemons:
    """Processes in the foreground of a service, each with a log in its folder.

    Attributes:
        folder: the folder of the service.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path, user: str | None = None) -> int:
        """Start one; its pid."""
        with (self.folder / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                [*map(str, command)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {MARK: str(self.folder)},
                start_new_session=True,
                user=user,
            )
        self._running[name] = process
        return process.pid

    def do(self, *command: str | Path, user: str | None = None, seconds: float = 60.0) -> str:
        """Run a command of the service to its end; what it prints.

        Raises:
            RuntimeError: with its errors, if it fails.
        """
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {MARK: str(self.folder)},
            user=user,
            timeout=seconds,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
        return done.stdout

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for a condition, as long as all daemons live.

        Raises:
            RuntimeError: with the ends of the logs, if it does not come true.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            dead = [name for name, process in self._running.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = [f"{p.name}: {p.read_text()[-500:]}" for p in self.folder.glob("*.out")]
                raise RuntimeError("\n".join([f"not {what}; ended: {dead}", *logs]))
            time.sleep(0.1)

    def end(self, name: str, number: int = signal.SIGTERM, seconds: float = 15.0) -> None:
        """End one with a signal, and with SIGKILL if it takes long."""
        process = self._running.pop(name)
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End all, the last one first."""
        for name in reversed(list(self._running)):
            self.end(name)


@contextlib.contextmanager
def service(name: str) -> Iterator[Daemons]:
    """The daemons of a service, in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix=f"meanfield-{name}-")).resolve()
    guard = subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        cwd="/",
        stdin=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},  # nothing in it may name another service's folder
        start_new_session=True,
    )
    daemons = Daemons(folder)
    try:
        yield daemons
    finally:
        try:
            daemons.close()
        finally:
            guard.communicate()


def members(folder: Path) -> list[psutil.Process]:
    """The living processes that have a folder in their environment, or work in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            belongs = any(str(folder) in value for value in process.environ().values())
            inside = Path(process.cwd()).is_relative_to(folder)
            if (belongs or inside) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left(folder: Path, seconds: float = 20.0) -> list[psutil.Process]:
    """Which members of a folder still live after some seconds."""
    deadline = time.monotonic() + seconds
    while (found := members(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _end_all(folder: Path) -> None:
    """End the members, in the end by force, and remove the folder."""
    for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        for process in members(folder):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        left(folder, seconds)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    _end_all(Path(sys.argv[1]))

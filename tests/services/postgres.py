"""A real PostgreSQL server on loopback with one empty database, without passwords."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.services.guard import Daemons, service
from tests.services.ports import free_ports

DATABASE = USER = "prefect"


def programs() -> Path | None:
    """The folder with the server's programs: Debian keeps them off the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (installed[-1] if installed else None)
    return Path(found).resolve().parent if found else None


class Postgres:
    """A running PostgreSQL server.

    Attributes:
        address: user, host, port and database, as they stand in a URL after the scheme.
    """

    def __init__(self, daemons: Daemons, binaries: Path, port: int) -> None:
        self._daemons = daemons
        self._binaries = binaries
        self._port = port
        # The server refuses to run as root; Debian's package makes this user.
        self._user = "postgres" if os.getuid() == 0 else None
        self.address = f"{USER}@127.0.0.1:{port}/{DATABASE}"

    @property
    def prefect_url(self) -> str:
        """For Prefect's setting ``PREFECT_API_DATABASE_CONNECTION_URL``."""
        return f"postgresql+asyncpg://{self.address}"

    def form(self) -> None:
        """Make the server's files and the database."""
        if self._user:
            shutil.chown(self._daemons.folder, self._user)
        self._do("initdb", "-D", "data", "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync")
        self.start()
        self._do("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", USER, DATABASE)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        folder = self._daemons.folder
        settings = {
            "listen_addresses": "127.0.0.1", "port": self._port, "fsync": "off",
            "unix_socket_directories": folder,
        }  # fmt: skip
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._daemons.start(
            "postgres", self._binaries / "postgres", "-D", folder / "data", *options,
            user=self._user,
        )  # fmt: skip
        self._daemons.wait_until(self._answers, "answering")

    def stop(self) -> None:
        """Stop the server and cut its connections."""
        self._daemons.end("postgres", number=2)  # SIGINT: without waiting for clients

    def query(self, text: str) -> str:
        """Run a statement; what it returns."""
        return self._do("psql", "-d", f"postgresql://{self.address}", "-Atc", text).strip()

    def _answers(self) -> bool:
        with contextlib.suppress(RuntimeError):
            self._do("pg_isready", "-h", "127.0.0.1", "-p", str(self._port))
            return True
        return False

    def _do(self, program: str, *arguments: str) -> str:
        return self._daemons.do(self._binaries / program, *arguments, user=self._user)


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start PostgreSQL with an empty database, and end it."""
    binaries = programs()
    if binaries is None:
        raise RuntimeError("PostgreSQL is not installed")
    with service("postgres") as daemons:
        server = Postgres(daemons, binaries, *free_ports(1))
        server.form()
        try:
            yield server
        finally:
            with contextlib.suppress(KeyError):
                server.stop()

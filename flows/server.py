"""The ephemeral Prefect API server: one child process that cannot outlive the driver.

A study needs no server of the user's. Unless the user names one (`user_api_url`), the driver
starts its own, warms caches meanwhile, and waits for it::

    url = user_api_url()
    server = None if url else EphemeralServer.start(home, log)
    ...                                    # compile kernels, start workers
    if server:
        url = server.wait()
    prefect_settings(url, home=home if server else None)
    import prefect                         # not before: Prefect reads its settings on import

The server lives as long as a pipe whose write end only the driver holds: the kernel closes it
when the driver ends, whichever way, and the server then exits. That needs no cooperation of a
dying process and works on every POSIX system. The server has a session of its own, so that a Ctrl-C
in the driver's terminal does not reach it before the driver has recorded its final state.

Nothing here imports Prefect when this module is imported: the command line loads it for every verb.
"""

from __future__ import annotations

import contextlib
import contextvars
import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psutil

from solvers.errors import MeanfieldError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

Result = TypeVar("Result")

_PROGRAM = Path(__file__).with_name("server_process.py")
_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 3.0
_SAME_START_SECONDS = 2.0  # two readings of a process's start time agree within this
_PATIENCE_SECONDS = 150.0
"""How long a run that is over waits for its server: it may be away for a minute, and is asked at
growing intervals."""
_DRAIN_SECONDS = 10.0

_QUIET = {
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # Of a server that is away, these tell at length and event by event; the driver tells it once.
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}

# Scheduling, triggers, lateness and stored events serve deployments: `meanfield serve` has a real
# server. Task runs are written by the recorder, which must stay on.
_SERVER_SETTINGS = {
    **_QUIET,
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false",
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


class ServerError(MeanfieldError, OSError):
    """The ephemeral Prefect server could not be started; the message names its log file."""


class EphemeralServer:
    """A Prefect API server in a child process, on a free loopback port.

    Create it with `start`. It can be used as a context manager, which stops it at the end.

    Attributes:
        url: Address of the API, known from the start; it answers once `wait` has returned.
        log: File that holds everything the server writes.
        pid: Process id of the server.
    """

    def __init__(self, process: subprocess.Popen[bytes], leash: int, url: str, log: Path) -> None:
        self._process = process
        self._leash: int | None = leash
        self._owner = os.getpid()
        self.url = url
        self.log = log
        self.pid = process.pid
        _running.add(self)

    @classmethod
    def start(cls, home: Path, log: Path) -> Self:
        """Start the server and return at once.

        Args:
            home: Prefect's home, created if need be; the database lies there. Several drivers on
                one machine may share it.
            log: File to which the server's output is appended.

        Raises:
            ServerError: The folders cannot be written or the process cannot be started.
        """
        home, log = home.absolute(), log.absolute()
        reader, leash = os.pipe()  # neither end is inherited by programs started later
        try:
            home.mkdir(parents=True, exist_ok=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
                listener.bind((_HOST, 0))
                port: int = listener.getsockname()[1]
                process = _spawn(home, log, reader, listener.fileno())
        except OSError as error:
            os.close(leash)
            message = f"cannot start the Prefect server (log {log}): {error}"
            raise ServerError(message) from error
        finally:
            os.close(reader)
        return cls(process, leash, f"http://{_HOST}:{port}/api", log)

    def wait(self, timeout: float = 180.0) -> str:
        """Block until the server is healthy and return the address of its API.

        Raises:
            ServerError: The server ended, or was not healthy in time; it is stopped then.
        """
        deadline = time.monotonic() + timeout
        while not self._healthy():
            code = self._process.poll()
            if code is not None:
                self.stop()
                raise ServerError(f"the Prefect server ended with status {code}: see {self.log}")
            if time.monotonic() > deadline:
                self.stop()
                message = f"the Prefect server was not ready after {timeout:g} s: see {self.log}"
                raise ServerError(message)
            time.sleep(_POLL_SECONDS)
        return self.url

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL a few seconds later. May be called again."""
        if self._leash is None or self._owner != os.getpid():
            return
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._drop_leash()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(self.url.split("/")[2], timeout=5.0)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _drop_leash(self) -> None:
        leash, self._leash = self._leash, None
        if leash is not None:
            with contextlib.suppress(OSError):
                os.close(leash)


_running: weakref.WeakSet[EphemeralServer] = weakref.WeakSet()


def _forget_in_fork() -> None:
    # A forked child (multiprocessing "fork") must not keep the driver's server alive.
    for server in list(_running):
        server._drop_leash()


os.register_at_fork(after_in_child=_forget_in_fork)


def _spawn(home: Path, log: Path, leash: int, listener: int) -> subprocess.Popen[bytes]:
    """Start the server's process, with none of the user's Prefect settings in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= _SERVER_SETTINGS | {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
    }
    arguments = [str(os.getpid()), str(listener), str(home)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), *arguments],
            stdin=leash,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,  # Prefect reads settings from files in the working directory
            env=environment,
            pass_fds=[listener],
            start_new_session=True,
        )


# --- settings of the driver ----------------------------------------------------------------------


def user_api_url() -> str | None:
    """Return the Prefect API that the user has chosen, or None if there is none.

    Looked up as Prefect does, without importing it: the environment, then `.env`, `prefect.toml`
    and `pyproject.toml` in the working directory, then the active profile.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    url = (
        _dotenv_url(Path(".env"))
        or _lookup(_toml(Path("prefect.toml")), "api", "url")
        or _lookup(_toml(Path("pyproject.toml")), "tool", "prefect", "api", "url")
        or _profile_url(_toml(profiles))
    )
    return url or None


def prefect_settings(url: str, home: Path | None = None) -> dict[str, str]:
    """Set what the driver's Prefect needs, in this process's environment, and return it.

    Must run before the first ``import prefect``, which reads the environment once; where Prefect is
    imported already, its settings are read anew.

    Args:
        url: Address of the API to use.
        home: Prefect's home when the server is ours; None leaves the user's home, profile and key
            alone.
    """
    settings = _QUIET | {"PREFECT_API_URL": url, "PREFECT_SERVER_EPHEMERAL_ENABLED": "false"}
    # Waits of 2, 4, 8 … 64 s: a server may be away for a minute and more.
    settings["PREFECT_CLIENT_MAX_RETRIES"] = os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "6")
    if home is not None:
        settings |= {
            "PREFECT_HOME": str(home.absolute()),
            "PREFECT_PROFILES_PATH": str(home.absolute() / "profiles.toml"),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        }
        settings |= _past_proxies(os.environ)
    os.environ.update(settings)
    # A filter and no level: Prefect resets the levels of its loggers when it is imported.
    logging.getLogger("prefect.events.clients").addFilter(lambda _record: False)
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    return settings


def check_home(home: Path) -> None:
    """See that a server of ours could keep its files there, without writing anything.

    Raises:
        ServerError: if not.
    """
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise ServerError(
            f"{place}: not a folder that can be written, and the Prefect server needs {home}; make "
            "room for it, or run with --direct"
        )


def check_server(url: str) -> None:
    """See that the user's Prefect server answers.

    Call it after `prefect_settings`.

    Raises:
        ServerError: if it does not.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client:
        problem = client.api_healthcheck()
    if problem is not None:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ServerError(
            f"PREFECT_API_URL = {url}: no Prefect server answers there ({reason[0]}); start it, "
            "unset the variable, or run with --direct"
        )


def _past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Exempt the loopback address from a proxy of the user's, which cannot reach our server."""
    if not any(name.lower() in {"http_proxy", "all_proxy"} for name in environment):
        return {}
    names = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    value = ",".join(filter(None, [names, _HOST, "localhost"]))
    return {"no_proxy": value, "NO_PROXY": value}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _lookup(table: Any, *keys: str) -> str | None:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, str) else None


def _profile_url(profiles: dict[str, Any]) -> str | None:
    active = os.environ.get("PREFECT_PROFILE") or _lookup(profiles, "active")
    return _lookup(profiles, "profiles", active, "PREFECT_API_URL") if active else None


def _dotenv_url(path: Path) -> str | None:
    if not path.is_file():
        return None
    from dotenv import dotenv_values  # comes with Prefect

    return dotenv_values(path).get("PREFECT_API_URL")


# --- the end of a flow ---------------------------------------------------------------------------


def bounded(run: Callable[[], Result], over: Callable[[], bool]) -> Result | None:
    """Call a flow, and give up waiting for it when the server does not take its final state.

    The flow runs in a thread: Prefect then leaves the signals alone.

    Args:
        run: calls the flow.
        over: whether the flow has done its work, so that only its final state is open.

    Returns:
        what the flow returns, or None if the server had not answered after some minutes.
    """
    outcome: Future[Result] = Future()

    def work() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller
            outcome.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), daemon=True).start()
    deadline = float("inf")
    while time.monotonic() < deadline:
        if wait([outcome], timeout=0.5).done:
            return outcome.result()
        if deadline == float("inf") and over():
            deadline = time.monotonic() + _PATIENCE_SECONDS
    return None


def settle() -> bool:
    """Send the server what Prefect still has for it; False if that takes too long.

    Prefect does so when the process ends as well, but then without a bound.
    """
    if "prefect.events.worker" not in sys.modules:
        return True
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    waits: list[Any] = [w.drain_all(timeout=_DRAIN_SECONDS) for w in (EventsWorker, APILogWorker)]
    return not any(wait.not_done for wait in waits)


def leave_unless_settled(status: int) -> None:
    """End the process here if Prefect would keep it, for a server that does not answer."""
    if not settle():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


# --- flow runs of dead drivers -------------------------------------------------------------------


def driver_identity() -> str:
    """Return `host/pid/start` of this process: what a flow run records as its parameter `driver`.

    A parameter and not a tag: Prefect asks the server for a concurrency limit for every tag of
    every task run.
    """
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def mark_crashed(flow: str = "sweep") -> list[str]:
    """Set to Crashed the unfinished runs of a flow whose driver on this host is gone.

    Call it after `prefect_settings`, with the server up, before the driver's own run starts. Runs
    without a parameter `driver` (`driver_identity`), or of another host, are left alone.

    Returns:
        list of str: Names of the flow runs that were marked.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    unfinished = filters.FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    marked: list[str] = []
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[flow])),
            flow_run_filter=filters.FlowRunFilter(
                state=filters.FlowRunFilterState(type=unfinished)
            ),
        )
        for run in runs:
            driver = _dead_driver(run)
            if driver is not None:
                state: Any = Crashed(message=f"The driver {driver} is gone; run again to go on.")
                client.set_flow_run_state(run.id, state, force=True)
                marked.append(run.name)
    return marked


def _dead_driver(run: FlowRun) -> str | None:
    """Return the driver of a flow run if it ran on this host and is gone."""
    driver = str(run.parameters.get("driver", ""))
    host, _, process = driver.rpartition("/")[0].rpartition("/")
    start = driver.rpartition("/")[2]
    if host != socket.gethostname():
        return None
    try:
        alive = _alive(int(process), float(start))
    except ValueError:
        return None
    return None if alive else driver


def _alive(pid: int, start: float) -> bool:
    """Say whether the process that had this id at this start time still runs."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - start) < _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

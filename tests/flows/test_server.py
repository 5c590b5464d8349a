"""The ephemeral server: starts, serves, stays quiet, and never outlives its driver."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import server
from flows.server import EphemeralServer, ServerError

STARTED = 60.0  # seconds within which anything here must have happened

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
from flows.server import EphemeralServer, driver_identity, mark_crashed, prefect_settings
home = Path(sys.argv[1])
server = EphemeralServer.start(home, home / "server.log")
def say(word):
    (home / f"said-{os.getpid()}").write_text(f"{word} {server.pid}")
"""

FLOW = """
prefect_settings(server.url, home)
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner
@task
def one(i):
    return i
@flow(name="sweep", task_runner=ThreadPoolTaskRunner(max_workers=4))
def sweep(driver, n, pause):
    if pause:
        say("running")
        time.sleep(pause)
    return sum(f.result() for f in [one.submit(i) for i in range(n)])
server.wait()
"""


class Drivers:
    """Starts driver programs in one home and clears away whatever they leave."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[subprocess.Popen[str]] = []

    def start(self, program: str, **environment: str) -> subprocess.Popen[str]:
        self.home.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(self.home)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment() | environment,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def said(self, process: subprocess.Popen[str], word: str) -> int:
        """Wait until the driver has said the word; return the process id of its server."""
        file = self.home / f"said-{process.pid}"

        def heard() -> bool:
            assert process.poll() is None, process.communicate()
            return file.exists() and file.read_text().split()[:1] == [word]

        until(heard)
        return int(file.read_text().split()[1])

    def leftovers(self) -> list[psutil.Process]:
        """Return every process that works in this home, however it was started."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.home) in process.cmdline() and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def clear(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for process in self.leftovers():
            process.kill()


def clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}


def until(condition: Callable[[], bool], timeout: float = STARTED) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database exists already."""
    home = tmp_path_factory.mktemp("prefect")
    with EphemeralServer.start(home, home / "server.log") as running:
        running.wait()
    return home


@pytest.fixture
def drivers(shared_home: Path) -> Iterator[Drivers]:
    started = Drivers(shared_home)
    yield started
    started.clear()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Drivers]:
    started = Drivers(tmp_path / "fresh")
    yield started
    started.clear()


SLOW = pytest.mark.slow
PHASES = {
    "spawned": "say('now'); time.sleep(600)",
    "importing": "time.sleep(1.0); say('now'); time.sleep(600)",
    "serving": "server.wait(); say('now'); time.sleep(600)",
}


@pytest.mark.parametrize(
    ("phase", "kill"),
    [
        pytest.param("spawned", os.kill, id="spawned-alone"),
        pytest.param("serving", os.killpg, id="serving-group"),
        pytest.param("spawned", os.killpg, id="spawned-group", marks=SLOW),
        pytest.param("serving", os.kill, id="serving-alone", marks=SLOW),
        pytest.param("importing", os.kill, id="importing-alone", marks=SLOW),
        pytest.param("importing", os.killpg, id="importing-group", marks=SLOW),
    ],
)
def test_server_dies_with_a_killed_driver(
    drivers: Drivers, phase: str, kill: Callable[[int, int], None]
) -> None:
    process = drivers.start(PHASES[phase])
    child = drivers.said(process, "now")
    assert psutil.pid_exists(child)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not drivers.leftovers(), timeout=5.0)


@pytest.mark.slow
def test_server_dies_while_migrating_a_new_home(fresh: Drivers) -> None:
    process = fresh.start("say('now'); time.sleep(600)")
    fresh.said(process, "now")
    until(lambda: (fresh.home / "prefect.db").exists())
    process.kill()
    process.wait()
    until(lambda: not fresh.leftovers(), timeout=5.0)
    with EphemeralServer.start(fresh.home, fresh.home / "server.log") as again:
        again.wait()


@pytest.mark.parametrize(
    "child", [pytest.param("python", marks=SLOW), pytest.param("forked", marks=SLOW), "sleep"]
)
def test_other_children_of_the_driver_do_not_keep_the_server(drivers: Drivers, child: str) -> None:
    children = {
        "python": "import subprocess; subprocess.Popen([sys.executable, '-c', 'import time;"
        " time.sleep(30)'], close_fds=False)",
        "forked": "if os.fork() == 0: time.sleep(30); os._exit(0)",
        "sleep": "import subprocess; subprocess.Popen(['sleep', '30'], close_fds=False)",
    }
    process = drivers.start(f"{children[child]}\nserver.wait(); say('now'); time.sleep(600)")
    server_pid = drivers.said(process, "now")
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    try:
        until(lambda: not psutil.pid_exists(server_pid), timeout=5.0)
    finally:
        for member in family:
            if member.is_running():
                member.kill()


def test_interrupt_of_the_terminal_leaves_the_server_to_the_driver(drivers: Drivers) -> None:
    process = drivers.start(
        """
        server.wait()
        say("now")
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            print("healthy", server._healthy())
            server.stop()
        """
    )
    drivers.said(process, "now")
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=STARTED)
    assert (output, errors) == ("healthy True\n", "")
    assert not drivers.leftovers()


def test_flow_is_recorded_and_quiet(drivers: Drivers) -> None:
    process = drivers.start(
        FLOW + "print(sweep(driver_identity(), 20, 0))\nserver.stop()",
        http_proxy="http://127.0.0.1:9",
        all_proxy="http://127.0.0.1:9",
    )
    output, errors = process.communicate(timeout=STARTED)
    assert (output, errors, process.returncode) == ("190\n", "", 0)
    assert not drivers.leftovers()
    with sqlite3.connect(drivers.home / "prefect.db") as database:
        flows = database.execute("select state_type from flow_run").fetchall()
        tasks = database.execute("select count(*) from task_run").fetchone()[0]
    database.close()
    assert flows == [("COMPLETED",)]
    # The recorder writes task runs a moment later; on a busy machine the server ends before it.
    assert 0 < tasks <= 20


@pytest.mark.slow
def test_two_drivers_share_a_new_home(fresh: Drivers) -> None:
    program = FLOW + "print(sweep(driver_identity(), 40, 0))\nserver.stop()"
    both = [fresh.start(program) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=120)
        assert (output, errors, process.returncode) == ("780\n", "", 0)
    with sqlite3.connect(fresh.home / "prefect.db") as database:
        flows = database.execute("select state_type, count(*) from flow_run group by 1").fetchall()
        tasks = database.execute("select state_type, count(*) from task_run group by 1").fetchall()
    database.close()
    assert flows == [("COMPLETED", 2)]
    # The recorder writes task runs a moment later: the last ones may still be shown as running, or
    # not at all where the machine is busy and the server ends with its driver.
    assert 0 < sum(number for _, number in tasks) <= 80
    assert not {state for state, _ in tasks} & {"FAILED", "CRASHED", "CANCELLED"}


@pytest.mark.slow
def test_runs_of_dead_drivers_are_marked_crashed_and_of_live_ones_are_not(fresh: Drivers) -> None:
    dead = fresh.start(FLOW + "sweep(driver_identity(), 0, 600)")
    fresh.said(dead, "running")
    dead.kill()
    dead.wait()
    live = fresh.start(FLOW + "sweep(driver_identity(), 0, 600)")
    fresh.said(live, "running")
    third = fresh.start(FLOW + "print(len(mark_crashed()), len(mark_crashed()))\nserver.stop()")
    output, errors = third.communicate(timeout=STARTED)
    assert (output, errors) == ("1 0\n", "")
    with sqlite3.connect(fresh.home / "prefect.db") as database:
        states = {row[0] for row in database.execute("select state_type from flow_run").fetchall()}
    database.close()
    assert states == {"CRASHED", "RUNNING"}


def test_start_returns_at_once_and_stop_is_idempotent(shared_home: Path) -> None:
    began = time.monotonic()
    running = EphemeralServer.start(shared_home, shared_home / "server.log")
    assert time.monotonic() - began < 1.0
    try:
        assert running.wait() == running.url
        assert running.url.startswith("http://127.0.0.1:")
    finally:
        began = time.monotonic()
        running.stop()
    assert time.monotonic() - began < server._STOP_SECONDS + 1.0
    running.stop()
    assert not psutil.pid_exists(running.pid)


def test_stop_kills_a_server_that_does_not_listen(shared_home: Path) -> None:
    with EphemeralServer.start(shared_home, shared_home / "server.log") as running:
        os.kill(running.pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < server._STOP_SECONDS + 2.0
    assert not psutil.pid_exists(running.pid)


def test_failure_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_text("this is no database" * 1000)
    running = EphemeralServer.start(tmp_path, tmp_path / "logs" / "server.log")
    with pytest.raises(ServerError, match=r"server\.log") as caught:
        running.wait()
    assert "\n" not in str(caught.value)
    assert "not a database" in running.log.read_text()
    assert not psutil.pid_exists(running.pid)


def test_timeout_is_an_error_and_leaves_nothing(shared_home: Path) -> None:
    running = EphemeralServer.start(shared_home, shared_home / "server.log")
    with pytest.raises(ServerError, match=r"not ready after 0\.1 s"):
        running.wait(timeout=0.1)
    assert not psutil.pid_exists(running.pid)


def test_home_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="cannot start"):
        EphemeralServer.start(tmp_path / "file" / "home", tmp_path / "server.log")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and home without any Prefect setting."""
    for name in [n for n in os.environ if n.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_server_of_the_users(nowhere: Path) -> None:
    assert server.user_api_url() is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", "PREFECT_API_URL=http://there/api\n"),
        ("prefect.toml", "[api]\nurl = 'http://there/api'\n"),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'http://there/api'\n"),
        (
            ".prefect/profiles.toml",
            "active = 'mine'\n[profiles.mine]\nPREFECT_API_URL = 'http://there/api'\n",
        ),
    ],
)
def test_server_of_the_users_is_found_as_prefect_finds_it(
    nowhere: Path, file: str, text: str
) -> None:
    (nowhere / file).parent.mkdir(exist_ok=True)
    (nowhere / file).write_text(text)
    assert server.user_api_url() == "http://there/api"
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import prefect.settings as s; print(s.get_current_settings().api.url)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout == "http://there/api\n"


def test_environment_comes_first(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / ".env").write_text("PREFECT_API_URL=http://there/api\n")
    monkeypatch.setenv("PREFECT_API_URL", "http://here/api")
    assert server.user_api_url() == "http://here/api"


def test_profile_of_another_name_is_not_used(nowhere: Path) -> None:
    (nowhere / ".prefect").mkdir()
    (nowhere / ".prefect/profiles.toml").write_text(
        "active = 'ephemeral'\n[profiles.mine]\nPREFECT_API_URL = 'http://there/api'\n"
    )
    assert server.user_api_url() is None


def test_prefect_is_not_imported_early() -> None:
    program = "import sys, flows.server; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_identity_of_this_process_is_alive() -> None:
    host, pid, start = server.driver_identity().split("/")
    assert host == socket.gethostname()
    assert server._alive(int(pid), float(start))
    assert not server._alive(int(pid), float(start) - 60.0)

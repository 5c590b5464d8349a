"""Storage that is read-only, full, lost or hanging, as a kernel presents it to a run.

The file systems are real: a mount namespace of the test's own holds them, which takes a kernel that
allows it. `tests/pipeline/test_storage.py` has the same faults by their error numbers.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

STORE = "disk/x.zarr"
STUDY = """
[study]
name = "long"
[problem]
horizon = 0.5
initial = { kind = "normal", mean = 0.0, std = 0.3 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["identity", "tanh"]
cells = [50]
particles = [1000, 10000, 30000]
seed = { count = 12 }
"""
POINTS = 2 + 2 * 3 * 12
SMALL = STUDY.replace("[1000, 10000, 30000]", "[100, 1000]").replace("count = 12", "count = 3")
UNSHARE = ["unshare", "--mount", "--propagation", "private"]


def _can_mount() -> bool:
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("nsenter"):
        return False
    trial = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not _can_mount(), reason="no right to mount file systems")


class Disk:
    """Mounts that only this object's commands see."""

    def __init__(self, place: Any) -> None:
        self._holder = subprocess.Popen([*UNSHARE, "sleep", "1000"])
        enter = ("nsenter", "--mount", f"--target={self._holder.pid}", "--", "sh", "-c")
        self.place = type(place)(place.folder, (*enter, 'cd "$0" && exec "$@"', str(place.folder)))
        (place.folder / "disk").mkdir()
        (place.folder / "backing").mkdir()
        time.sleep(0.3)

    def do(self, *arguments: str) -> None:
        """Run a command that sees the mounts, again while files are open for writing."""
        for _ in range(200):
            done = subprocess.run(
                [*self.place.prefix, *arguments], capture_output=True, check=False, text=True
            )
            if done.returncode == 0:
                return
            time.sleep(0.02)
        raise RuntimeError(done.stderr)

    def close(self) -> None:
        """Let the mounts go."""
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def disk(place: Any) -> Iterator[Disk]:
    (place.folder / "study.toml").write_text(STUDY)
    (place.folder / "small.toml").write_text(SMALL)
    disk = Disk(place)
    yield disk
    disk.close()


@needs_mounts
def test_read_only_store_is_read_and_not_written(disk: Disk) -> None:
    disk.do("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", "disk")
    place = disk.place
    code, _, err = place.run("run", "small.toml", "--direct", "--store", STORE)
    assert code == 0, err
    disk.do("mount", "-o", "remount,ro", "disk")
    point = ("particles", "activation=tanh", "particles=100", "seed=1")
    for reading in (
        ("status", STORE),
        ("verify", STORE),
        ("export", STORE, "out.nc"),
        ("compare", STORE, STORE),
        ("point", STORE, *point),
        ("run", "small.toml", "--store", STORE, "--dry-run"),
    ):
        code, _, err = place.run(*reading)
        assert (code, err) == (0, ""), reading
    for writing in (
        ("run", "small.toml", "--store", STORE, "--direct"),
        ("run", "small.toml", "--store", "disk/new.zarr", "--direct"),
        ("retry", STORE, "--direct"),
        ("analyse", STORE),
    ):
        code, out, err = place.run(*writing)
        assert code == 2, writing
        assert len(err.strip().splitlines()) == 1
        assert "not writable" in err
        assert out == ""


def read_only(disk: Disk) -> None:
    disk.do("mount", "-o", "remount,ro", "disk")


def writable_again(disk: Disk) -> None:
    disk.do("mount", "-o", "remount,rw", "disk")


def full(disk: Disk) -> None:
    disk.do("sh", "-c", "cat /dev/zero > disk/filler || true")


def roomy_again(disk: Disk) -> None:
    disk.do("rm", "disk/filler")


def lost(disk: Disk) -> None:
    disk.do("umount", "--lazy", "disk")


def back(disk: Disk) -> None:
    disk.do("mount", "--bind", "backing", "disk")


@needs_mounts
@pytest.mark.parametrize(
    ("harm", "mend", "said"),
    [
        (read_only, writable_again, "Read-only file system"),
        (full, roomy_again, "No space left"),
        (lost, back, "disk/x.zarr"),
    ],
)
def test_storage_that_fails_midway_ends_the_run_and_it_is_completed(
    disk: Disk, harm: Callable[[Disk], None], mend: Callable[[Disk], None], said: str
) -> None:
    place = disk.place
    if harm is lost:
        back(disk)
    else:
        disk.do("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", "disk")
    command = ("run", "study.toml", "--direct", "--store", STORE, "--json")
    driver = place.start(*command)
    wait_for_chunks(disk, 5)
    harm(disk)
    code, out, err = place.end(driver)
    assert code == 1, err
    summary = json.loads(out)
    assert said in summary["problem"]
    assert sum(summary["problem"] in line for line in err.splitlines()) == 1
    assert "the same command goes on" in err
    assert place.left() == set()
    assert list((place.folder / "disk").iterdir()) == []  # nothing beneath a mount that is lost
    mend(disk)
    code, out, err = place.run(*command)
    assert code == 0, err
    rest = json.loads(out)
    assert rest["points"]["particles"]["done"] == POINTS - 2
    assert 0 < rest["computed"] < POINTS
    assert place.run("verify", STORE)[0] == 0
    place.run("run", "study.toml", "--direct", "--store", "fresh.zarr")
    code, out, _ = place.run("compare", STORE, "fresh.zarr", "--json")
    assert code == 0
    assert all(variable["other_bits"] == 0 for variable in json.loads(out)["variables"])


def wait_for_chunks(disk: Disk, number: int) -> None:
    deadline = time.monotonic() + 120
    find = [*disk.place.prefix, "find", f"{STORE}/particles/status/c", "-type", "f"]
    while True:
        found = subprocess.run(find, capture_output=True, check=False, text=True).stdout
        if len(found.splitlines()) >= number:
            return
        assert time.monotonic() < deadline, "no chunks in time"
        time.sleep(0.05)


HANG = """
import multiprocessing, pathlib, time
import zarr.storage._local as local
put = local._put
def hang(path, *arguments, **named):
    if multiprocessing.parent_process() and pathlib.Path("hang").exists():
        time.sleep(1000)
    return put(path, *arguments, **named)
local._put = hang
"""


def test_run_whose_workers_hang_in_the_storage_can_be_stopped(place: Any) -> None:
    """sitecustomize.py is what Python runs first in every process."""
    (place.folder / "study.toml").write_text(STUDY)
    (place.folder / "sitecustomize.py").write_text(HANG)
    path = os.pathsep.join(filter(None, [str(place.folder), os.environ.get("PYTHONPATH")]))
    hanging = type(place)(place.folder, environment=(("PYTHONPATH", path),))
    driver = hanging.start("run", "study.toml", "--direct", "--store", "x.zarr")
    hanging.wait_for_points("x.zarr", 1)
    (place.folder / "hang").touch()
    time.sleep(2)
    driver.send_signal(signal.SIGINT)
    code, _, err = hanging.end(driver)
    assert code == 130, err
    assert hanging.left() == set()
    code, out, err = place.run("run", "study.toml", "--direct", "--store", "x.zarr", "--json")
    assert code == 0, err
    assert json.loads(out)["points"]["particles"]["done"] == POINTS - 2
    assert place.run("verify", "x.zarr")[0] == 0
    assert list(place.folder.rglob("*.partial")) == []

"""The container image, as far as it can be seen without an engine."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

HOME = Path(__file__).resolve().parents[2]
DOCKERFILE = (HOME / "deploy/Dockerfile").read_text()
PINNED = re.compile(r"^[A-Za-z0-9_.-]+==[^\s]+ ")


def sources() -> list[str]:
    """What the Dockerfile copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_all_that_is_copied_is_there_and_let_in() -> None:
    ignored = (HOME / ".dockerignore").read_text().split()
    assert "*" in ignored
    for source in sources():
        assert (HOME / source).exists(), source
        assert f"!{source.rstrip('/')}" in ignored, source
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert let_in == {source.rstrip("/") for source in sources()}


def test_image_is_pinned_and_not_root() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    assert len(stages) == 3
    installs = [line for line in DOCKERFILE.split(" && ") if "install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert "USER 10001:10001" in stages[-1]
    assert "HEALTHCHECK" in stages[-1]
    assert "MEANFIELD_CACHE_DIR=/opt/meanfield/cache" in stages[-1]


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_locks_have_hashes_and_agree_with_ours(name: str) -> None:
    text = (HOME / "deploy" / name).read_text()
    ours = set((HOME / "requirements.lock").read_text().splitlines())
    pins = [line for line in text.splitlines() if not line.startswith(" ")]
    assert pins
    assert all(PINNED.match(line) and line in ours for line in pins)
    assert text.count("--hash=") >= len(pins)
    assert "://" not in text
    assert not [line for line in pins if line.startswith(("pytest", "ruff", "mypy", "uv="))]


def test_lock_has_all_that_the_product_needs() -> None:
    document = tomllib.loads((HOME / "pyproject.toml").read_text())
    lock = (HOME / "deploy/requirements.lock").read_text().lower()
    extra = document["project"]["optional-dependencies"]["kubernetes"]
    for requirement in document["project"]["dependencies"] + extra:
        name = re.match(r"[A-Za-z0-9_.-]+", requirement)
        assert name is not None
        assert f"\n{name[0].lower()}==" in f"\n{lock}", requirement


class Answers(BaseHTTPRequestHandler):
    """A service that is well at /health and ill elsewhere, and an S3 store."""

    buckets: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/health") else 503)
        self.end_headers()

    def do_HEAD(self) -> None:
        known = 200 if self.path in self.buckets else 404
        self.send_response(403 if self.path == "/foreign" else known)
        self.end_headers()

    def do_PUT(self) -> None:
        self.buckets.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def program(name: str) -> Any:
    """A program of the image."""
    spec = importlib.util.spec_from_file_location(name, HOME / f"deploy/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bucket_is_made_once(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = program("bucket")
    monkeypatch.setattr(Answers, "buckets", [])
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "throw-away")
    for store in ("s3://meanfield/a", "s3://meanfield/b/c", "/data/runs"):
        assert bucket.main(store) == 0
    assert Answers.buckets == ["/meanfield"]
    assert bucket.main("s3://foreign/a") == 1
    assert "s3://foreign/a: " in capsys.readouterr().err


def test_health(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    health = program("health")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert health.main([]) == 0
    assert health.main([f"{address}/health"]) == 0
    assert health.main([f"{address}/else"]) == 1
    monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
    assert health.main([]) == 0
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert health.main([]) == 1


STUDY = """
[study]
name = "small"
[problem]
horizon = 0.1
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = 0.0 }
[axes]
activation = ["tanh"]
cells = [50]
particles = [10, 20]
seed = { count = 2 }
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder with `data` and `tmp`, which alone are written, and the kernels of an image."""
    from solvers import CACHE_DIRECTORY
    from solvers.warm import warm

    warm()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        for folder in ("data", "tmp", "cache/numba"):
            (root / folder).mkdir(parents=True)
        shutil.copytree(CACHE_DIRECTORY, root / "cache/numba" / CACHE_DIRECTORY.name)
        yield root


READ_ONLY = """
set -e
mount --make-rprivate /
for folder in data tmp; do mount --bind "$0/$folder" "$0/$folder"; done
for place in $(awk '$5 ~ "^/" && $5 !~ "^/(proc|sys|dev)" {print $5}' /proc/self/mountinfo); do
  case $place in "$0"/*) ;; *) mount -o remount,ro,bind "$place" ;; esac
done
cd "$0/data"
if touch "$0/cache/written" 2>/dev/null; then echo "the root can be written" >&2; exit 99; fi
exec "$@"
"""


def may_mount() -> bool:
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount")
def test_run_with_a_read_only_root(root: Path) -> None:
    (root / "data/study.toml").write_text(STUDY)
    command = ("-m", "flows.cli", "run", "study.toml", "--direct", "--workers", "1", "--json")
    result = subprocess.run(
        ["unshare", "--mount", "bash", "-c", READ_ONLY, root, sys.executable, *command],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nowhere",
            "TMPDIR": str(root / "tmp"),
            "MEANFIELD_CACHE_DIR": str(root / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["computed"] == 1 + 4
    warmed = {path.name for path in (root / "cache").rglob("*.nbc")}
    used = {path.name for path in (root / "tmp").rglob("*.nbc")}
    assert warmed
    assert used == warmed  # nothing was compiled again

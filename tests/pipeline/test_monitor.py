"""The logs of failed points: one for each, whatever the values are called."""

import io
from pathlib import Path

import pytest

from pipeline.compute import Failure, Token
from pipeline.folder import Folder
from pipeline.monitor import Monitor
from pipeline.shards import Shard
from pipeline.status import Status


@pytest.mark.parametrize(
    "names",
    [
        ["x" * 300 + "a", "x" * 300 + "b"],
        ["sin(t)", "sin t ", "sin[t]"],
        ["a/b", "a b"],
    ],
)
def test_failures_have_logs_of_their_own(tmp_path: Path, names: list[str]) -> None:
    monitor = Monitor(tmp_path, Folder(tmp_path / "store.zarr"), io.StringIO())
    failures = [Failure("limit", {"controls": n}, Status.ERROR, "reason", n) for n in names]
    monitor.finished([Token(Shard("limit", (0,)), len(names), len(names), failures)], 1.0)
    logs = [path.read_text() for path in tmp_path.glob("*.txt")]
    assert len(logs) == len(names)
    assert all(any(text.endswith(name) for text in logs) for name in names)
    assert all(len(path.name) < 200 for path in tmp_path.iterdir())

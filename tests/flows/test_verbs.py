"""What verbs say and how they end, on stores that are made from Python."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.study import Study

TRAINED: dict[str, Any] = {
    "study": {"name": "trained", "steps": ["train"]},
    "problem": {
        "horizon": 1.0,
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "target": {"kind": "uniform", "low": 0.5, "high": 1.5},
    },
    "axes": {"activation": ["tanh"], "gamma": [0.1]},
    "training": {"discretization": "lagrangian", "intervals": 5, "max_iterations": 1},
}
PARTICLES: dict[str, Any] = {
    "study": {"name": "small", "steps": ["particles"]},
    "problem": {
        "horizon": 0.1,
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "controls": {"w": -1.0, "b": 0.0},
    },
    "axes": {"activation": ["tanh"], "particles": [10, 20], "seed": {"count": 3}},
}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_verify_is_about_damage(place: Any) -> None:
    Study(**TRAINED).run("trained.zarr")
    status, out, _ = place.call("status", "trained.zarr", "--json")
    assert (status, json.loads(out)["points"]["train"]["failed"]) == (1, {"5": 1})
    status, out, _ = place.call("verify", "trained.zarr")
    assert status == 0
    assert "no damage" in out
    Path("trained.zarr/train/cost/c/0/0").write_bytes(b"")
    status, out, _ = place.call("verify", "trained.zarr")
    assert status == 1
    assert "train/cost" in out


def test_verify_tells_a_lost_status_from_a_whole_store(place: Any) -> None:
    Study(**PARTICLES).run("small.zarr")
    assert place.call("verify", "small.zarr")[0] == 0
    for path in Path("small.zarr/particles/status").rglob("c/**/*"):
        if path.is_file():
            path.unlink()
    status, out, _ = place.call("verify", "small.zarr", "--json")
    assert status == 1
    assert json.loads(out)["points"]["particles"]["pending"] == 6


def test_a_run_with_nothing_to_do_starts_no_server_and_no_workers(place: Any) -> None:
    study = Study(**PARTICLES)
    study.run()
    Path("study.toml").write_text(study.toml())
    status, out, err = place.run("run", "study.toml", "--json")
    assert status == 0
    assert json.loads(out)["computed"] == 0
    assert "workers" not in err
    assert not Path("runs/.prefect").exists()
    assert json.loads(Path("runs/small/run.json").read_text())["computed"] == 0


def test_failures_say_where_their_logs_are(place: Any) -> None:
    document = {**PARTICLES, "numerics": {"point_timeout": 1e-9}}
    Study(**document).run("small.zarr")
    Path("study.toml").write_text(Study(**document).toml())
    status, _, err = place.run("run", "study.toml", "--store", "small.zarr")
    assert status == 1
    logs = Path("small.zarr.run/logs")
    assert err.strip().endswith(f"with a command that reproduces each: {logs}")
    assert list(logs.glob("particles-*.txt"))


def test_compare_says_what_is_not_compared(place: Any) -> None:
    Study(**PARTICLES).run("one.zarr")
    other = {**PARTICLES, "axes": {**PARTICLES["axes"], "integrator": ["euler", "ssprk3"]}}
    Study(**other).run("two.zarr")
    status, _, err = place.call("compare", "one.zarr", "two.zarr")
    assert status == 2
    said = "the dimension integrator is only in two.zarr, and one.zarr has integrator = rk4"
    assert err.strip().endswith(f"nothing to compare: {said}")

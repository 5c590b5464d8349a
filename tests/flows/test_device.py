"""A study that asks for a GPU, on a machine without one."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

STUDY: dict[str, Any] = {
    "study": {"name": "small", "steps": ["particles"]},
    "problem": {
        "horizon": 0.1,
        "initial": {"kind": "uniform", "low": -0.5, "high": 0.5},
        "controls": {"w": -1.0, "b": 0.0},
    },
    "axes": {"activation": ["tanh"], "particles": [10], "seed": [0]},
    "numerics": {"device": "gpu"},
}


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr("solvers.device.find_spec", lambda _: None)
    (tmp_path / "small.toml").write_text(tomli_w.dumps(STUDY))


def test_it_does_not_run(place: Any) -> None:
    before = sorted(place.folder.rglob("*"))
    status, out, err = place.call("run", "small.toml", "--direct")
    assert (status, out) == (2, "")
    needs = 'device = "gpu" needs numba-cuda: pip install "meanfield[gpu]"'
    assert err == f"meanfield: small.toml: numerics.device: {needs}\n"
    assert sorted(place.folder.rglob("*")) == before


def test_it_is_planned(place: Any) -> None:
    status, out, _ = place.call("plan", "small.toml")
    assert status == 0
    assert "particles" in out

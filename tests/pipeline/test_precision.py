"""Seeds are added until the intervals of the rates are as narrow as the study asks for."""

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.errors import StudyError
from pipeline.plan import plan_step
from pipeline.run import run_stages
from pipeline.session import FEWEST_SEEDS, Session, Summary, open_session, run_folder
from pipeline.store import open_store
from pipeline.study import Study

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def wanting(tiny: dict[str, Any]) -> dict[str, Any]:
    """A study that asks for narrower intervals than its four seeds give."""
    tiny["study"]["steps"] = ["particles"]
    del tiny["axes"]["cells"]
    tiny["analysis"] = {"rate_half_width": 0.1, "max_seeds": 128}
    return tiny


def run(document: dict[str, Any], store: str = "a.zarr") -> tuple[Summary, xr.Dataset]:
    study = Study(**document)
    places = run_folder(study, store)
    with open_session(study, places) as session:
        summary = run_stages(session)
    return summary, places.store.open_tree()["particles"].to_dataset().load()


def test_seeds_double_until_the_intervals_are_narrow_enough(wanting: dict[str, Any]) -> None:
    summary, particles = run(wanting)
    assert summary.precision is not None
    assert summary.precision.reached <= 0.1
    seeds = particles.sizes["seed"]
    assert seeds == summary.precision.seeds
    assert seeds in (8, 16, 32, 64, 128)
    assert particles["seed"].values.tolist() == list(range(seeds))
    rates = xr.open_datatree("a.zarr", engine="zarr")["analysis"].to_dataset()
    ends = (rates["rate_high"] - rates["rate"], rates["rate"] - rates["rate_low"])
    assert float(max(end.max() for end in ends)) == summary.precision.reached
    wanting["axes"]["seed"] = {"count": seeds // 2}
    del wanting["analysis"]
    run(wanting, "half.zarr")
    half = xr.open_datatree("half.zarr", engine="zarr")["analysis"].to_dataset()
    ends = (half["rate_high"] - half["rate"], half["rate"] - half["rate_low"])
    assert seeds == 16 or float(max(end.max() for end in ends)) > 0.1


def test_a_second_run_computes_nothing_and_comes_to_the_same(wanting: dict[str, Any]) -> None:
    first, _ = run(wanting)
    again, _ = run(wanting)
    assert again.computed == 0
    assert again.precision == first.precision


def test_an_interrupted_run_comes_to_the_same_points(
    wanting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run(wanting, "whole.zarr")
    sample_more = Session.sample_more

    def then_stop(self: Session) -> bool:
        grown = sample_more(self)
        self.monitor.stop.set()
        return grown

    with monkeypatch.context() as patch:
        patch.setattr(Session, "sample_more", then_stop)
        summary, _ = run(wanting, "cut.zarr")
    study = Study(**wanting).with_seeds(8)
    store = open_store(run_folder(study, "cut.zarr").store, study)
    assert plan_step(store, study.steps[0]).count.pending > 0
    assert summary.exit == 1
    _, resumed = run(wanting, "cut.zarr")
    for name in set(whole.data_vars) - {"wall_seconds"}:
        np.testing.assert_array_equal(resumed[name].values, whole[name].values)


def test_the_largest_number_of_seeds_ends_it(wanting: dict[str, Any]) -> None:
    wanting["analysis"] = {"rate_half_width": 1e-3, "max_seeds": 10}
    summary, particles = run(wanting)
    assert particles.sizes["seed"] == 10
    assert summary.precision is not None
    assert summary.precision.reached > 1e-3
    assert summary.precision.exhausted
    assert "the most that analysis.max_seeds allows" in str(summary.precision)
    assert summary.exit == 0


def test_own_seeds_are_kept_and_the_next_ones_follow(wanting: dict[str, Any]) -> None:
    wanting["axes"]["seed"] = [5, 2, 9]
    assert Study(**wanting).with_seeds(6).axis("seed").labels("seed") == [5, 2, 9, 10, 11, 12]  # type: ignore[union-attr]


def test_a_wide_target_is_not_met_by_chance_with_few_seeds(wanting: dict[str, Any]) -> None:
    wanting["analysis"] = {"rate_half_width": 10.0}
    summary, particles = run(wanting)
    assert particles.sizes["seed"] == FEWEST_SEEDS
    assert summary.precision is not None
    assert not summary.precision.exhausted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"analysis": {"rate_half_width": 0.0}}, "analysis.rate_half_width"),
        ({"analysis": {"rate_halfwidth": 0.1}}, "rate_half_width"),
        ({"analysis": {"rate_half_width": 0.1, "max_seeds": 3}}, "analysis.max_seeds = 3"),
        (
            {
                "numerics": {"seed": 1, "time_step": 0.02},
                "axes": {"activation": ["tanh"], "particles": [10, 20]},
            },
            "intervals need 3 seeds",
        ),
        ({"axes": {"activation": ["tanh"], "particles": [10], "seed": [0, 1, 2]}}, "no rate"),
        (
            {"axes": {"activation": ["tanh"], "particles": [10, 20], "seed": [0, 1, 2**63 - 1]}},
            "seeds are added after the largest",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    wanting: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyError, match=re.escape(said)):
        Study(**{**wanting, **change})

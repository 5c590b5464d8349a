"""Points that wait for earlier steps: tried again when those have numbers, and not before."""

import copy
import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.case import Case
from pipeline.compute import _session
from pipeline.run import run_stages
from pipeline.session import Summary, open_session, run_folder
from pipeline.steps import STEPS
from pipeline.steps.base import Poll, Step, Traits
from pipeline.study import Study

RETRIED = frozenset({6, 7, 8, 9})


def run(document: dict[str, Any], redo: frozenset[int] = frozenset()) -> Summary:
    study = Study(**copy.deepcopy(document))
    places = run_folder(study, "store.zarr")
    with open_session(study, places, redo=redo, stream=io.StringIO()) as session:
        return run_stages(session)


def statuses(path: str) -> np.ndarray:
    array: Any = zarr.open_group("store.zarr", mode="r")[path]
    return np.asarray(array[:])


@pytest.fixture
def small(tiny: dict[str, Any]) -> dict[str, Any]:
    tiny["axes"] |= {"activation": ["tanh"], "particles": [100], "seed": [0, 1]}
    return tiny


def test_what_failed_for_good_is_not_waited_for_again(small: dict[str, Any]) -> None:
    small["problem"]["domain"] = [-0.1, 0.1]  # loses mass: no retry can mend that
    assert run(small).points["limit"].failed == {"4": 2}
    assert (statuses("particles/status_pde") == 9).all()
    again = run(small, RETRIED)
    assert again.computed == 0
    assert again.points["particles"].failed == {"9": 2}
    assert again.points["particles"].pending == 0
    every = run(small, RETRIED | {2, 3, 4, 5})
    assert every.computed == 2
    assert every.points["particles"].failed == {"9": 2}


def test_points_go_on_once_the_earlier_step_has_succeeded(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = STEPS["limit"]

    def short_of_memory(traits: Traits) -> Step:
        def work(case: Case, poll: Poll) -> Any:
            if case.cells == 50:
                raise MemoryError
            return made(traits).work(case, poll)

        return dataclasses.replace(made(traits), work=work)

    with monkeypatch.context() as patch:
        patch.setitem(STEPS, "limit", short_of_memory)
        first = run(small)
    assert first.points["limit"].failed == {"7": 1}
    assert first.points["particles"].failed == {"9": 2}
    assert sorted(statuses("particles/status_pde").ravel()) == [1, 1, 9, 9]
    _session.cache_clear()  # it keeps the study, with the step that fails
    assert run(small).computed == 0
    assert run(small, frozenset({7})).computed == 1 + 2  # the limit, and what waited for it
    assert (statuses("particles/status_pde") == 1).all()


def test_what_failed_by_itself_takes_its_further_tables_along(
    small: dict[str, Any],
) -> None:
    small["numerics"]["point_timeout"] = 1e-9
    run(small)
    assert (statuses("particles/status_pde") == 9).all()
    small["numerics"]["point_timeout"] = 600.0
    assert run(small).computed == 0
    assert run(small, RETRIED).exit == 0
    assert (statuses("particles/status_pde") == 1).all()

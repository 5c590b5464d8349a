"""Points are named by any spelling of their values."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StudyError
from pipeline.point import recompute
from pipeline.run import run_stages
from pipeline.session import open_session, run_folder
from pipeline.status import Status
from pipeline.store import Store
from pipeline.study import Study


@pytest.fixture
def store(tiny: dict[str, Any]) -> Store:
    tiny["study"]["steps"] = ["particles"]
    del tiny["problem"]["initial"], tiny["axes"]["cells"]
    tiny["axes"] |= {
        "activation": ["tanh"],
        "particles": [100, 1000],
        "seed": [0],
        "initial": [
            {"kind": "uniform", "low": -0.5, "high": 0.5},
            {"kind": "beta", "a": 2.0, "b": 5.0},
            {"kind": "samples", "file": "data.csv", "column": "x"},
        ],
    }
    Path("data.csv").write_text("x\n1\n2\n4\n")
    study = Study(**copy.deepcopy(tiny))
    with open_session(study, run_folder(study), stream=io.StringIO()) as session:
        run_stages(session)
        return session.store


@pytest.mark.parametrize(
    "initial",
    [
        '{kind = "uniform", low = -0.5, high = 0.5}',
        '{ high=5e-1, low=-0.50, kind="uniform" }',
        '{"kind": "uniform", "low": -0.5, "high": 0.5}',
        '{"high": 0.5, "kind": "uniform", "low": -0.5}',
        '{kind = "beta", a = 2, b = 5}',
        '{"a": 2, "b": 5.0, "high": 1, "kind": "beta", "low": 0}',
        '{kind = "samples", file = "data.csv", column = "x"}',
    ],
)
def test_any_spelling_of_a_table(store: Store, initial: str) -> None:
    point = recompute(store, "particles", ["particles=1e2", f"initial={initial}"])
    assert point.status == Status.DONE
    assert point.differs == []
    assert point.values["particles"] == 100


def test_the_label_of_the_store(store: Store) -> None:
    for text in store.axes["initial"].labels("initial"):
        assert recompute(store, "particles", ["particles=100", f"initial={text}"]).differs == []


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["particles=100"], "initial is missing; allowed: uniform("),
        (["particles=100", "initial={kind='uniform', low=0, high=1}"], "is no point of the study"),
        (["particles=10", "initial={kind='beta', a=2, b=5}"], "particles = 10 is no point of the"),
        (["particles=many", "initial={kind='beta', a=2, b=5}"], "; allowed: 100, 1000"),
        (["particles=[" + "[" * 5000], "is no point of the study; allowed: 100, 1000"),
    ],
)
def test_other_values_are_refused_with_those_allowed(
    store: Store, assignments: list[str], said: str
) -> None:
    with pytest.raises(StudyError) as caught:
        recompute(store, "particles", assignments)
    message = str(caught.value)
    assert said in message.replace("particles=[" + "[" * 5000, "")
    assert "\n" not in message
    assert "{" not in message.partition("allowed:")[2]

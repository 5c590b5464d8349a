"""Input files and modules travel with a run to workers that lack them, or the run is refused."""

import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import parcel
from pipeline.errors import ClusterError, StoreError
from pipeline.local_cluster import local_client
from pipeline.parcel import inputs_of, travelling, unpack
from pipeline.run import run_stages, run_study
from pipeline.session import open_session, run_folder
from pipeline.study import Study

STEP = """
from pipeline.steps.base import Step, Table, Variable
from a_helper_that_travels import FACTOR

def evaluate(work, case, upstream, poll):
    return {"double": FACTOR * case.particles}

def step(traits):
    table = Table("status", ("twice",), (Variable("double", "twice M", dims=()),), evaluate)
    keys = frozenset({"activation", "particles", "seed"}) | traits.control_keys
    return Step("twice", keys, (table,), lambda case, poll: None, lambda case: 0.01)
"""


@pytest.fixture
def study(tiny: dict[str, Any], tmp_path: Path) -> Study:
    """A study with a data file and a step of its own, all below a folder that can go away."""
    sys.modules.pop("a_helper_that_travels", None)  # of an earlier test's folder
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a_step_that_travels.py").write_text(textwrap.dedent(STEP))
    (folder / "a_helper_that_travels.py").write_text("FACTOR = 2.0\n")
    np.save(folder / "data.npy", np.linspace(-1.0, 1.0, 50) ** 3)
    tiny["problem"]["initial"] = {"kind": "samples", "file": "data.npy"}
    tiny["study"]["steps"] = ["particles", "a_step_that_travels:step"]
    tiny["axes"] = {"activation": ["tanh"], "particles": [100, 200], "seed": [0]}
    return Study(**tiny, folder=folder)


def test_workers_without_the_files_and_late_ones(study: Study, tmp_path: Path) -> None:
    wanted = run_study(study, "here.zarr")
    with (
        local_client(1) as client,
        open_session(study, run_folder(study, "sent.zarr"), client, 1) as session,
    ):
        (tmp_path / "here").rename(tmp_path / "gone")
        assert not any(item.in_place for item in session.inputs.items)
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        first, late = client.run(parcel.lacks, session.inputs).values()
        assert (first, late) == ("", "")
        assert run_stages(session).exit == 0
        tree = session.store.place.open_tree()
    for variable in ("particles/w1", "twice/double"):
        np.testing.assert_array_equal(tree[variable], wanted[variable])
    assert tree["twice/double"].values.ravel().tolist() == [200.0, 400.0]


def test_what_is_too_large_must_be_where_all_workers_find_it(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "MOST_BYTES", 300)
    inputs = inputs_of(study)
    assert sorted(parcel._packed(inputs))[0].endswith("a_helper_that_travels.py")
    assert parcel.lacks(inputs) == ""  # it is in place
    (tmp_path / "here" / "data.npy").write_bytes(b"other")
    assert "data.npy: another content than the driver's" in parcel.lacks(inputs)
    (tmp_path / "here" / "data.npy").unlink()
    with pytest.raises(StoreError, match=r"data\.npy: no such file, and it did not come with"):
        parcel.at_hand("{}", inputs)


def test_a_worker_without_a_file_is_refused_at_the_start(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of(study)
    monkeypatch.setattr(parcel, "_packed", lambda _inputs: {})
    with local_client(1) as client:
        (tmp_path / "here").rename(tmp_path / "gone")
        with (
            pytest.raises(ClusterError, match=r"data\.npy: no such file.*all workers share"),
            travelling(inputs, client),
        ):
            pass


def test_a_file_that_changes_as_the_run_starts_is_refused(study: Study, tmp_path: Path) -> None:
    inputs = inputs_of(study)
    (tmp_path / "here" / "data.npy").write_bytes(b"other")
    with pytest.raises(StoreError, match=r"data\.npy: has changed since the study was read"):
        parcel._packed(inputs)


def test_what_was_sent_is_checked(study: Study, tmp_path: Path) -> None:
    inputs = inputs_of(study)
    contents = parcel._packed(inputs)
    (tmp_path / "here").rename(tmp_path / "gone")
    unpack(contents, tmp_path / "sent")
    try:
        assert parcel.lacks(inputs) == ""
        (tmp_path / "sent" / inputs.files[0].key).write_bytes(b"other")
        assert "data.npy" in parcel.lacks(inputs)
    finally:
        parcel._received.remove(tmp_path / "sent")


def test_modules_of_other_folders_stay(study: Study) -> None:
    """What is installed is compared, not sent: only the folder's own modules travel."""
    names = {Path(item.path).name for item in inputs_of(study).code}
    assert names == {"a_step_that_travels.py", "a_helper_that_travels.py"}

"""Studies on a real Slurm with two nodes, written to a real S3 store."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.services import guard
from tests.services.place import Place
from tests.services.s3 import S3
from tests.services.slurm import NODES, Slurm

pytestmark = pytest.mark.cluster
FEW = ("-s", "axes.seed={count=2}", "-s", "axes.particles=[100]", "--direct")


def test_few_points_on_slurm_and_s3(running_slurm: Slurm, running_s3: S3, place: Place) -> None:
    store = f"s3://{running_s3.make_bucket()}/data.zarr"
    place = replace(place, environment=running_slurm.environment | running_s3.environment)
    options = ("--cluster", "slurm", "--workers", "1", "--store", store)
    code, facts, errors = place.meanfield("run", "study.toml", *options, *FEW)
    assert code == 0, errors
    assert facts["points"]["particles"]["done"] == facts["points"]["particles"]["total"] == 6
    code, _, errors = place.meanfield("run", "study.toml", "--store", "here.zarr", *FEW)
    assert code == 0, errors
    code, facts, errors = place.meanfield("compare", store, "here.zarr")
    assert code == 0, errors
    assert all(variable["other_bits"] == 0 for variable in facts["variables"])
    assert running_slurm.jobs("RUNNING", "PENDING", "COMPLETING") == []


@pytest.mark.slow
def test_study_on_slurm_and_s3_equals_the_run_on_this_machine(
    running_slurm: Slurm, running_s3: S3, place: Place, assert_right: Callable[[Place, str], None]
) -> None:
    store = f"s3://{running_s3.make_bucket()}/some/data.zarr"
    place = replace(place, environment=running_slurm.environment | running_s3.environment)
    options = ("--cluster", "slurm", "--store", store)
    run = place.start("run", "flows.cli", "run", "study.toml", *options, "--json", "--direct")
    nodes = set()
    while run.poll() is None:
        nodes |= {job.node for job in running_slurm.jobs("RUNNING")}
        time.sleep(0.5)
    assert run.returncode == 0, place.errors("run")
    assert nodes == set(NODES)
    assert place.facts("run")["computed"] == 528
    assert_right(place, store)
    code, facts, errors = place.meanfield("run", "study.toml", *options, "--direct")
    assert (code, facts["computed"]) == (0, 0), errors
    assert running_slurm.jobs("RUNNING", "PENDING", "COMPLETING") == []
    assert guard.left(place.folder) == []


@pytest.mark.slow
def test_public_store_is_read_by_anybody_and_written_by_nobody(
    running_s3: S3, place: Place
) -> None:
    store = f"s3://{running_s3.make_bucket(public=True)}/data.zarr"
    owner = replace(place, environment=running_s3.environment)
    assert owner.meanfield("run", "study.toml", "--store", store, *FEW)[0] == 0
    anybody = replace(place, environment=running_s3.anonymous)
    code, facts, errors = anybody.meanfield("status", store)
    assert code == 0, errors
    assert facts["points"]["particles"]["done"] == 6
    code, _, errors = anybody.meanfield("run", "study.toml", "--store", store, "--direct")
    assert code == 2
    assert "not writable" in errors
    stranger: dict[str, Any] = running_s3.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    code, _, errors = replace(place, environment=stranger).meanfield("status", store)
    assert code == 2
    assert "wrong" not in errors
    assert "Traceback" not in errors

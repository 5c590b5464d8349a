"""The kernels of the GPU, in Numba's simulator of CUDA, and on a GPU where there is one."""

import importlib.util
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from solvers import particles
from solvers.activations import Activation
from solvers.controls import Controls
from solvers.device import GPU_ACTIVATIONS, check_activation, check_device
from solvers.errors import InputError
from solvers.flow_map import flow_map
from solvers.particles import INTEGRATORS, in_blocks, integrate
from tests.solvers.simulated_gpu import pushed

PROGRAM = Path(__file__).with_name("simulated_gpu.py")
CONTROLS = Controls.of(1.0, 0.0)
TANH = Activation("tanh", 3, "tanh(x)")


@pytest.fixture(scope="module", params=["simulator", "gpu"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the kernels of the GPU give."""
    if importlib.util.find_spec("numba.cuda") is None:
        pytest.skip("needs numba-cuda")
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    if request.param == "simulator":
        environment["NUMBA_ENABLE_CUDASIM"] = "1"
    else:
        try:
            check_device("gpu")
        except InputError as error:
            pytest.skip(str(error))
    path = tmp_path_factory.mktemp("gpu") / "found.npz"
    subprocess.run([sys.executable, str(PROGRAM), str(path)], env=environment, check=True)
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What those of the processor give."""
    return pushed("cpu")


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_particles_end_where_those_of_the_processor_do(
    found: dict[str, Any], expected: dict[str, Any], integrator: str
) -> None:
    cases = [case for case in expected if case.startswith(integrator)]
    assert len(cases) == 2 * len(GPU_ACTIVATIONS) + 1
    for case in cases:
        np.testing.assert_allclose(found[case], expected[case], 1e-13, 1e-13, err_msg=case)
    assert np.abs(np.diff(expected[cases[0]], axis=0)).min() > 1e-3  # they move


def test_particles_that_change_places_are_sorted(
    found: dict[str, Any], expected: dict[str, Any]
) -> None:
    np.testing.assert_allclose(found["sorted"], expected["sorted"], 1e-13, 1e-13)
    assert (np.diff(found["sorted"]) > 0).all()


@pytest.mark.parametrize("name", [*GPU_ACTIVATIONS, "at 0"])
def test_flow_maps_are_evaluated_likewise(
    found: dict[str, Any], expected: dict[str, Any], name: str
) -> None:
    np.testing.assert_allclose(found[f"map {name}"], expected[f"map {name}"], 1e-13, 1e-13)


def test_what_stops_a_point(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert str(found["overflow"]) == expected["overflow"]
    assert "particle 0 is -inf at t = 0.1" in expected["overflow"]
    assert str(found["stopped"]) == "late"
    assert str(found["CUDA_ERROR_OUT_OF_MEMORY"]) == (
        "MemoryError: 2.4e-06 GB of particles do not fit on the GPU beside what is there"
    )
    assert str(found["CUDA_ERROR_ECC_UNCORRECTABLE"]).startswith("CudaAPIError")


def test_blocks_grow_and_shrink_with_the_time_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now, took = [0.0], iter([0.01, 0.01, 0.1, 1.0, 1.0, 1.0, 0.1, 0.1])
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(particles, "time", clock)
    blocks: list[tuple[int, int]] = []
    polls: list[int] = []

    def run(start: int, stop: int) -> None:
        blocks.append((start, stop))
        now[0] += next(took)

    in_blocks(run, 155, 10, lambda: polls.append(len(blocks)))
    assert blocks == [*pairwise([0, 10, 30, 70, 110, 130, 140, 150, 155])]
    assert polls == list(range(8))


@pytest.fixture
def without_numba_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr("solvers.device.find_spec", lambda _: None)


@pytest.mark.usefixtures("without_numba_cuda")
def test_the_missing_library_is_named() -> None:
    steps = (TANH, CONTROLS, [0.0, 0.1], [1])
    for call in (
        lambda: integrate([0.0], *steps, device="gpu"),
        lambda: flow_map((0.0, 1.0), *steps, device="gpu"),
    ):
        with pytest.raises(InputError, match=r'needs numba-cuda: pip install "meanfield\[gpu\]"'):
            call()


def test_the_reason_why_no_gpu_is_usable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr("solvers.device.find_spec", lambda _: True)
    cuda = SimpleNamespace(is_available=lambda: False, cuda_error=lambda: "\nNo driver.\nNone:\n")
    monkeypatch.setattr("numba.cuda", cuda, raising=False)
    with pytest.raises(InputError, match=r"no CUDA device is usable: No driver\. None$"):
        check_device("gpu")
    cuda.cuda_error = lambda: None
    with pytest.raises(InputError, match="libnvvm, is missing"):
        check_device("gpu")


def test_what_is_no_device_and_no_activation_of_one() -> None:
    with pytest.raises(InputError, match="unknown device 'tpu'; allowed: cpu, gpu"):
        check_device("tpu")
    with pytest.raises(InputError, match="'softplus'; allowed: identity, relu, sigmoid, tanh, gcu"):
        check_activation("gpu", "softplus")
    check_activation("cpu", "softplus")

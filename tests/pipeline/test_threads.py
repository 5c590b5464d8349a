import ctypes
import os
import sys
from pathlib import Path

import pytest

from pipeline.local_cluster import local_client


def blas_threads() -> dict[str, int]:
    """How many threads each linear algebra library of this process has."""
    import numpy as np
    import scipy.linalg

    scipy.linalg.inv(np.eye(3))
    found = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "openblas" in path and path not in found:
            library = ctypes.CDLL(path)
            for suffix in ("64_", "", "_"):
                name = f"scipy_openblas_get_num_threads{suffix}"
                if hasattr(library, name):
                    found[path] = getattr(library, name)()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_has_one_thread_for_its_work_and_one_for_linear_algebra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for library in ("OMP", "OPENBLAS", "MKL"):
        monkeypatch.delenv(f"{library}_NUM_THREADS", raising=False)
    with local_client(1) as client:
        (address,) = client.scheduler_info()["workers"]
        assert client.scheduler_info()["workers"][address]["nthreads"] == 1
        threads = client.run(blas_threads)[address]
        names = client.run(lambda: dict(os.environ))[address]
    if not threads:
        pytest.skip("NumPy and SciPy use another library here")
    assert set(threads.values()) == {1}
    assert names["OMP_NUM_THREADS"] == "1"

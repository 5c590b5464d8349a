"""What the machine gives tonight: a fixed piece of work, timed just before and after the runs.

Seconds and bytes of a night say more of the machine and of its other users than of the solvers.
Divided by those of a fixed piece of work on the same machine in the same minutes they can be
compared. The work is NumPy's alone, so no change of the solvers changes it; a change of NumPy may,
and the record says which NumPy it was. It runs in a process of its own, on one thread, as a worker
does.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 400_000
REPEATS = 7
TIMEOUT = 300.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Calibration:
    """What one run of the fixed work took.

    Attributes:
        seconds: the median of its repetitions.
        peak_bytes: the most memory that its process had.
    """

    seconds: float
    peak_bytes: float


def calibrate() -> Calibration | None:
    """Run the fixed work in a process of its own; None where that fails."""
    environment = os.environ | dict.fromkeys(THREADS, "1")
    try:
        result = subprocess.run(
            [sys.executable, "-I", str(Path(__file__).resolve())],
            env=environment,
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        found = json.loads(result.stdout)
        return Calibration(found["seconds"], found["peak_bytes"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def together(runs: Sequence[Calibration | None]) -> Calibration | None:
    """The geometric mean of the runs before and after a night; None if one of them failed."""
    known = [run for run in runs if run is not None]
    if not known or len(known) < len(runs):
        return None
    return Calibration(
        statistics.geometric_mean(run.seconds for run in known),
        statistics.geometric_mean(run.peak_bytes for run in known),
    )


def peak_bytes() -> float:
    """The most memory that this process has had; NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float("nan")


def work() -> float:
    """The fixed work: what solvers do, exponentials, sums along an array and sorting.

    Returns:
        a number that depends on all of it, so that none of it can be left out.
    """
    x = np.random.Generator(np.random.Philox(key=1)).standard_normal(SIZE)
    for _ in range(4):
        x = np.cumsum(np.tanh(np.sort(x)[::-1])) / SIZE + 1e-3 * x
    return float(x.sum())


def main() -> None:
    """Do the work some times and print what it took."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()

"""How soon a run begins, what its store takes on disk, and how soon that is read.

    python benchmarks/start.py [--full] [--write docs/performance.md]

Each start is a process of its own: imports, the help of the command, and the study `quickstart`
from the command to the moment that the first status is in the store, with kernels compiled before
and with an empty cache. `--full` takes the median of as many cold starts as of warm ones.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import harness

HOME = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "flows.cli"]
LIMIT = 300.0
STARTS = {
    "`import solvers`": [sys.executable, "-c", "import solvers"],
    "`import solvers.particles`, with Numba": [sys.executable, "-c", "import solvers.particles"],
    "`from pipeline.study import Study`": [sys.executable, "-c", "import pipeline.study"],
    "Python itself": [sys.executable, "-c", ""],
    "`meanfield --help`": [*COMMAND, "--help"],
    "`meanfield plan quickstart`": [*COMMAND, "plan", "quickstart"],
}
STUDIES = {
    "quickstart": ["quickstart"],
    "convergence, 2000 seeds, M = 100": [
        *("convergence", "-s", "axes.particles=[100, 200]", "-s", "axes.cells=[100]"),
        *("-s", "axes.seed={ count = 2000 }"),
    ],
}


def environment(cache: Path | None = None) -> dict[str, str]:
    """Return the environment of a user, with another cache of kernels if one is given."""
    found = {k: v for k, v in os.environ.items() if k not in harness.ONE_THREAD}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found | ({} if cache is None else {"MEANFIELD_CACHE_DIR": str(cache)})


def command(arguments: Sequence[str]) -> None:
    """Run a command to its end."""
    subprocess.run(arguments, env=environment(), check=True, capture_output=True, timeout=LIMIT)


def first_point(*options: str, cold: bool = False) -> float:
    """Return the seconds from the command to the first status in the store, which ends the run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        cache = Path(folder, "cache") if cold else None
        run = [*COMMAND, "run", "quickstart", "--store", "data.zarr", *options]
        began = time.perf_counter()
        process = subprocess.Popen(
            run, env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not any(Path("data.zarr").glob("*/status/c")):
                if process.poll() is not None or time.perf_counter() - began > LIMIT:
                    raise RuntimeError("the run has come to nothing")
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def first_points(full: bool) -> Iterator[list[str]]:
    """Yield rows: the first point, warm and cold, with and without Prefect."""
    for name, options in (("without Prefect (`--direct`)", ["--direct"]), ("with Prefect", [])):
        warm = [first_point(*options) for _ in range(harness.TURNS)]
        yield [f"first point, {name}", harness.spread(warm)]
    cold = [first_point("--direct", cold=True) for _ in range(harness.TURNS if full else 1)]
    yield ["first point, `--direct`, every kernel compiled anew", harness.spread(cold)]


def stores() -> Iterator[list[str]]:
    """Yield rows: the store of a study, its size, and how long it takes to open and to slice."""
    import xarray as xr

    for name, study in STUDIES.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            command([*COMMAND, "run", *study, "--store", "data.zarr", "--direct"])
            files = [file for file in Path("data.zarr").rglob("*") if file.is_file()]
            stored = sum(file.stat().st_size for file in files)
            with xr.open_datatree("data.zarr", engine="zarr") as tree:
                raw = sum(node.to_dataset().nbytes for node in tree.subtree)
            times = harness.turns(READERS)
            yield [
                name,
                f"{len(files)}",
                harness.number(stored / 1e6),
                harness.number(raw / 1e6),
                harness.number(stored / raw),
                *(harness.spread(1e3 * found.seconds) for found in times.values()),
            ]


def opened() -> None:
    """Open a store."""
    import xarray as xr

    xr.open_datatree("data.zarr", engine="zarr").close()


def slices() -> float:
    """Open a store and read the distances of one activation at the last snapshot."""
    import xarray as xr

    with xr.open_datatree("data.zarr", engine="zarr") as tree:
        distances = tree["particles"]["w1"]
        return float(distances.isel(activation=0, snapshot=-1).mean())


READERS = {"open": opened, "open and slice": slices}
TEXT = """\
Each start is a process of its own; seconds, medians of {turns} turns, and in brackets the least and
the largest. The first point of `quickstart`: from the command to the first status in the store, two
workers. Written by

    python benchmarks/start.py --full --write docs/performance.md

{machine}

{starts}

Stores as they are on disk, with metadata, against the bytes of their numbers; and the milliseconds
that xarray takes to open one, and to open it and read one slice (`w1` of one activation at the last
snapshot).

{stores}
"""


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    times = harness.turns({n: lambda a=a: command(a) for n, a in STARTS.items()})
    header = ["store", "files", "stored [MB]", "numbers [MB]", "stored / numbers"]
    return TEXT.format(
        turns=harness.TURNS,
        machine=harness.machine("zarr", "xarray", "dask", "prefect"),
        starts=harness.table(["", "seconds"], *_rows(times), *first_points(options.full)),
        stores=harness.table([*header, "open [ms]", "open and slice [ms]"], *stores()),
    )


def _rows(times: Mapping[str, harness.Times]) -> list[list[str]]:
    return [[name, harness.spread(found.seconds)] for name, found in times.items()]


if __name__ == "__main__":
    harness.run(__doc__, "Start and store", section)

"""Overhead per point that is kept: points that cost nothing, by this package and by its peers.

    python benchmarks/overhead.py [--full] [--write docs/performance.md]

Each point adds two numbers, on a grid of two axes, and each program keeps the sums on disk as it
usually does, with two worker processes. Each measurement is a process of its own, the programs in
turns. The clock runs from the moment that the workers are there until everything is on disk; each
process then reads back what it has kept, and checks it.
"""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import harness
import numpy as np
import tomli_w

from pipeline.case import Case
from pipeline.steps.base import Outputs, Poll, Step, Table, Traits, Upstream, Variable

HERE = Path(__file__).resolve().parent
WORKERS = 2
COLUMNS = 100
LIMIT = 600.0
MANY = 10**5
AT_THE_END = "pipefunc, at the end"

Measured = tuple[float, np.ndarray]
"""Seconds, and the sums as they are read back from disk, in the order of the grid."""


def add(x: float, y: float) -> float:
    """Return the sum: what each point computes."""
    return x + y


def swept(x: float, y: float) -> float:
    """Return the sum: what xsweep computes."""
    return x + y


def step(_traits: Traits) -> Step:
    """Return the step of a study whose points cost nothing."""

    def evaluate(found: float, _case: Case, _upstream: Upstream, _poll: Poll) -> Outputs:
        return {"number": found}

    return Step(
        name="sums",
        keys=frozenset({"activation", "particles", "seed"}),
        tables=(Table("status", ("sums",), (Variable("number", "x + y", ()),), evaluate),),
        work=lambda case, _poll: add(float(case.particles), float(case.seed)),
        cost=lambda _case: 1e-5,
    )


def grid(points: int) -> tuple[list[float], list[float]]:
    """Return the values of both axes."""
    return (
        [float(x) for x in range(1, COLUMNS + 1)],
        [float(y) for y in range(points // COLUMNS)],
    )


def meanfield(points: int, folder: Path, workers: int = WORKERS) -> Measured:
    """A study with a step of one's own; points, their status, checksums of both, as shards end."""
    import xarray as xr

    from pipeline.local_cluster import local_client
    from pipeline.plan import plan_step
    from pipeline.session import open_session, run_folder
    from pipeline.study import Study

    with local_client(workers) as client, Path(os.devnull).open("w") as quiet:
        client.run(_load)
        began = time.perf_counter()
        study = Study(**tables(points), folder=HERE)
        places = run_folder(study, folder / "data.zarr")
        with open_session(study, places, client, workers, stream=quiet) as session:
            plan = session.plan(study.steps[0])
            with session.stage(plan):
                assert not session.execute(plan.tasks)
            assert plan_step(session.store, study.steps[0]).count.done == points
        seconds = time.perf_counter() - began
    with xr.open_datatree(folder / "data.zarr", engine="zarr") as tree:
        return seconds, tree["sums"]["number"].values.ravel()


def tables(points: int) -> dict[str, Any]:
    """Return the tables of the study."""
    xs, ys = grid(points)
    return {
        "study": {"name": "overhead", "seed": 0, "steps": ["overhead:step"]},
        "problem": {
            "horizon": 1.0,
            "initial": {"kind": "uniform", "low": 0.0, "high": 1.0},
            "controls": {"w": 0.0, "b": 0.0},
        },
        "axes": {
            "activation": ["identity"],
            "particles": [int(x) for x in xs],
            "seed": {"count": len(ys)},
        },
    }


def _load() -> None:
    """Import in a worker what its tasks need, as the command has it done before."""
    import overhead  # noqa: F401

    import pipeline.compute  # noqa: F401


def dask_map(points: int, folder: Path) -> Measured:
    """``client.map``, one future a point; one array, at the end."""
    from pipeline.local_cluster import local_client

    with local_client(WORKERS) as client:
        client.run(_load)
        began = time.perf_counter()
        pairs = [(x, y) for x in grid(points)[0] for y in grid(points)[1]]
        futures = client.map(add, *zip(*pairs, strict=True), pure=False, batch_size=1000)
        np.save(folder / "numbers.npy", client.gather(futures))
        seconds = time.perf_counter() - began
    return seconds, np.load(folder / "numbers.npy")


def prefect_map(points: int, folder: Path) -> Measured:
    """``task.map`` on two threads, results persisted: a file a point, and the server's records."""
    from flows.server import EphemeralServer, prefect_settings

    with EphemeralServer.start(folder / "home", folder / "server.log") as server:
        prefect_settings(server.wait(), home=folder / "home")
        from prefect import flow, task
        from prefect.task_runners import ThreadPoolTaskRunner

        kept = task(persist_result=True)(add)

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=WORKERS), persist_result=True)
        def sums(xs: list[float], ys: list[float]) -> list[float]:
            return kept.map(xs, ys).result()

        xs, ys = grid(points)
        began = time.perf_counter()
        found = sums(np.repeat(xs, len(ys)).tolist(), np.tile(ys, len(xs)).tolist())
        return time.perf_counter() - began, np.array(found)


def joblib_memory(points: int, folder: Path) -> Measured:
    """``Memory`` around the function, ``Parallel`` around that: a folder a point, as it ends."""
    from joblib import Memory, Parallel, delayed

    xs, ys = grid(points)
    cached = Memory(folder / "cache", verbose=0).cache(add)
    with Parallel(n_jobs=WORKERS) as pool:
        pool([delayed(add)(x, 0.0) for x in xs])
        began = time.perf_counter()
        pool(delayed(cached)(x, y) for x in xs for y in ys)
        seconds = time.perf_counter() - began
    return seconds, np.array([cached(xs[0], y) for y in ys])  # a millisecond each


def pipefunc_map(points: int, folder: Path, storage: str = "file_array") -> Measured:
    """``Pipeline.map`` with a mapspec: a file a point, as it ends."""
    from pipefunc import PipeFunc, Pipeline
    from pipefunc.map import load_outputs

    xs, ys = grid(points)
    pipeline = Pipeline([PipeFunc(add, "number", mapspec="x[i], y[j] -> number[i, j]")])
    run = folder / "run"
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(add, xs, xs))
        began = time.perf_counter()
        pipeline.map({"x": xs, "y": ys}, run_folder=run, executor=pool, storage=storage)
        seconds = time.perf_counter() - began
    return seconds, np.asarray(load_outputs("number", run_folder=run), float).ravel()


def pipefunc_at_the_end(points: int, folder: Path) -> Measured:
    """The same with ``storage="dict"``: one file, at the end; a crash loses all."""
    return pipefunc_map(points, folder, storage="dict")


def xyzpy_harvest(points: int, folder: Path) -> Measured:
    """A ``Harvester``: one HDF5 file, at the end."""
    import xarray as xr
    import xyzpy

    xs, ys = grid(points)
    file = str(folder / "numbers.h5")
    harvester = xyzpy.Harvester(xyzpy.Runner(add, var_names="number"), data_name=file)
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(add, xs, xs))
        began = time.perf_counter()
        harvester.harvest_combos({"x": xs, "y": ys}, executor=pool, verbosity=0)
        seconds = time.perf_counter() - began
    with xr.open_dataset(file, engine="h5netcdf") as found:
        return seconds, found["number"].transpose("x", "y").values.ravel()


def xsweep_sweep(points: int, folder: Path) -> Measured:
    """A ``sweep`` with a store, in one process: Zarr chunks and a status, as they fill."""
    import xarray as xr
    from xsweep import SweepPolicy, sweep

    global swept  # its workers, which are forks, look for the sweep by its name
    swept = sweep("loop(x, y) -> number()")(swept)
    xs, ys = grid(points)
    policy = SweepPolicy(store=folder / "data.zarr")  # with two processes thirty times as long
    began = time.perf_counter()
    swept(xr.Dataset({"x": ("x", xs), "y": ("y", ys)}), policy=policy)
    seconds = time.perf_counter() - began
    with xr.open_zarr(folder / "data.zarr") as found:
        return seconds, found["number"].transpose("x", "y").values.ravel()


def alone(points: int, folder: Path) -> Measured:
    """The same with one worker."""
    return meanfield(points, folder, workers=1)


PROGRAMS: dict[str, Callable[[int, Path], Measured]] = {
    "meanfield": meanfield,
    "alone": alone,
    "pipefunc": pipefunc_map,
    AT_THE_END: pipefunc_at_the_end,
    "xyzpy": xyzpy_harvest,
    "xsweep": xsweep_sweep,
    "joblib": joblib_memory,
    "dask": dask_map,
    "prefect": prefect_map,
}
TENS = dict.fromkeys(("meanfield", "pipefunc", AT_THE_END, "xyzpy", "xsweep", "joblib"), 10**4)
HUNDREDS = dict.fromkeys(("meanfield", "pipefunc", AT_THE_END, "xyzpy", "xsweep"), 10**5)
MILLION = dict.fromkeys(("meanfield", "pipefunc", AT_THE_END), 10**6)
SLOW = dict.fromkeys(("meanfield", "dask"), 10**3)
SLOWEST = dict.fromkeys(("meanfield", "prefect"), 10**2)  # Prefect took ten minutes for 10^3


def measure(name: str, points: int) -> None:
    """Print what a program takes, as JSON: the body of a process."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with contextlib.redirect_stdout(sys.stderr):
            seconds, found = PROGRAMS[name](points, Path(folder))
        xs, ys = grid(points)
        assert (found == np.add.outer(xs, ys).ravel()[: found.size]).all()
        files = sum(len(names) for _, _, names in os.walk(folder))
        verbs = commands(points, Path(folder)) if name == "meanfield" else {}
        print(json.dumps({"seconds": seconds, "megabytes": peak(), "files": files} | verbs))


def peak() -> float:
    """Return the most memory that this process has held, in MB, since its program began."""
    status = Path("/proc/self/status")
    if status.exists():  # the other number may be the parent's, from before the program began
        return float(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def commands(points: int, folder: Path) -> dict[str, float]:
    """Return the seconds of `plan` and of `status`, as commands, for a store that is full."""
    document = tables(points)
    document["study"]["modules"] = str(HERE)
    (folder / "study.toml").write_text(tomli_w.dumps(document))
    return {
        verb: _seconds([sys.executable, "-m", "flows.cli", verb, str(folder / file)])
        for verb, file in (("plan", "study.toml"), ("status", "data.zarr"))
    }


def _seconds(command: Sequence[str]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


Found = dict[str, float]
"""What one process has measured."""


def in_turns(sizes: Mapping[str, int], turns: int) -> dict[str, list[Found]]:
    """Return what programs took, by name; those that are not installed are left out."""
    ours = ("meanfield", "alone")
    present = {n: p for n, p in sizes.items() if n in ours or harness.peer(package(n))}
    found: dict[str, list[Found]] = {name: [] for name in present}
    for _ in range(turns):
        for name, points in present.items():
            found[name].append(in_process(name, points))
    return found


def package(name: str) -> str:
    """Return the package of a program, whose name may say more after a comma."""
    return name.partition(",")[0]


def in_process(name: str, points: int) -> Found:
    """Return what a program takes in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, str(HERE / "overhead.py"), "--measure", name, str(points)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def rows_of(sizes: Mapping[str, int], turns: int) -> Iterator[list[str]]:
    """Yield a row for each program: points, time a point, ratio to ours, memory, files."""
    found = in_turns(sizes, turns)
    ours = _each(found["meanfield"], sizes["meanfield"])
    for name, points in sizes.items():
        kept = (PROGRAMS[name].__doc__ or "").rstrip(".").replace("``", "`")
        if name not in found:
            yield [f"{name}: {kept}", f"{points}", harness.ABSENT, "", "", ""]
            continue
        each = _each(found[name], points)
        yield [
            f"{name}: {kept}",
            f"{points}",
            harness.spread(each),
            harness.spread(each / ours) if name != "meanfield" else "",
            harness.spread([turn["megabytes"] for turn in found[name]]),
            f"{found[name][0]['files']:.0f}",
        ]


def _each(found: Sequence[Found], points: int) -> np.ndarray:
    """Return microseconds a point, turn by turn."""
    return np.array([1e6 * turn["seconds"] / points for turn in found])


def growth(sizes: Sequence[int], page: Path | None) -> tuple[str, str]:
    """Return a table of what a study of ever more points takes, with exponents, and a figure."""
    turns = [in_process("meanfield", points) for points in sizes]
    found = {key: [turn[key] for turn in turns] for key in GROWING}
    rows = [
        [f"{points}", *(harness.number(turn[key]) for key in GROWING)]
        for points, turn in zip(sizes, turns, strict=True)
    ]
    slopes = [f"{harness.exponent(sizes, found[key]):.2f}" for key in GROWING]
    table = harness.table(["points", *GROWING.values()], *rows, ["exponent", *slopes])
    panels: dict[str, harness.Curves] = {
        "seconds": {
            "run": (sizes, found["seconds"]),
            "plan": (sizes, found["plan"]),
            "status": (sizes, found["status"]),
        },
        "MB": {"driver and scheduler": (sizes, found["megabytes"])},
    }
    return table, harness.figure(page, "growth-points", "points", panels)


GROWING = {
    "seconds": "run [s]",
    "megabytes": "driver [MB]",
    "plan": "plan [s]",
    "status": "status [s]",
}
HEADER = ("", "points", "µs a point", "over ours", "driver [MB]", "files")
TEXT = """\
A point adds two numbers; each program keeps the sums on disk as it usually does. Two worker
processes unless it is said otherwise. From the moment that they are there until everything is on
disk; written by

    python benchmarks/overhead.py --full --write docs/performance.md

Each measurement is a process of its own, the programs in turns; medians of {turns} turns (one with
a million points), and in brackets the least and the largest. The driver's memory is its peak, with
the scheduler where there is one (Dask's runs in the same process). A program that keeps "at the
end" holds all results in the driver's memory until the last point and loses them if it crashes; the
others, this package among them, keep points while the run goes on, which is what they pay for.

{machine}

{rows}

One worker and two, {many} points: {one} s and {two} s; the ratio is {speedup}
(driver and scheduler share the two cores with the workers).

Growth with the number of points: seconds of the run, its peak of memory in driver and scheduler,
and seconds of the commands `meanfield plan` and `meanfield status` (on the full store), start of
Python and imports included. The exponents are fitted on log–log axes to the upper half of the
sizes, and are below 1 where fixed costs count.

{growth}

{figure}
"""


def section(options: harness.Options) -> str:
    """Measure, and return the section."""
    turns = harness.TURNS if options.full else 2
    rows = [*rows_of(SLOWEST, turns), *rows_of(SLOW, turns), *rows_of(TENS, turns)]
    rows += [*rows_of(HUNDREDS, turns), *rows_of(MILLION, 1)] if options.full else []
    workers = in_turns({"alone": MANY, "meanfield": MANY}, turns)
    one, two = (np.array([turn["seconds"] for turn in found]) for found in workers.values())
    sizes = [10**3, 10**4, 10**5, *([10**6] if options.full else [])]
    growing, figure = growth(sizes, options.page)
    packages = dict.fromkeys(package(name) for name in TENS if name != "meanfield")
    return TEXT.format(
        turns=turns,
        machine=harness.machine("zarr", "dask", *packages),
        rows=harness.table(HEADER, *rows),
        many=MANY,
        one=harness.spread(one),
        two=harness.spread(two),
        speedup=harness.spread(one / two),
        growth=growing,
        figure=figure,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        import overhead  # this file, under the name by which workers import it

        overhead.measure(sys.argv[2], int(sys.argv[3]))
    else:
        harness.run(__doc__, "Overhead", section)

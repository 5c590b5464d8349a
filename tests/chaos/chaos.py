"""Kill runs with kill -9 and damage stores, at random and repeatably, and count what came of it.

Each kill hits a fresh run of a study that takes some seconds; each damage hits one file of a copy
of the finished store. Then `verify` must say what is the case, as told without our code
(`oracle.py`), and `run` must compute what is missing, nothing else, and end with the store of an
uninterrupted run: every variable, coordinate and attribute equal bit for bit, times and host apart.
No process and no half-written file may be left.

    python tests/chaos/chaos.py --seed 0 --kills 24 --report docs/reliability.md
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oracle
from damage import HARMS, KINDS, Finding, harm
from processes import Place, kill, nannies, workers
from report import write_report

STORE = "runs/chaos/data.zarr"
STUDY = """
[study]
name = "chaos"
steps = ["train", "limit", "particles"]
[problem]
horizon = 1.0
initial = { kind = "uniform", low = -0.5, high = 0.5 }
target = { kind = "uniform", low = 0.5, high = 1.5 }
[axes]
activation = ["identity", "tanh"]
gamma = [0.1, 0.01]
cells = [50, 100]
particles = [1000, 30000]
seed = { count = SEEDS }
[training]
discretization = "lagrangian"
optimizer = "lbfgs"
tolerance = 1e-5
particles = 1000
warm_start = true
"""
STEPS = ("train", "limit", "particles")
# Who is killed, and how the run is started. "any" is any one process that descends from the driver.
SCENARIOS = (
    ("driver", "direct"),
    ("worker", "direct"),
    ("nanny", "cluster"),
    ("everything", "direct"),
    ("driver", "Prefect"),
    ("any", "direct"),
    ("worker", "cluster"),
    ("everything", "Prefect"),
)


@dataclass
class Trial:
    """One kill or damage, and what came of it.

    Attributes:
        kind: who was killed, or what was damaged.
        way: how the run was started, or how the file was damaged.
        stored: the share of shards that were stored at that moment.
        training: whether some shards of the training were stored then, and some were not.
        hit: whether there was anything left to kill.
        faults: what was not as promised, by the promise: end, verify, work (only what was missing
            is computed), store, processes, files.
    """

    kind: str
    way: str
    stored: float = 1.0
    training: bool = False
    hit: bool = True
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def midway(self) -> bool:
        """Whether some shards were stored and some were not."""
        return 0 < self.stored < 1

    def check(self, holds: bool, promise: str, fault: str) -> None:
        """Note a fault unless something holds."""
        if not holds:
            self.faults[promise] = fault


class Chaos:
    """The trials of one seed, in one folder."""

    def __init__(self, folder: Path, seed: int, seeds: int) -> None:
        self._folder = folder
        self._study = STUDY.replace("SEEDS", str(seeds))
        self._chance = random.Random(seed)
        self._reference = self._place("reference")
        started = time.monotonic()
        code, summary = self._reference.meanfield("run", "study.toml", "--direct")
        if code != 0:
            raise SystemExit(f"the uninterrupted run ended with {code}: {summary}")
        self.seconds = time.monotonic() - started
        self.total = summary["computed"]
        self._chunks = len(_status_chunks(self._reference))
        self._trained = len(_status_chunks(self._reference, "train"))

    def kill(self, kind: str, way: str) -> Trial:
        """Kill something of a run at a random moment, and complete the run."""
        while not ((trial := self._kill(kind, way)).hit or trial.faults):
            pass  # the run had ended already
        return trial

    def _kill(self, kind: str, way: str) -> Trial:
        place = self._place(f"{kind}-{way}-{self._chance.randrange(10**9)}")
        trial = Trial(kind, way)
        if way == "cluster":
            with place.cluster(2) as address:
                self._hit(place, trial, "--cluster", address, "--direct")
        else:
            self._hit(place, trial, *(["--direct"] if way == "direct" else []))
        left = place.left()
        trial.check(left == 0, "processes", f"{left} after the kill")
        self._judge_interrupted(place, trial)
        self._finish(place, trial, self._missing(place))
        return trial

    def damage(self, kind: str, how: str) -> Trial:
        """Damage one file of a finished store, and mend it."""
        place = self._place(f"{kind}-{how}".replace(" ", "-"))
        shutil.copytree(self._reference.folder / STORE, place.folder / STORE)
        done = harm(place.folder / STORE, kind, how, self._chance)
        trial = Trial(kind, how)
        code, told = place.meanfield("verify", STORE)
        found = _findings(told)
        trial.check(found == done.findings, "verify", f"{done.file}: it lists {found}")
        trial.check(code == 1, "verify", f"{done.file}: exit status {code}")
        if done.countable:
            pending = {step: count["pending"] for step, count in told["points"].items()}
            trial.check(pending == done.pending, "verify", f"{done.file}: it counts {pending}")
        self._finish(place, trial, sum(done.pending.values()))
        return trial

    def _place(self, name: str) -> Place:
        folder = self._folder / name
        folder.mkdir()
        (folder / "study.toml").write_text(self._study)
        return Place(folder)

    def _hit(self, place: Place, trial: Trial, *options: str) -> None:
        """Start a run, kill, and wait for what is to end by itself."""
        driver = place.start("flows.cli", "run", "study.toml", "--json", *options)
        if self._chance.random() < 1 / 6:
            moment, chunks = self._chance.uniform(0.2, 3.0), 0
        else:
            moment, chunks = self._chance.uniform(0, 0.2), self._chance.randrange(self._chunks) + 1
        while len(_status_chunks(place)) < chunks and driver.poll() is None:
            time.sleep(0.02)
        time.sleep(moment)
        victims = {
            "driver": lambda: [p for p in place.processes() if p.pid == driver.pid],
            "worker": lambda: workers(place),
            "nanny": lambda: nannies(place),
            "everything": place.processes,
            "any": lambda: [p for p in place.processes() if p.pid != driver.pid],
        }[trial.kind]()
        if trial.kind != "everything" and victims:
            victims = [self._chance.choice(victims)]
        trial.stored = len(_status_chunks(place)) / self._chunks
        trial.training = 0 < len(_status_chunks(place, "train")) < self._trained
        trial.hit = bool(victims) and driver.poll() is None
        for process in victims:
            kill(process)
        try:
            code = driver.wait(300)
        except subprocess.TimeoutExpired:
            driver.kill()
            code = driver.wait()
            trial.check(False, "end", "the run hung")
        if trial.kind in ("worker", "nanny"):
            trial.check(code == 0, "end", f"the run did not survive, exit status {code}")

    def _judge_interrupted(self, place: Place, trial: Trial) -> None:
        """Compare what `verify` says of an interrupted run with what is the case."""
        store = place.folder / STORE
        code, told = place.meanfield("verify", STORE)
        if not store.exists():
            trial.check(code == 2, "verify", f"exit status {code} where there is no store")
            return
        truth = oracle.points(store)
        lost = sum(count["pending"] for count in truth.values())
        expected = set() if lost else oracle.missing_analysis(store)
        found = {s: {k: c[k] for k in ("done", "pending")} for s, c in told["points"].items()}
        trial.check(found == truth, "verify", f"it counts {found}, there are {truth}")
        trial.check(_findings(told) == expected, "verify", f"it lists {told['damaged']}")
        trial.check(code == int(bool(lost or expected)), "verify", f"exit status {code}")

    def _missing(self, place: Place) -> int:
        """How many points a run has not stored."""
        store = place.folder / STORE
        if not store.exists():
            return self.total
        return sum(count["pending"] for count in oracle.points(store).values())

    def _finish(self, place: Place, trial: Trial, missing: int) -> None:
        """Complete a run, and see that nothing tells it from one that was not interrupted."""
        code, summary = place.meanfield("run", "study.toml", "--direct")
        trial.check(code == 0, "end", f"the completing run had exit status {code}")
        computed = summary.get("computed")
        trial.check(computed == missing, "work", f"computed {computed} points, missing {missing}")
        code, told = place.meanfield("verify", STORE)
        trial.check(code == 0, "verify", f"at the end it lists {told.get('damaged')}")
        different = oracle.differences(place.folder / STORE, self._reference.folder / STORE)
        trial.check(not different, "store", f"other than uninterrupted: {different}")
        left = place.left()
        trial.check(left == 0, "processes", f"{left} at the end")
        halves = [path.name for path in place.folder.rglob("*.partial")]
        trial.check(not halves, "files", f"{halves}")


def _status_chunks(place: Place, *steps: str) -> list[Path]:
    """The chunks of statuses that are on disk: how far a run is, without disturbing it."""
    groups = [place.folder / STORE / step / "status/c" for step in steps or STEPS]
    return [path for group in groups for path in group.rglob("*") if path.is_file()]


def _findings(told: dict[str, Any]) -> set[Finding]:
    """What `verify --json` lists."""
    return {
        (d["path"], None if d["chunk"] is None else tuple(d["chunk"]), d["problem"])
        for d in told["damaged"]
    }


def trials(chaos: Chaos, kills: int, damages: int) -> Iterator[Trial]:
    """So many kills, in turn of every scenario, and damages, of every kind of file and harm."""
    for number in range(kills):
        yield chaos.kill(*SCENARIOS[number % len(SCENARIOS)])
    pairs = [(kind, how) for kind in KINDS for how in HARMS]
    random.Random(damages).shuffle(pairs)
    for kind, how in pairs[:damages]:
        yield chaos.damage(kind, how)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials, print each, and write the report; 0 if all went as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--damages", type=int, default=len(KINDS) * len(HARMS))
    parser.add_argument("--seeds", type=int, default=6, help="of the study: how long it runs")
    parser.add_argument("--report", type=Path, help="where to write the table")
    options = parser.parse_args(arguments)
    done = []
    with tempfile.TemporaryDirectory(prefix="meanfield-chaos-") as folder:
        chaos = Chaos(Path(folder).resolve(), options.seed, options.seeds)
        print(f"uninterrupted: {chaos.total} points in {chaos.seconds:.1f} s", flush=True)
        for trial in trials(chaos, options.kills, options.damages):
            done.append(trial)
            outcome = "; ".join(f"{k}: {v}" for k, v in trial.faults.items()) or "as promised"
            where = f"{trial.kind}, {trial.way}, {trial.stored:.0%} stored"
            print(f"{len(done):3d} {where}: {outcome}", flush=True)
        if options.report:
            given = " ".join(
                f"--{k} {getattr(options, k)}" for k in ("seed", "kills", "damages", "seeds")
            )
            command = f"python tests/chaos/chaos.py {given} --report {options.report}"
            write_report(options.report, command, chaos.total, chaos.seconds, done)
    faults = sum(bool(trial.faults) for trial in done)
    print(json.dumps({"trials": len(done), "faults": faults}))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

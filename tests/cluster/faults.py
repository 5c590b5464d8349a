"""Break things under runs on a real cluster, at random and repeatably, and count what came of it.

Runs on Slurm's two nodes fill a store on Ceph's RADOS Gateway; faults hit them one after the other,
each at a random moment. Where a fault ends the run, the run is started again, as its message says.
What was committed before a fault must stay as it was, not written again; and in the end each
store must equal that of an undisturbed run on this machine, bit for bit. Must run as root.

    python tests/cluster/faults.py --seed 0 --faults 50 --report docs/reliability-cluster.md
"""

import argparse
import contextlib
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.cluster.faults_report import write_report
from tests.cluster.rounds import (
    STUDY,
    DiskRound,
    Round,
    SeparateRound,
    Services,
)
from tests.services import guard
from tests.services.place import Place
from tests.services.s3 import running_s3
from tests.services.slurm import NODES, running_slurm

INSIDE = "MEANFIELD_TEST_MOUNTS"
PROGRESS_SECONDS = 240.0
END_SECONDS = 420.0
AWAY_SECONDS = 20.0


@dataclass
class Fault:
    """One fault, and what came of it.

    Attributes:
        kind: what was done.
        stored: the share of shards that were committed at that moment.
        seconds: until it was clear what came of it.
        survived: whether the run went on without help.
        message: what it said, if it ended.
        problems: what was not as promised.
    """

    kind: str
    stored: float = 0.0
    seconds: float = 0.0
    survived: bool = False
    message: str = ""
    problems: list[str] = field(default_factory=list)


def _scancel(target: Round) -> bool:
    jobs = target.jobs()
    if jobs:
        target.services.slurm.cancel(target.services.chance.choice(jobs))
    return bool(jobs)


def _kill(victims: Callable[[Any], list[Any]]) -> Callable[[Any], bool]:
    def hit(target: Round) -> bool:
        found = victims(target)
        if found:
            target.services.chance.choice(found).kill()
        return bool(found)

    return hit


def _node(target: Round) -> bool:
    node = target.services.chance.choice(NODES)
    target.services.slurm.down(node)
    time.sleep(10)
    target.services.slurm.resume(node)
    return True


def _gateway_away(target: Round) -> bool:
    target.services.s3.stop()
    time.sleep(AWAY_SECONDS)
    target.services.s3.start()
    return True


def _gateway_gone(target: Round) -> bool:
    target.services.s3.stop()
    try:
        _wait(lambda: not target.running, END_SECONDS)
    finally:
        target.services.s3.start()
    return True


def _disk(target: Any) -> bool:
    target.fill()
    return True


def _walltime(target: Round) -> bool:
    jobs = target.jobs()
    if not jobs:
        return False
    job = target.services.chance.choice(jobs)
    slurm = target.services.slurm
    slurm.expire(job)

    def ended() -> bool:
        return job.number in {other.number for other in slurm.jobs("TIMEOUT")}

    _wait(lambda: ended() or not target.running, 60)
    return ended()


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        hit: does it; false if there was nothing to hit.
        weight: how often it is drawn.
        ends: whether the run may end with it: with a message, or without one if it is the driver.
        way: the sort of round in which it happens.
    """

    hit: Callable[[Any], bool]
    weight: int
    ends: bool = False
    way: type[Round] = Round


KINDS = {
    "kill -9 of a separate scheduler": Kind(
        _kill(lambda r: [r.scheduler]), 4, ends=True, way=SeparateRound
    ),
    "full disk": Kind(_disk, 4, ends=True, way=DiskRound),
    "scancel of a worker": Kind(_scancel, 8),
    "kill -9 of a worker": Kind(_kill(lambda r: r.workers()), 8),
    "kill -9 of a nanny": Kind(_kill(lambda r: r.nannies()), 8),
    "kill -9 of the driver": Kind(_kill(lambda r: [r.driver]), 7, ends=True),
    "node set down for 10 s": Kind(_node, 5),
    "gateway stopped for 20 s": Kind(_gateway_away, 5),
    "gateway stopped for good": Kind(_gateway_gone, 2, ends=True),
    "SIGTERM at walltime": Kind(_walltime, 4),
}
DRIVER = "kill -9 of the driver"


def schedule(number: int, chance: random.Random) -> list[str]:
    """Which faults, in which order: each kind by its weight, those of one way together."""
    whole = sum(kind.weight for kind in KINDS.values())
    counts = {name: max(1, round(number * k.weight / whole)) for name, k in KINDS.items()}
    while (surplus := sum(counts.values()) - number) != 0:
        able = [n for n, count in counts.items() if surplus < 0 or count > 1] or list(counts)
        name = max(able, key=lambda n: counts[n] / KINDS[n].weight * surplus)
        counts[name] -= 1 if surplus > 0 else -1
    ordered = []
    for way in dict.fromkeys(kind.way for kind in KINDS.values()):
        names = [n for n, count in counts.items() for _ in range(count) if KINDS[n].way is way]
        chance.shuffle(names)
        ordered += names
    return ordered


class Faults:
    """The faults of one seed.

    Args:
        services: the cluster and the store.
        oracle: tells how two stores differ, without our code.
    """

    def __init__(self, services: Services, oracle: ModuleType) -> None:
        self._services = services
        self._oracle = oracle
        self._stack = contextlib.ExitStack()
        self._round: Round | None = None
        self._last: Fault | None = None
        self._started = time.monotonic()
        place = self._place("faults-reference")
        (place.folder / "study.toml").write_text(STUDY)
        code, facts, errors = place.meanfield(
            "run", "study.toml", "--direct", "--store", "data.zarr"
        )
        if code:
            raise SystemExit(f"the undisturbed run ended with {code}: {errors}")
        self.points = facts["computed"]
        self.seconds = time.monotonic() - self._started
        self._reference = place.folder / "data.zarr"
        self._shards = sum(
            file.is_file()
            for step in ("limit", "particles")
            for file in (self._reference / step / "status/c").rglob("*")
        )
        self.rounds = 0

    def inject(self, name: str) -> Fault:
        """Let one fault happen, in the middle of a run, and see what comes of it."""
        kind = KINDS[name]
        while True:
            target = self._running(kind.way)
            fault = Fault(name)
            before = target.committed()
            if target.running and kind.hit(target):
                break
        self._last, hit = fault, time.monotonic()
        fault.stored = self._share(before)
        self._judge(target, kind, fault)
        fault.seconds = time.monotonic() - hit
        self._compare(before, target.committed(), fault)
        return fault

    def complete(self) -> None:
        """Complete the last store."""
        if self._round:
            self._finish(self._round)

    def close(self) -> None:
        """Let everything go."""
        self._stack.close()

    def _place(self, name: str) -> Place:
        return Place(self._stack.enter_context(guard.service(name)).folder)

    def _running(self, way: type[Round]) -> Round:
        """A run of some way in the middle of its work, at a random moment."""
        while True:
            target = self._round
            if target and (type(target) is not way or target.code == 0):
                self._finish(target)
                target = None
            if target is None:
                target = self._round = way(self._services, self._place("faults"))
                self.rounds += 1
            if not target.running:
                self._account(target)
                target.mend()
                target.start()
            _wait_for_news(target, PROGRESS_SECONDS)
            time.sleep(self._services.chance.uniform(0.0, 6.0))
            if target.running:
                return target

    def _account(self, target: Round) -> None:
        """Note if a run has ended although the last fault seemed to be survived."""
        if target.code and self._last and self._last.survived:
            self._last.message = _message(target)
            self._last.survived = False
            if not KINDS[self._last.kind].ends:
                self._last.problems.append(f"ended later: {self._last.message}")

    def _judge(self, target: Round, kind: Kind, fault: Fault) -> None:
        """Wait until the run goes on or ends, and note which."""
        known = set(target.committed())
        if kind.ends:
            _wait(lambda: not target.running, END_SECONDS)
        else:
            _wait_for_news(target, PROGRESS_SECONDS)
        code = target.code
        fault.survived = code == 0 or (code is None and set(target.committed()) != known)
        if fault.survived:
            return
        if code is None:
            fault.problems.append("the run hangs")
            target.driver.kill()
            return
        if fault.kind == DRIVER:  # it can say nothing
            return
        fault.message = _message(target)
        if "meanfield: " not in fault.message:
            fault.problems.append(f"no message: {fault.message}")
        if not kind.ends:
            fault.problems.append(f"ended: {fault.message}")

    def _compare(self, before: Any, after: Any, fault: Fault) -> None:
        """See that nothing that was committed before is gone or written again."""
        lost = [key for key in before if key not in after]
        again = [key for key, mark in before.items() if key in after and after[key] != mark]
        if lost:
            fault.problems.append(f"lost: {lost[:3]}")
        if again:
            fault.problems.append(f"written again: {again[:3]}")

    def _finish(self, target: Round) -> None:
        """Complete a store by `run` alone; it must equal that of an undisturbed run."""
        fault = self._last or Fault("none")
        for _ in range(3):
            if target.running and not _wait(lambda: not target.running, END_SECONDS):
                fault.problems.append("the last run hangs")
                target.driver.kill()
            if target.code == 0:
                break
            self._account(target)
            target.mend()
            target.start()
        else:
            fault.problems.append(f"not completed: {_message(target)}")
        code, told, _ = target.place.meanfield("verify", target.store)
        if code:
            fault.problems.append(f"verify finds {told and told['damaged'][:3]}")
        if different := self._oracle.differences(target.fetch(), self._reference):
            fault.problems.append(f"other than undisturbed: {different}")
        target.close()
        if not _wait(lambda: not self._services.slurm.jobs(), 120):
            fault.problems.append("jobs are left")
        if left := guard.left(target.place.folder, 60):
            fault.problems.append(f"processes are left: {[p.pid for p in left]}")
        self._round = None

    def _share(self, committed: Any) -> float:
        return sum("/status/" in key for key in committed) / self._shards


def _message(target: Round) -> str:
    """What the latest run has said of its end: why, and how to go on."""
    lines = target.place.errors(target.log).strip().splitlines()
    if any(line.startswith("Traceback") for line in lines):
        return "a traceback"
    said = [line for line in lines if line.startswith(("stopping: ", "meanfield: "))]
    return " / ".join(said[-2:])


def _wait(condition: Callable[[], Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _wait_for_news(target: Round, seconds: float) -> None:
    """Wait until a shard is committed, or the run ends."""
    known = set(target.committed())
    _wait(lambda: not target.running or set(target.committed()) - known, seconds)


def _oracle() -> ModuleType:
    """The oracle of the chaos next door, which compares stores with xarray alone."""
    file = Path(__file__).parents[1] / "chaos" / "oracle.py"
    spec = importlib.util.spec_from_file_location("oracle", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _faults(seed: int) -> Iterator[Faults]:
    with running_slurm() as slurm, running_s3() as s3:
        services = Services(slurm, s3, s3.make_bucket(), random.Random(seed))
        faults = Faults(services, _oracle())
        print(f"undisturbed: {faults.points} points in {faults.seconds:.0f} s", flush=True)
        with contextlib.closing(faults):
            yield faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject the faults, print each, and write the report; 0 if all went as promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--only", action="append", choices=KINDS, help="kinds, without the others")
    parser.add_argument("--report", type=Path, help="where to write the table")
    options = parser.parse_args(arguments)
    done: list[Fault] = []
    names = schedule(options.faults, random.Random(options.seed))
    if options.only:
        names = [options.only[i % len(options.only)] for i in range(options.faults)]
    started = time.monotonic()
    with _faults(options.seed) as faults:
        for name in names:
            done.append(faults.inject(name))
            print(f"{time.monotonic() - started:5.0f} s {len(done):3d} {_line(done[-1])}",
                  flush=True)  # fmt: skip
        faults.complete()
    for number, fault in enumerate(done, 1):
        if fault.problems:
            print(f"{number:3d} {_line(fault)}")
    if options.report:
        given = f"--seed {options.seed} --faults {options.faults} --report {options.report}"
        command = f"python tests/cluster/faults.py {given}"
        write_report(options.report, command, faults.points, faults.rounds, done)
    failed = sum(bool(fault.problems) for fault in done)
    print(json.dumps({"faults": len(done), "failed": failed, "stores": faults.rounds}))
    return int(bool(failed))


def _line(fault: Fault) -> str:
    outcome = "survived" if fault.survived else f"ended: {fault.message or 'killed'}"
    problems = "; PROBLEM: " + "; ".join(fault.problems) if fault.problems else ""
    return f"{fault.kind}, {fault.stored:.0%} stored: {outcome} in {fault.seconds:.0f} s{problems}"


if __name__ == "__main__":
    if INSIDE not in os.environ:  # mounts of its own, which no crash can leave behind
        os.environ[INSIDE] = "1"
        own = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvp(own[0], own)
    sys.exit(main())

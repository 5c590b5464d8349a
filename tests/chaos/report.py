"""The page on reliability: what is promised, and the tables of what was tried."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from damage import HARMS, KINDS

if TYPE_CHECKING:
    from chaos import Trial

TEXT = """\
# Reliability

What a run promises when things go wrong, and how often that was put to the test. The tables are
written by the program that makes them:

    {command}

(`make chaos`, with 24 kills; a seed draws the same moments and places again.) Measured on {cores}
cores with Python {python}; the uninterrupted run, {points} points of the steps train, limit and
particles, takes {seconds:.0f} s there.

## What a crash can cost

The shards in flight: at most a few seconds of work for each worker, computed again by the next
`run`. It cannot cost

* a finished point: a shard is on disk before its points count as done, because the status is
  written last, and every file appears whole or not at all;
* a right answer: a chunk carries a checksum and the metadata have a second copy, so that damage is
  noticed, reported by `verify` and mended by `run`, which computes what was lost and nothing else;
* the same bits: the store of an interrupted and completed run equals that of an uninterrupted one
  in every variable, coordinate and attribute, `wall_seconds` and the root's time and host apart;
* a process: workers and the Prefect server end when their driver does, whichever way it ends;
* disk space: half-written files of a killed writer are removed by the next `run`.

A worker or nanny that is killed costs the run some seconds; the run goes on without it.

Storage that fails in the middle of a run (a full disk, a file system that turns read-only or goes
away) ends it with one message and exit status 1, and so does a data file of the study that workers
cannot read or that has changed; no point is marked as failed, and the same command goes on once the
cause is gone. A file system that hangs is waited for; to kill the driver is safe.

Several drivers may run the same study at once. To let a store grow is refused while another driver
is at work on it. Should the store grow under a driver all the same (its heartbeat was lost), its
workers abandon their shards, and the run ends with exit status 1 and can be repeated.

What is not promised: files are not forced to the disk, so a machine that loses power may lose what
was written in its last seconds (`verify` finds it, `run` mends it); and a store of which both
copies of the root metadata are damaged is lost. A deleted chunk of a status, with which a shard
counts as not computed, shows as pending points and not as damage.

## Killed with `kill -9`

Each kill, at a random moment, hits a run of its own; the run is then completed. "Midway": some
shards were stored, and some were not. "One process" is any but the driver.

{kills}

## Damaged files

Each damage hits one random file of a copy of the finished store, at a random place.

{damages}
"""

HEADER = (
    "",
    "trials",
    "ended as it should",
    "`verify` told the truth",
    "only the missing computed",
    "store equal",
    "processes left",
    "files left",
)


def write_report(
    path: Path, command: str, points: int, seconds: float, done: "list[Trial]"
) -> None:
    """Write the page."""
    killed = [trial for trial in done if trial.way not in HARMS]
    damaged = [trial for trial in done if trial.way in HARMS]
    text = TEXT.format(
        command=command,
        cores=os.cpu_count(),
        python=platform.python_version(),
        points=points,
        seconds=seconds,
        kills=_kills(killed),
        damages=_damages(damaged),
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _kills(done: "list[Trial]") -> str:
    names = {"any": "one process", "everything": "all processes"}
    ways = {"direct": "run --direct", "cluster": "run --cluster", "Prefect": "run"}
    groups = dict.fromkeys((trial.kind, trial.way) for trial in done)
    rows = [
        _row(
            f"{names.get(kind, kind)}, `{ways[way]}`",
            [trial for trial in done if (trial.kind, trial.way) == (kind, way)],
        )
        for kind, way in sorted(groups)
    ]
    midway, training = (sum(getattr(t, name) for t in done) for name in ("midway", "training"))
    table = _table(HEADER, [*rows, _row("**all**", done)])
    middle = f"{training} in the middle of the training"
    return f"{table}\n\n{midway} of the {len(done)} kills came midway, {middle}."


def _damages(done: "list[Trial]") -> str:
    header = ("", *HEADER[1:])
    rows = [_row(kind, group) for kind in KINDS if (group := [t for t in done if t.kind == kind])]
    each = ", ".join(f"{sum(t.way == harm for t in done)} {harm}" for harm in HARMS)
    return f"{_table(header, [*rows, _row('**all**', done)])}\n\nOf these: {each}."


def _row(name: str, group: "Iterable[Trial]") -> list[str]:
    trials = list(group)
    kept = [
        sum(c not in trial.faults for trial in trials) for c in ("end", "verify", "work", "store")
    ]
    left = [sum(c in trial.faults for trial in trials) for c in ("processes", "files")]
    return [name, *map(str, [len(trials), *kept, *left])]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

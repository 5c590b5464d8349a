"""What a worker does: take shards, compute their missing points, write them, report.

Nothing here knows who called: the same functions run in a Dask worker, in the driver's own process
and for a single point in the foreground.
"""

import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.axes import Value
from pipeline.errors import StoreChangedError, StoreError
from pipeline.memory import check_fits
from pipeline.parcel import Inputs, at_hand
from pipeline.place import Place
from pipeline.provenance import differences, fingerprint
from pipeline.root import read_root
from pipeline.shards import (
    Shard,
    TableBlock,
    missing_points,
    places_of,
    put,
    read_block,
    write_block,
    write_fields,
)
from pipeline.status import Status, status_of
from pipeline.steps.base import Outputs, Poll, Step, Table, Variable
from pipeline.store import Store, check_root, open_store
from pipeline.study import Study
from pipeline.upstream import At, Results
from solvers.errors import MeanfieldError, NonFiniteError, PointTimeoutError

WRITE_SECONDS = 30.0
"""A shard that takes longer is written now and then, as far as it is: a crash costs no more."""

leaving = threading.Event()
"""Set when this process is to end: it finishes its shard, and starts no other."""


@dataclass(frozen=True)
class RunSpec:
    """What a worker must know of a run; small, and sent with every bundle.

    Attributes:
        place: where the store is.
        root: the digest of its root metadata, as the driver opened it.
        study: the resolved study as JSON; empty where it is the one that the store has.
        fingerprint: the driver's versions and CPU features; a worker that differs refuses.
        redo: statuses whose points are computed again.
        inputs: the files and modules that the study needs.
    """

    place: Place
    root: str
    study: str
    fingerprint: str
    redo: frozenset[int] = frozenset()
    inputs: Inputs = field(default_factory=Inputs)


@dataclass(frozen=True)
class Failure:
    """A point without a result."""

    step: str
    values: Mapping[str, Value]
    status: Status
    reason: str
    trace: str


@dataclass
class Token:
    """What a worker tells of a shard; all that comes back to the driver.

    Attributes:
        shard: which shard.
        points: how many points were computed, failed ones among them.
        failed: how many of these lack a result, in any table.
        failures: why, except where an earlier step failed.
        seconds: of computing, reading and writing.
        abandoned: why the worker gave the shard up, if the store has changed under the run.
        left: whether the worker had to end, and did not begin the shard.
    """

    shard: Shard
    points: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    abandoned: str = ""
    left: bool = False


class Deadline:
    """Raises once a point has used up its time; solvers call it as they go."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start = time.perf_counter()

    def __call__(self) -> None:
        """Raise PointTimeoutError if the time is over."""
        if time.perf_counter() - self._start > self._seconds:
            raise PointTimeoutError(f"the point took longer than {self._seconds:g} s")


def compute_bundle(spec: RunSpec, shards: Sequence[Shard]) -> list[Token]:
    """Compute some shards; the body of a Dask task.

    Raises:
        StoreError: if this process differs from the driver in what determines results, or the
            store cannot be written.
    """
    if fingerprint() != spec.fingerprint:
        raise StoreError(
            f"a worker on {socket.gethostname()} differs from the driver, so its bits may too: "
            f"{differences(fingerprint(), spec.fingerprint)}; give it what the driver has"
        )
    try:
        store, results = _session(spec.place, spec.root, spec.study, spec.inputs)
    except StoreChangedError as change:
        return [Token(shard, abandoned=str(change)) for shard in shards]
    return [
        Token(shard, left=True)
        if leaving.is_set()
        else compute_shard(store, results, shard, spec.redo)
        for shard in shards
    ]


def store_problem(spec: RunSpec) -> str:
    """Why this process cannot use the store of a run; empty if it can."""
    try:
        _session(spec.place, spec.root, spec.study, spec.inputs)
    except (MeanfieldError, OSError) as error:
        return str(error)
    return ""


@lru_cache(maxsize=2)
def _session(place: Place, root: str, document: str, inputs: Inputs) -> tuple[Store, Results]:
    check_root(place, root)
    document = document or read_root(place)["attributes"]["study"]
    tables = json.loads(at_hand(document, inputs))
    store = open_store(place, Study(**tables, where=str(place)))
    return store, Results(store)


def compute_shard(
    store: Store, results: Results, shard: Shard, redo: frozenset[int] = frozenset()
) -> Token:
    """Compute the missing points of a shard and write it, or give it up if the store changes."""
    try:
        return _compute_shard(store, results, shard, redo)
    except StoreChangedError as change:
        return Token(shard, abandoned=str(change))


def _compute_shard(store: Store, results: Results, shard: Shard, redo: frozenset[int]) -> Token:
    step = store.study.step(shard.step)
    token = Token(shard)
    step.prepare()
    start = time.perf_counter()
    tables = step.tables_in(store.study.header.steps)
    blocks = [read_block(store, step, table, shard, redo) for table in tables]
    only = shard.only and frozenset(shard.only)
    written = start
    for offset in map(tuple, np.argwhere(missing_points(blocks)).tolist()):
        if only is None or offset in only:
            _compute_point(store, results, step, blocks, offset, token)
            if time.perf_counter() - written > WRITE_SECONDS:
                _write(store, step, blocks)
                written = time.perf_counter()
    _write(store, step, blocks)
    token.seconds = time.perf_counter() - start
    return token


def _write(store: Store, step: Step, blocks: Sequence[TableBlock]) -> None:
    """Write what has changed of a shard, the first table last: it says that the point is done."""
    for block in reversed(blocks):
        if block.changed:
            write_block(store, step, block)


def _compute_point(
    store: Store,
    results: Results,
    step: Step,
    blocks: Sequence[TableBlock],
    offset: tuple[int, ...],
    token: Token,
) -> None:
    """Do a step's work at one point and put the outputs of its tables into the blocks."""
    first = blocks[0]
    started = time.perf_counter()
    values = _values_of(store, first, offset)
    poll = Deadline(store.study.numerics.point_timeout)
    failed = False
    work, broken = guarded(step.name, values, lambda: work_at(results, step, values, poll, blocks))
    for block in blocks:
        for place in places_of(first, block, offset):
            if not block.missing[place]:
                continue
            at = _values_of(store, block, place) if block is not first else values
            outputs, failure = ({}, broken) if broken else _evaluate(results, block, at, work, poll)
            if failure:
                inherited = bool(broken) and block is not first
                _put_failure(block, place, failure, token, inherited=inherited)
                failed = True
                continue
            write_fields(store, step, block, place, outputs)
            outputs["wall_seconds"] = time.perf_counter() - started
            put(block, place, outputs, outputs.get("status", Status.DONE))
    token.points += 1
    token.failed += failed


def _values_of(store: Store, block: TableBlock, offset: tuple[int, ...]) -> dict[str, Value]:
    return store.values_at(block.axes, block.index(offset)) or {}


def work_at(
    results: Results,
    step: Step,
    values: Mapping[str, Value],
    poll: Poll,
    blocks: Sequence[TableBlock] = (),
) -> Any:
    """A step's work at a point, beside a shard that is in memory.

    Raises:
        MemoryError: if it does not fit.
    """
    case = results.case(step.name, values)
    check_fits(step, case, blocks)
    return step.work(case, poll)


def _evaluate(
    results: Results, block: TableBlock, at: Mapping[str, Value], work: object, poll: Poll
) -> tuple[dict[str, Any], Failure | None]:
    """The outputs of one table at one point, or why there are none."""
    step = block.table.steps[0]
    found, failure = guarded(step, at, lambda: outputs_of(results, block.table, at, work, poll))
    return found or {}, failure


def outputs_of(
    results: Results, table: Table, at: Mapping[str, Value], work: object, poll: Poll
) -> dict[str, Any]:
    """The outputs of a table at a point, finite where they must be.

    Raises:
        NonFiniteError: if one is not.
        ValueError: if one is missing, or of another shape.
    """
    case = results.case(table.steps[0], at)
    found = dict(table.evaluate(work, case, At(results, at), poll))
    for variable in table.variables:
        _check_output(results, table, variable, at, found)
        if not (variable.padded or np.all(np.isfinite(found.get(variable.name, 0.0)))):
            raise NonFiniteError(f"{variable.name} is not finite")
    return found


def _check_output(
    results: Results, table: Table, variable: Variable, at: Mapping[str, Value], found: Outputs
) -> None:
    """See that a variable is there with its shape, where a step gives it.

    Raises:
        ValueError: if not.
    """
    if not variable.reproducible or (variable.padded and variable.name not in found):
        return
    step, wanted = table.steps[0], results.shape_of(table, variable, at)
    if variable.name not in found:
        raise ValueError(f"the step {step} gives no {variable.name}")
    if (shape := np.shape(found[variable.name])) != wanted:
        raise ValueError(f"the step {step} gives {variable.name} of shape {shape}, not {wanted}")


def _put_failure(
    block: TableBlock, place: tuple[int, ...], failure: Failure, token: Token, *, inherited: bool
) -> None:
    """Mark a point as failed; one whose work failed in the first table is reported there only."""
    if not inherited and failure.status != Status.UPSTREAM:
        token.failures.append(failure)
    put(block, place, {}, Status.UPSTREAM if inherited else failure.status)


def guarded(
    step: str, values: Mapping[str, Value], call: Callable[[], Any]
) -> tuple[Any, Failure | None]:
    """Run a solver; whatever it raises becomes the failure of its point and of no other.

    Raises:
        OSError: a store or a file out of reach is no fault of the point.
    """
    try:
        return call(), None
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, PointTimeoutError):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return None, Failure(step, values, status_of(error), reason, traceback.format_exc())

"""The history of regression runs: nights and baselines, in a folder or a bucket.

A night is computed into the history, under a name that no other night has; its record, which is
written last, makes it part of the history, and is never changed. A baseline is a small file that
names a night. So nothing that is there is ever rewritten, and nights may run at once without a
lock: what a killed one left has no record and no living driver, and the next night removes it.

    history.json                                what the folder is
    nights/20261121T020000Z-1f0c9a3e/           a night
        convergence.zarr/                       its results, one store per study
        night.json                              its record: versions, numbers, verdict
        pruned.json                             where the results have been removed
    baselines/release-1.json                    a name for a night
"""

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pydantic

from pipeline.errors import StoreError, StudyError
from pipeline.heartbeat import FOLDER, heartbeat, other_drivers
from pipeline.place import Place
from pipeline.regression.findings import Number, Step
from pipeline.root import BACKUP, NAME
from pipeline.validation import nearest

FORMAT = 1
ROOT = "history.json"
RECORD = "night.json"
PRUNED = "pruned.json"
NIGHT = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
BASELINE = STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Record(pydantic.BaseModel):
    """What a night leaves for ever.

    Attributes:
        night: its name, which begins with its time in UTC.
        study: the study.
        studies: all studies that were run, the study and its members.
        outcome: agrees, alarms, first, baseline (a store that was given as such) or no-verdict.
        provenance: versions, machine and time.
        calibration: what the machine gave, by :mod:`pipeline.regression.calibration`.
        numbers: the tracked numbers; none of a night without a verdict.
        steps: the steps in the numbers of all nights up to this one.
        verdict: the verdict as verdict.json has it.
    """

    model_config = pydantic.ConfigDict(frozen=True, ser_json_inf_nan="strings")

    night: str
    study: str
    studies: tuple[str, ...]
    outcome: str
    provenance: dict[str, Any]
    calibration: dict[str, Any]
    numbers: tuple[Number, ...]
    steps: tuple[Step, ...]
    verdict: dict[str, Any]

    @property
    def judged(self) -> bool:
        """Whether its numbers count."""
        return self.outcome != "no-verdict"


@dataclass(frozen=True)
class Draft:
    """A night that is being computed."""

    history: "History"
    night: str

    def store(self, study: str) -> Place:
        """The place of a study's results."""
        return self.history.store(self.night, study)

    def commit(self, record: Record) -> None:
        """Make the night part of the history.

        Raises:
            OSError: if its record cannot be written; then it is no part of it.
        """
        if not record.judged:  # incomplete results are no use, and may be what fills the disk
            for study in record.studies:
                self.store(study).clear()
        document = json.loads(record.model_dump_json())
        content = {"format": FORMAT, "digest": _digest(document), "record": document}
        self.history.place.write(f"nights/{self.night}/{RECORD}", _encoded(content))


@dataclass(frozen=True)
class History:
    """The nights and baselines at a place."""

    place: Place

    def exists(self) -> bool:
        """Whether there is a history.

        Raises:
            StoreError: if there is something else, or a history of a newer format.
        """
        content = self.place.read(ROOT)
        if content is None:
            if self.place.exists() and self.place.keys(""):
                raise StoreError(
                    f"{self.place}: not a history of regression runs; give another path"
                )
            return False
        self._decoded(content, ROOT)
        return True

    def create(self) -> None:
        """Make the history unless there is one.

        Raises:
            StoreError: if it cannot be made there.
        """
        if self.exists():
            return
        content = _encoded({"format": FORMAT, "kind": "history of regression runs"})
        try:
            if self.place.exists():  # an empty folder, or a disk of its own
                self.place.write(ROOT, content)
            else:
                self.place.check_makeable()
                self.place.create({ROOT: content}, ROOT)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{self.place}: cannot write there: {error.strerror}") from None

    @contextlib.contextmanager
    def night(self) -> Iterator[Draft]:
        """Begin a night; what is not committed as the context ends is removed."""
        self.create()
        self.remove_dead()
        name = _new_name(datetime.now(UTC))
        with heartbeat(self.place, f"{FOLDER}/{name}"):
            try:
                yield Draft(self, name)
            finally:
                if not self.place.has(f"nights/{name}/{RECORD}"):
                    self.place.child(f"nights/{name}").clear()
        self.place.child(f"{FOLDER}/{name}").clear()

    def store(self, night: str, study: str) -> Place:
        """The place of a study's results."""
        return self.place.child(f"nights/{night}/{study}.zarr")

    def has_store(self, night: str, study: str) -> bool:
        """Whether the results of a night are still there."""
        return not self._pruned(night) and self.store(night, study).has(NAME)

    def names(self) -> list[str]:
        """The names of all nights, also of those at work and of killed ones, oldest first."""
        found = {key.split("/")[1] for key in self.place.keys("nights")}
        return sorted(name for name in found if NIGHT.fullmatch(name))

    def records(self) -> tuple[list[Record], list[str]]:
        """The records of all nights, oldest first, and what is wrong with the others.

        Raises:
            StoreError: if one has a newer format.
        """
        found, problems = [], []
        for name in self.names():
            content = self.place.read(f"nights/{name}/{RECORD}")
            if content is None:
                continue
            try:
                found.append(self._record(name, content))
            except ValueError:
                problems.append(f"{self.place}: the record of the night {name} is damaged")
        return found, problems

    def record(self, name: str) -> Record:
        """The record of one night.

        Raises:
            StoreError: if there is none, or it is damaged or of a newer format.
        """
        content = self.place.read(f"nights/{name}/{RECORD}") if NIGHT.fullmatch(name) else None
        if content is None:
            raise StoreError(f"{self.place}: there is no night '{name}'")
        try:
            return self._record(name, content)
        except ValueError:
            raise StoreError(f"{self.place}: the record of the night {name} is damaged") from None

    def running(self) -> list[str]:
        """Who is at work on a night, this process apart."""
        names = {key.split("/")[1] for key in self.place.keys(FOLDER)}
        return [who for name in names for who in other_drivers(self.place, f"{FOLDER}/{name}")]

    def remove_dead(self) -> list[str]:
        """Remove what killed nights have left, and return their names."""
        dead = []
        for name in self.names():
            if self.place.has(f"nights/{name}/{RECORD}"):
                continue
            if not other_drivers(self.place, f"{FOLDER}/{name}"):
                self.place.child(f"nights/{name}").clear()
                self.place.child(f"{FOLDER}/{name}").clear()
                dead.append(name)
        return dead

    def baselines(self) -> dict[str, str]:
        """The night of each baseline; "" where the file is damaged."""
        keys = [key.removeprefix("baselines/") for key in self.place.keys("baselines")]
        names = sorted(key.removesuffix(".json") for key in keys if key.endswith(".json"))
        return {name: self._baseline(name) or "" for name in names}

    def baseline(self, name: str) -> Record:
        """The night that a baseline names, with its results.

        Raises:
            StoreError: if there is no such baseline, or its night is not whole.
        """
        night = self._baseline(name)
        if night is None:
            hint = nearest(name, self.baselines()) if self.baselines() else "there is none yet"
            raise StoreError(f"{self.place}: no baseline '{name}'; {hint}")
        if not self.place.has(f"nights/{night}/{RECORD}"):
            raise StoreError(
                f"{self.place}: the night of the baseline '{name}' is not there; set it anew with "
                f"`meanfield baseline set {name} NIGHT`"
            )
        return self._with_results(self.record(night), f"the baseline '{name}'")

    def set_baseline(self, name: str, night: str) -> None:
        """Give a night a name, in place of the one that had it.

        Raises:
            StudyError: for a name that is none.
            StoreError: if the night, or its results, are not there.
        """
        check_name(name)
        self._with_results(self.record(night), f"the night {night}")
        before, key = self.place.read(f"baselines/{name}.json"), f"baselines/{name}.json"
        self.place.write(key, _encoded({"format": FORMAT, "night": night}))
        if self._pruned(night):  # by a night that ends now: see prune
            if before is None:
                self.place.remove(key)
            else:
                self.place.write(key, before)
            self._with_results(self.record(night), f"the night {night}")

    def remove_baseline(self, name: str) -> None:
        """Take a name away; the night stays.

        Raises:
            StoreError: if there is no such baseline.
        """
        check_name(name)
        if self._baseline(name) is None:
            raise StoreError(f"{self.place}: no baseline '{name}'")
        self.place.remove(f"baselines/{name}.json")

    def adopt(self, draft: Draft, study: str, source: Place) -> None:
        """Copy a finished store into a night; its root comes last.

        Raises:
            StoreError: if something in it cannot be read, or written.
        """
        root = (NAME, BACKUP)
        keys = [key for key in source.keys("") if key not in root and not key.startswith(".")]
        target = draft.store(study)
        values = {key: source.read(key) for key in root}
        try:
            target.create({key: value for key, value in values.items() if value}, NAME)
            for key in keys:
                value = source.read(key)
                if value is None:
                    raise StoreError(f"{source}: '{key}' cannot be read")
                target.write(key, value)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"{target}: cannot write there: {error.strerror}") from None

    def prune(self, keep: int, spared: Collection[str] = ()) -> list[str]:
        """Remove the results, not the records, of old nights; returns their names.

        Kept are those of the newest nights, of every baseline, and of the nights that are spared. A
        baseline may be set meanwhile: the mark is put first, and baselines are read after it, while
        set_baseline writes first and looks for the mark after it; so one of the two sees the other.

        Args:
            keep: of how many of the newest nights results are kept.
            spared: further nights that keep theirs: those beside a step.
        """
        judged = [record for record in self.records()[0] if record.judged]
        pruned = []
        for record in judged[: max(len(judged) - keep, 0)]:
            whole = any(self.store(record.night, study).has(NAME) for study in record.studies)
            if not whole or record.night in {*spared, *self.baselines().values()}:
                continue
            mark = f"nights/{record.night}/{PRUNED}"
            self.place.write(mark, _encoded({"format": FORMAT}))
            if record.night in self.baselines().values():
                self.place.remove(mark)
                continue
            for study in record.studies:
                self.store(record.night, study).clear()
            pruned.append(record.night)
        return pruned

    def _with_results(self, record: Record, what: str) -> Record:
        if not record.judged or not self.has_store(record.night, record.study):
            raise StoreError(
                f"{self.place}: the results of {what} are not there any more; allowed: one of the "
                "nights that `meanfield baseline list` shows with results, or a store"
            )
        return record

    def _pruned(self, night: str) -> bool:
        return self.place.has(f"nights/{night}/{PRUNED}")

    def _baseline(self, name: str) -> str | None:
        """The night of a baseline; "" if its file is damaged, None without one."""
        content = self.place.read(f"baselines/{name}.json") if BASELINE.fullmatch(name) else None
        if content is None:
            return None
        try:
            found = self._decoded(content, f"baselines/{name}.json", damaged=ValueError)
        except ValueError:
            return ""
        night = found.get("night")
        return night if isinstance(night, str) and NIGHT.fullmatch(night) else ""

    def _record(self, name: str, content: bytes) -> Record:
        document = self._decoded(content, f"nights/{name}/{RECORD}", damaged=ValueError)
        if document.get("digest") != _digest(document.get("record")):
            raise ValueError(name)
        record = Record.model_validate(document["record"])
        studies = {record.study, *record.studies}
        if record.night != name or not all(map(STUDY.fullmatch, studies)):
            raise ValueError(name)  # these become paths, of what is removed too
        return record

    def _decoded(
        self, content: bytes, key: str, damaged: type[Exception] = StoreError
    ) -> Mapping[str, Any]:
        try:
            document = json.loads(content)
            number = document["format"]
        except (ValueError, KeyError, TypeError):
            raise damaged(f"{self.place}: '{key}' is damaged") from None
        if number != FORMAT:
            raise StoreError(
                f"{self.place}: '{key}' has format {number}; this version reads {FORMAT}"
            )
        return dict(document)


def check_name(name: str) -> None:
    """See that a baseline may have a name.

    Raises:
        StudyError: if not.
    """
    if not BASELINE.fullmatch(name) or NIGHT.fullmatch(name):
        raise StudyError(
            f"baseline '{name}': not a name; allowed: letters, digits, '.', '_' and '-'"
        )


def _new_name(now: datetime) -> str:
    """A name that sorts by time: seconds, then five digits of microseconds and three of chance."""
    return f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbelow(16**3):03x}"


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"

"""What a night is compared with: a baseline of the history, or a store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import StoreError, StudyError
from pipeline.place import Place, place_of
from pipeline.regression.history import BASELINE, History
from pipeline.regression.versions import versions
from pipeline.root import read_root


@dataclass(frozen=True)
class Reference:
    """What a night is compared with.

    Attributes:
        name: of the baseline, or the store.
        night: the night that the baseline names; "" for a store.
        stores: the results by study.
        versions: what they were computed with, as far as that is known.
    """

    name: str = ""
    night: str = ""
    stores: Mapping[str, Place] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def reference(history: History, wanted: str | None, study: str) -> Reference:
    """What a person wants a night to be compared with; nothing in a history without nights.

    Args:
        history: the history.
        wanted: the name of a baseline, or a store; None for the only baseline that there is.
        study: the study for which a store stands, whatever that one's study is called.

    Raises:
        StudyError: if it has to be said which of several baselines is meant, or none is set.
        StoreError: if there is no such baseline, its night is not whole or has nothing of the
            study, or the store is none.
    """
    known = history.baselines() if history.exists() else {}
    if wanted is None:
        known = {name: night for name, night in known.items() if _may_have(history, night, study)}
        if len(known) > 1:
            raise StudyError(f"--baseline: which one? allowed: {', '.join(known)}, or a store")
        return _named(history, next(iter(known)), study) if known else Reference()
    if wanted in known or (BASELINE.fullmatch(wanted) and not place_of(wanted).exists()):
        new = not history.exists() or not any(record.judged for record in history.records()[0])
        return Reference() if new else _named(history, wanted, study)
    place = place_of(wanted, "--baseline ")
    read_root(place)
    return Reference(str(place), "", {study: place.absolute()})


def _may_have(history: History, night: str, study: str) -> bool:
    """Whether a night has a study; also if that cannot be told, which is not to be passed over."""
    try:
        return study in history.record(night).studies
    except StoreError:
        return True


def _named(history: History, name: str, study: str) -> Reference:
    record = history.baseline(name)
    if study not in record.studies:
        raise StoreError(
            f"{history.place}: the baseline '{name}' is of {', '.join(record.studies)}, and has "
            f"nothing of {study}; allowed: a baseline that has, or a store"
        )
    stores = {study: history.store(record.night, study) for study in record.studies}
    return Reference(name, record.night, stores, _versions(record.provenance))


def _versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    return versions(provenance) if provenance else {}

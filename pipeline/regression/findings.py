"""What regression runs find: the outcome of comparisons, tracked numbers, and steps in them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.plain_json import without_nan

Outcome = Literal["agrees", "alarm", "undecided", "not-compared"]
Kind = Literal["step", "drift"]


@dataclass(frozen=True)
class Finding:
    """What came of the comparison of one variable of a study.

    Attributes:
        study: the study's name.
        variable: its path in the store: group/name.
        at: the coordinates of its worst point, without the seed.
        rule: how it was compared.
        outcome: agrees; alarm; undecided, which asks for more seeds or nights; or not-compared.
        old: the number of the baseline at the worst point, a mean where there are seeds.
        new: that of the night.
        low: lower end of the 95 % interval of new - old (for ratios, of their quotient); NaN for
            rules that go by the number alone.
        high: its upper end.
        allowed: how large the difference may be there.
        p_value: of the test whether it is larger, adjusted over the whole night; NaN without one.
        compared: how many numbers were compared.
        beyond: how many of them are beyond what is allowed: significantly where there is a test.
        reason: one sentence for people.
    """

    study: str
    variable: str
    at: Mapping[str, str | float]
    rule: str
    outcome: Outcome
    old: float = math.nan
    new: float = math.nan
    low: float = math.nan
    high: float = math.nan
    allowed: float = math.nan
    p_value: float = math.nan
    compared: int = 0
    beyond: int = 0
    reason: str = ""

    @property
    def key(self) -> str:
        """What names the number that it shows, as :attr:`Number.key` does."""
        return named(self.study, self.variable, self.at)


@dataclass(frozen=True)
class Number:
    """One tracked scalar of a night: a mean over seeds and inner dimensions.

    Attributes:
        study: the study's name.
        variable: its path in the store: group/name.
        at: its coordinates.
        value: the number.
        low: lower end of its 95 % interval; NaN where there is none.
        high: its upper end.
        rule: how its variable is compared.
        tolerance: a change that is no larger is no step.
        seeds: of how many seeds the interval is; 0 where it is of none, or that is not known.
    """

    study: str
    variable: str
    at: Mapping[str, str | float]
    value: float
    low: float = math.nan
    high: float = math.nan
    rule: str = "tolerance"
    tolerance: float = 0.0
    seeds: int = 0

    @property
    def key(self) -> str:
        """What names the number in every night: "study: group/name (axis = value, …)"."""
        return named(self.study, self.variable, self.at)


@dataclass(frozen=True)
class Step:
    """A change of level in the history of one number.

    Attributes:
        number: the number's key.
        night: the first night of the new level, or of the drift.
        before: the level before.
        after: the level after; of a drift that of its last night.
        low: lower end of the 95 % interval of the jump, after - before.
        high: its upper end.
        earliest: the first night that may have been the first of the new level (95 %).
        latest: the last such night.
        kind: "step", or "drift" where a slope says it better.
        p_value: probability of a change as clear in a history without one, adjusted over all
            numbers; 0 where the number has no noise.
        alarm: whether it is for the worse; False for costs that fell.
        changed: what of the provenance changed from the night before earliest to latest, as
            (old, new) by name.
    """

    number: str
    night: str
    before: float
    after: float
    low: float
    high: float
    earliest: str
    latest: str
    kind: Kind = "step"
    p_value: float = math.nan
    alarm: bool = True
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def named(study: str, variable: str, at: Mapping[str, str | float]) -> str:
    """A number as people and records name it."""
    return f"{study}: {variable}{place(at)}"


def place(at: Mapping[str, str | float]) -> str:
    """Coordinates as people read them: " (particles = 1000, snapshot = 1)"; empty without any."""
    parts = (f"{k} = {v if isinstance(v, str) else f'{v:.12g}'}" for k, v in at.items())
    return f" ({', '.join(parts)})" if at else ""


def as_json(item: Finding | Number | Step) -> dict[str, Any]:
    """The item as a JSON object, with null where there is no number."""
    found: dict[str, Any] = without_nan(dataclasses.asdict(item))
    return found

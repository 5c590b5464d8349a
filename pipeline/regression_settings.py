"""How the numbers of one night are judged: the table [regression] of a study.

These settings change no result. They belong to no identity, and no store keeps them.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.settings import Positive, Settings, Whole

RuleName = Literal[
    "identical",
    "tolerance",
    "equivalent",
    "interval",
    "order",
    "not-above",
    "ratio",
    "ignored",
]
NOT_NEGATIVE = "a number, 0 or more"
WIDTHS = {
    "tolerance": ("relative", "absolute"),
    "not-above": ("relative", "absolute"),
    "equivalent": ("margin",),
    "interval": ("margin",),
    "order": ("margin",),
    "ratio": ("margin",),
}
"""The keys that say how much each rule allows."""


class Rule(Settings):
    """Values of `rules`: how the variables that fit a pattern are compared."""

    variables: str = Field(
        min_length=1, description="a pattern over group/name, such as 'particles/w1*'"
    )
    rule: RuleName = Field(
        description="identical, tolerance, equivalent, interval, order, not-above, ratio or ignored"
    )
    margin: float | None = Field(
        None,
        ge=0,
        description=f"{NOT_NEGATIVE}, for equivalent, interval, order and ratio",
    )
    relative: float | None = Field(
        None, ge=0, description=f"{NOT_NEGATIVE}, for tolerance and not-above"
    )
    absolute: float | None = Field(
        None, ge=0, description=f"{NOT_NEGATIVE}, for tolerance and not-above"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        allowed = WIDTHS.get(self.rule, ())
        for key in ("margin", "relative", "absolute"):
            if getattr(self, key) is not None and key not in allowed:
                own = f"takes {' and '.join(allowed)}" if allowed else "takes no width"
                raise ValueError(f"{self.rule} has no {key}; it {own}")
        return self


class Regression(Settings):
    """Section [regression]: how the numbers of a night are judged. It changes no result."""

    false_alarms: Positive = Field(
        0.05,
        le=0.5,
        description="a positive number up to 0.5",
        title="probability of any false alarm in a night, over the whole study",
    )
    keep_nights: Whole = Field(
        30,
        ge=1,
        le=10**5,
        description="a whole number from 1 to 10^5",
        title="of how many of the newest nights the results are kept; verdicts stay for ever",
    )
    members: tuple[str, ...] = Field(
        (),
        strict=False,
        description="a list of study files, by their paths from this one's folder",
        title="further studies that are run and judged in the same night",
    )
    rules: tuple[Rule, ...] = Field(
        (),
        strict=False,
        description="a list of rules, the first that fits a variable holds; "
        "each is { variables, rule, … }",
        title="how variables are compared, where not as is usual for them",
    )

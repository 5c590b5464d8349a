"""What the rates of a study will be able to tell, before anything runs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.session import FEWEST_SEEDS
from pipeline.statistics.power import expected_half_width, range_to_tell, seeds_to_tell
from pipeline.study import Study


@dataclass(frozen=True)
class Outlook:
    """What i.i.d. samples promise of the rates, from the law of their W1 curves.

    Attributes:
        sizes: the numbers M, ascending.
        seeds: how many seeds the study has.
        half_width: expected, of the 95 % interval of a rate.
        seeds_needed: to tell −1/2 from −1/3 with these M (95 % interval, power 80 %); None if no
            number does.
        largest_needed: the largest M with which these seeds tell them apart; None if none does.
        wanted: the half width that the study asks for.
        seeds_for_wanted: how many seeds that will take; None if it asks for none, or for too many.
    """

    sizes: tuple[int, ...]
    seeds: int
    half_width: float
    seeds_needed: int | None
    largest_needed: int | None
    wanted: float | None = None
    seeds_for_wanted: int | None = None

    def lines(self) -> Iterator[str]:
        """The outlook in words."""
        span = f"M = {self.sizes[0]} … {self.sizes[-1]}"
        if math.isnan(self.half_width):
            yield f"rates: {self.seeds} seeds give no intervals; that takes 3"
        else:
            width = f"± {self.half_width:.2g}"
            yield f"rates: {self.seeds} seeds over {span} give intervals of about {width}"
        needed = f"takes {self.seeds_needed or 'more than any number of'} seeds over these M"
        enough = f"over M = {self.sizes[0]} … {self.largest_needed}"
        largest = f"{self.seeds} seeds do {enough if self.largest_needed else 'over no range'}"
        yield f"to tell -1/2 from -1/3 at 95 % {needed}; {largest}"
        if self.wanted is not None:
            seeds = self.seeds_for_wanted or "more seeds than analysis.max_seeds allows"
            yield f"intervals of ± {self.wanted:g} take about {seeds}" + " seeds" * isinstance(
                seeds, int
            )


def outlook(study: Study) -> Outlook | None:
    """The outlook of a study of i.i.d. samples on the line with several M; None for any other."""
    particles, seeds = study.axis("particles"), study.axis("seed")
    if "particles" not in study.header.steps or particles is None or study.dimension > 1:
        return None
    if study.axis("sampling") is not None or not study.numerics.sampling.startswith("iid"):
        return None
    sizes = tuple(sorted(set(particles.labels("particles"))))
    count = 1 if seeds is None else len(set(seeds.labels("seed")))
    if len(sizes) < 2:
        return None
    wanted = study.analysis.rate_half_width
    return Outlook(
        sizes,
        count,
        expected_half_width(sizes, count),
        seeds_to_tell(sizes),
        range_to_tell(count, sizes[0]),
        wanted,
        None if wanted is None else _seeds_for(study, sizes, count, wanted),
    )


def _seeds_for(study: Study, sizes: tuple[int, ...], seeds: int, wanted: float) -> int | None:
    """The seeds after the last doubling that the expected width asks for; None for too many."""
    most = study.analysis.max_seeds
    while seeds < most and (seeds < FEWEST_SEEDS or expected_half_width(sizes, seeds) > wanted):
        seeds = min(2 * seeds, most)
    return seeds if expected_half_width(sizes, seeds) <= wanted else None

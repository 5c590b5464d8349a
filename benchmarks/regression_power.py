"""What the regression runs detect, how late, and how often they raise a false alarm.

    python benchmarks/regression_power.py [histories] [--write docs/regression.md]

Every history is followed night by night, as `meanfield regress` does: each night is judged with the
nights before it alone, and only a step that no earlier night has told raises an alarm. Sizes are in
standard deviations (sd) of the noise; night 45 of 90 is the first that a planted change is in. The
laws of the noise are normal, heavy-tailed (Student, 3 degrees of freedom) and lognormal (of times;
the logarithm has a standard deviation of 0.5). All random numbers are seeded.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy import stats

from pipeline.alignment import Aligned
from pipeline.regression.changes import Night, new_steps, steps_of
from pipeline.regression.comparison import by_seeds
from pipeline.regression.defaults import EQUIVALENT
from pipeline.regression.findings import Number, Step
from pipeline.regression.multiplicity import holm
from pipeline.regression.ratios import judge_ratio

NIGHTS, AT, FIRST = 90, 45, 8
FALSE_ALARMS = 0.05
MORE = 5  # nights for each history, where a night is judged by itself
MARKS = ("<!-- measured by benchmarks/regression_power.py -->", "<!-- end -->")

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Plant = Callable[[np.ndarray], np.ndarray]
Row = list[str]

LAWS: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3.0),
    "lognormal": lambda rng, shape: (rng.lognormal(0.0, 0.5, shape) - 1.0) / 0.6039,
}
SINCE = np.maximum(np.arange(NIGHTS) - AT + 1, 0)


def step(size: float) -> Plant:
    """A step of so many sd."""
    return lambda x: x + size * (SINCE > 0)


def drift(slope: float) -> Plant:
    """A drift of so many sd a night."""
    return lambda x: x + slope * SINCE


def outliers(size: float, count: int) -> Plant:
    """Nights that are off by so many sd, one after the other."""
    return lambda x: x + size * ((SINCE > 0) & (count >= SINCE))


def spread(factor: float) -> Plant:
    """Another standard deviation of the noise."""
    return lambda x: x * np.where(SINCE > 0, factor, 1.0)


PLANTED = {
    **{f"step of {size:g} sd": (step(size), size) for size in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)},
    **{
        f"drift of {slope:g} sd a night": (drift(slope), math.nan)
        for slope in (0.02, 0.05, 0.2, 0.5)
    },
}
HARMLESS: dict[str, Plant] = {
    "nothing": lambda x: x,
    "one night off by 10 sd": outliers(10.0, 1),
    "two nights off by 10 sd": outliers(10.0, 2),
    "noise three times as large": spread(3.0),
    "noise a third as large": spread(1.0 / 3.0),
}


@dataclass(frozen=True)
class Followed:
    """The alarms of one study: the night of each, and its step."""

    nights: list[int]
    steps: list[Step]


def follow(values: np.ndarray, false_alarms: float = FALSE_ALARMS) -> Followed:
    """Judge a study night by night.

    Args:
        values: its numbers, (nights, numbers).
        false_alarms: that a night may have.
    """
    history = [
        Night(f"{i:04d}", [Number("s", f"v{k}", {}, float(x)) for k, x in enumerate(row)], {})
        for i, row in enumerate(values)
    ]
    known: list[Step] = []
    found = Followed([], [])
    for last in range(FIRST, len(history)):
        steps = steps_of(history[: last + 1], false_alarms)
        alarms = [s for s in new_steps(steps, known) if s.alarm]
        found.nights.extend([last] * len(alarms))
        found.steps.extend(alarms)
        known.extend(steps)
    return found


def planted(law: str, name: str, numbers: int, count: int) -> Row:
    """Follow histories with a planted change, each one of so many numbers of a study."""
    plant, size = PLANTED[name]
    rng = np.random.default_rng((1, list(LAWS).index(law), list(PLANTED).index(name)))
    delays, when, much, again, early = [], [], [], 0, 0
    for _ in range(count):
        values = plant(LAWS[law](rng, (NIGHTS,)))
        found = follow(values[:, None], FALSE_ALARMS / numbers)
        late = [i for i, night in enumerate(found.nights) if night >= AT]
        early += len(found.nights) - len(late)
        again += max(len(late) - 1, 0)
        if late:
            first = found.steps[late[0]]
            delays.append(found.nights[late[0]] - AT + 1)
            when.append(int(first.earliest) <= AT <= int(first.latest))
            much.append(first.low <= size <= first.high)
    share = f"{100 * len(delays) / count:.0f} %"
    told = math.isfinite(size) and len(delays) >= 10
    quantile = np.quantile(delays, [0.5, 0.9]).round().astype(int) if delays else ["–", "–"]
    return [
        name,
        law,
        str(numbers),
        share,
        *map(str, quantile),
        f"{100 * np.mean(when):.0f} %" if told else "–",
        f"{100 * np.mean(much):.0f} %" if told else "–",
        f"{again / count:.2f}",
    ]


def harmless(law: str, name: str, numbers: int, count: int) -> tuple[Row, float]:
    """Follow studies in which nothing has changed that is an alarm; the share and its upper end."""
    rng = np.random.default_rng((2, list(LAWS).index(law), list(HARMLESS).index(name), numbers))
    studies = max(count // numbers, 10)
    shares = np.empty(studies)
    for i in range(studies):
        noise = LAWS[law](rng, (numbers, NIGHTS))
        found = follow(HARMLESS[name](noise).T)
        shares[i] = len(set(found.nights)) / (NIGHTS - FIRST)
    mean = float(shares.mean())
    upper = mean + 1.96 * float(shares.std(ddof=1)) / math.sqrt(studies)
    upper = max(upper, 3.7 / (studies * (NIGHTS - FIRST)))  # 97.5 % where there is none
    row = [name, law, str(numbers), str(studies), f"{100 * mean:.2f} %", f"{100 * upper:.2f} %"]
    return row, upper


def compared(seeds: int, shift: float, fresh: bool, nights: int, tests: int = 300) -> Row:
    """Nights of means over seeds, of which the first has shifted; the others are as they were.

    The numbers scatter over the seeds as W1 does, lognormal by 0.43. Either the random stream is
    another than the baseline's, or seed by seed the number is the same to a per cent.
    """
    rng = np.random.default_rng((3, seeds, round(1000 * shift), fresh))
    places = {"place": np.arange(tests), "seed": np.arange(seeds)}
    alarms, false = 0, 0
    for _ in range(nights):
        old = rng.lognormal(0.0, 0.41, (tests, seeds))
        noise = rng.lognormal(0.0, 0.41, old.shape) / old if fresh else 1.0
        new = old * noise * (1.0 + 0.01 * rng.standard_normal(old.shape) * (not fresh))
        new[0] *= 1.0 + shift
        arrays = (xr.DataArray(values, places, ["place", "seed"]) for values in (old, new))
        found = holm(by_seeds(Aligned("particles/w1", *arrays), EQUIVALENT).p_values)
        alarms += bool(found[0] <= FALSE_ALARMS / 2)
        false += bool((found[1:] <= FALSE_ALARMS / 2).any())
    stream = "another" if fresh else "the same"
    return [
        stream,
        str(seeds),
        f"{100 * shift:g} %",
        f"{100 * alarms / nights:.0f} %" if shift else "–",
        f"{100 * false / nights:.1f} %",
        f"{100 * upper_end(false, nights):.1f} %",
    ]


def timed(law: str, scatter: float, slower: float, nights: int, costs: int = 10) -> Row:
    """Nights of ratios to the calibration kernel, of which the first is slower by a factor."""
    rng = np.random.default_rng((4, list(LAWS).index(law), round(100 * scatter), round(slower)))
    alarms, false = 0, 0
    for _ in range(nights):
        ratios = np.exp(scatter * LAWS[law](rng, (31, costs)))
        ratios[-1, 0] *= slower
        tests = [judge_ratio(x[-1], x[:-1], 0.25).p_value for x in ratios.T.tolist()]
        found = holm(np.array(tests))
        alarms += bool(found[0] <= FALSE_ALARMS / 2)
        false += bool((found[1:] <= FALSE_ALARMS / 2).any())
    return [
        law,
        f"{100 * scatter:g} %",
        f"{slower:g}",
        f"{100 * alarms / nights:.0f} %" if slower > 1.0 else "–",
        f"{100 * false / nights:.1f} %",
        f"{100 * upper_end(false, nights):.1f} %",
    ]


def upper_end(count: int, total: int) -> float:
    """The upper end of the 95 % interval of a share, by Clopper and Pearson."""
    return float(stats.beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0


def tables(histories: int, pool: ProcessPoolExecutor) -> list[str]:
    """All tables as Markdown."""
    jobs = [(law, name, 20, histories) for name in PLANTED for law in LAWS] + [
        ("normal", name, k, histories)
        for k in (1, 100)
        for name in ("step of 1 sd", "step of 3 sd")
    ]
    steps = pool.map(planted, *zip(*jobs, strict=True))
    calm_jobs = [(law, name, 10, histories) for name in HARMLESS for law in LAWS]
    calm_jobs += [("normal", "nothing", k, histories) for k in (1, 50)]
    calm = pool.map(harmless, *zip(*calm_jobs, strict=True))
    means = [
        compared(seeds, shift, fresh, MORE * histories)
        for fresh in (True, False)
        for seeds in (8, 32)
        for shift in (0.0, 0.03, 0.3, 1.0)
    ]
    times = [
        timed(law, scatter, slower, MORE * histories)
        for law in LAWS
        for scatter in (0.05, 0.15)
        for slower in (1.0, 1.5, 3.0)
    ]
    return [
        table(STEPS, list(steps)),
        table(CALM, [row for row, _ in calm]),
        table(MEANS, means),
        table(TIMES, times),
    ]


STEPS = (
    "planted",
    "noise",
    "numbers",
    "detected",
    "nights, median",
    "nights, 90 %",
    "when",
    "how much",
    "told again",
)
CALM = ("history", "noise", "numbers", "studies", "false alarms a study-night", "at most (97.5 %)")
MEANS = ("stream", "seeds", "shift", "detected", "false alarms a night", "at most (97.5 %)")
TIMES = ("noise", "sd of the log", "times", "detected", "false alarms a night", "at most (97.5 %)")


def table(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TEXT = """Each history is followed over {nights} nights, every night with those before it alone.
Planted changes begin at night {at}; sizes are in standard deviations of the noise. *Numbers* is how
many numbers with noise the study tracks, for the bound on false alarms is over all of them.
*Nights* counts from the first that the change is in to the one of the alarm. *When* and *how much*
say how often the 95 % intervals at the alarm hold the truth, *told again* how many further alarms a
history raised. {histories} histories a line, and {more} nights in the last two tables.

Steps:

{0}

Histories without a step, all numbers of a study alike; what changes does so at night {at}:

{1}

Means over seeds, 300 of them a night, of which one is shifted; margin 1 %:

{2}

Times, 10 a night, of which one is longer; margin 25 %, 30 earlier nights:

{3}
"""


def main() -> None:
    """Measure, print, and write into a page between the marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("histories", nargs="?", type=int, default=1000)
    parser.add_argument("--write", type=Path, help="a Markdown page with the marks")
    options = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        found = tables(options.histories, pool)
    text = TEXT.format(
        *found, nights=NIGHTS, at=AT, histories=options.histories, more=MORE * options.histories
    )
    print(text)
    if options.write:
        page = options.write.read_text()
        before, rest = page.split(MARKS[0])
        options.write.write_text(
            f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"
        )


if __name__ == "__main__":
    main()

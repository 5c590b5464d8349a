"""What the benchmarks share: measuring in turns, tables, and their sections of a page.

Programs run as ``python benchmarks/NAME.py`` and write ``import harness`` before they import NumPy:
each library that would start threads of its own is told to use one, so that a ratio compares
algorithms and not numbers of threads.
"""

import os

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NPROC": "1",  # the thread pools of JAX
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_X64": "1",
}
for _name, _value in ONE_THREAD.items():
    os.environ.setdefault(_name, _value)

import argparse
import gc
import importlib
import math
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import numpy as np

import solvers.jit  # noqa: F401  # sets Numba up, before a program here compiles by it

TURNS = 5
LEAST_SECONDS = 0.01
ABSENT = "absent"


@dataclass(frozen=True)
class Times:
    """What one function took, turn by turn.

    Attributes:
        seconds: Seconds of one call in each turn, shape (turns,).
    """

    seconds: np.ndarray

    @property
    def median(self) -> float:
        """The median in seconds."""
        return float(np.median(self.seconds))

    def over(self, other: "Times") -> np.ndarray:
        """Return the ratio of these times to those of another function, turn by turn."""
        return self.seconds / other.seconds


def turns(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = TURNS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Measure functions in turns, so that a slow minute of the machine is slow for all of them.

    Each is called once before, which compiles what is compiled at first use and fills caches; a
    short one is called many times a turn.

    Args:
        functions: What to measure, by name.
        repeats: How many turns each takes.
        clock: ``time.perf_counter``, or ``time.process_time`` for the processor time of all
            threads of this process.

    Returns:
        The times by name.
    """
    calls = {name: _calls(function) for name, function in functions.items()}
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            gc.collect()
            began = clock()
            for _ in range(calls[name]):
                function()
            found[name].append((clock() - began) / calls[name])
    return {name: Times(np.array(seconds)) for name, seconds in found.items()}


def _calls(function: Callable[[], object]) -> int:
    """Return how many calls take LEAST_SECONDS, after a first call."""
    function()
    began = time.perf_counter()
    function()
    return max(1, math.ceil(LEAST_SECONDS / max(time.perf_counter() - began, 1e-7)))


def number(value: float) -> str:
    """Return a number to three digits, without an exponent."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def spread(values: Sequence[float] | np.ndarray) -> str:
    """Return the median and, in brackets, the least and the largest, to three digits."""
    median, low, high = (number(v) for v in (np.median(values), np.min(values), np.max(values)))
    return f"{median} [{low}, {high}]"


def ratio(other: Times | None, ours: Times) -> str:
    """Return how many times longer another function takes, with its spread; "absent" without it."""
    return ABSENT if other is None else spread(other.over(ours))


def best(times: Mapping[str, Times], ours: str) -> str | None:
    """Return the name of the fastest function that is not ours; None if there is no other."""
    others = [name for name in times if name != ours]
    return min(others, key=lambda name: times[name].median, default=None)


def table(header: Sequence[str], *rows: Sequence[str]) -> str:
    """Return a Markdown table, its first column aligned to the left and the others to the right."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peer(name: str) -> ModuleType | None:
    """Return a module that is measured against; None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def machine(*packages: str) -> str:
    """Return what times depend on: processor, versions (of packages too) and the load average."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = ", ".join(f"{p} {_version(p)}" for p in ("numpy", "numba", *packages))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, {versions}; load average {os.getloadavg()[0]:.1f}."
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


def write_section(page: Path, heading: str, text: str) -> None:
    """Put a section into a page, in place of the one with that heading or at the end.

    Args:
        page: The page; created if it does not exist.
        heading: The words after ``##``.
        text: What stands below the heading.
    """
    before = page.read_text() if page.exists() else "# Performance\n"
    section = f"## {heading}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: section + "\n", before)
    else:
        after = f"{before.rstrip()}\n\n{section}"
    page.write_text(after.rstrip() + "\n")


@dataclass(frozen=True)
class Options:
    """What a program was asked for.

    Attributes:
        full: Whether to measure the largest sizes too.
        page: The page to write the section into; None to print it only.
    """

    full: bool
    page: Path | None


Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Sizes and values, by the name of the curve."""


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of log values over log sizes, over the upper half of the sizes."""
    upper = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[upper:]), np.log(values[upper:]), 1)[0])


def figure(page: Path | None, name: str, size: str, panels: Mapping[str, Curves]) -> str:
    """Draw curves on log-log axes, into ``figures/NAME.svg`` next to the page if there is one.

    Args:
        page: The page.
        name: The name of the file.
        size: What the horizontal axes show.
        panels: Curves by what the vertical axis shows; one of them has one colour in all.

    Returns:
        The figure in Markdown.
    """
    if page:
        _draw(page.parent / "figures" / f"{name}.svg", size, panels)
    return f"![{' and '.join(panels)} against {size}, on log–log axes](figures/{name}.svg)"


def _draw(path: Path, size: str, panels: Mapping[str, Curves]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": path.stem, "font.size": 9})
    drawing, axes = plt.subplots(1, len(panels), figsize=(9.0, 4.0), layout="constrained")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    lines = {}
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        for name, (sizes, values) in curves.items():
            colour = f"C{names.index(name)}"
            (lines[name],) = axis.loglog(sizes, values, color=colour, marker="o", markersize=3)
        low, high = np.log10(axis.get_ylim())
        axis.set(xlabel=size, ylabel=label, ylim=(10 ** np.floor(low), 10 ** np.ceil(high)))
        axis.grid(visible=True, alpha=0.3)
    drawing.legend(lines.values(), lines, loc="outside lower center", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})


def run(summary: str | None, heading: str, section: Callable[[Options], str]) -> None:
    """Run a program that prints one section of the page, or writes it too.

    Args:
        summary: The docstring of the program.
        heading: The heading of its section.
        section: Measures, and returns the text.
    """
    parser = argparse.ArgumentParser(description=(summary or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="measure the largest sizes too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to write it into")
    given = parser.parse_args()
    if given.write and not given.write.parent.is_dir():
        parser.error(f"--write {given.write}: the folder {given.write.parent} does not exist")
    text = section(Options(given.full, given.write))
    print(text)
    if given.write:
        write_section(given.write, heading, text)

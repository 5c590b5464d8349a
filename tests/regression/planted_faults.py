"""Plant faults in copies of the product, and ask regression runs whether they see them.

Each fault of `faults.toml` is an exact replacement in the sources of a copy in a temporary folder,
which computes `studies/regression.toml` and its members with kernels compiled anew. The judgement
is that of the sound product, with the sound results as baseline.

    python tests/regression/planted_faults.py --report docs/regression-faults.md

It ends with status 1 where a required fault is not caught by one of its own variables, or a version
that changes only rounding alarms.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.folder import Folder
from pipeline.regression.findings import Finding
from pipeline.regression.rules import Pair, judge
from pipeline.study import Study

PRODUCT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("faults.toml")
COPIED = ("solvers", "pipeline", "studies")
RUN = """
import sys
from pathlib import Path

import solvers
from pipeline.study import Study

copy, out, workers, *paths = sys.argv[1:]
if not Path(solvers.__file__).is_relative_to(copy):
    sys.exit(f"{solvers.__file__} is not of the copy {copy}")
for path in paths:
    study = Study.load(path)
    study.run(Path(out) / f"{study.name}.zarr", workers=int(workers))
"""


class PlantError(ValueError):
    """The text that a fault replaces is not there exactly once."""


@dataclass(frozen=True)
class Edit:
    """One replacement: in a file of the product, one text by another."""

    file: str
    find: str
    put: str


@dataclass(frozen=True)
class Fault:
    """What is planted.

    Attributes:
        name: what it is called.
        what: what it does.
        kind: "required", "further" or "rounding".
        caught_by: patterns of the variables that ought to show it.
        edits: the replacements.
        studies: names of the studies on which it is tried, to save time; without any all.
        workers: how many processes compute.
        environment: variables of theirs.
    """

    name: str
    what: str
    kind: str
    caught_by: Sequence[str] = ()
    edits: Sequence[Edit] = ()
    studies: Sequence[str] = ()
    workers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def plant(self, product: Path) -> None:
        """Make the replacements in a copy of the product.

        Raises:
            PlantError: if a text is not there, or more than once.
        """
        for edit in self.edits:
            source = product / edit.file
            text = source.read_text()
            if (count := text.count(edit.find)) != 1:
                raise PlantError(f"{self.name}: {edit.file}: {count} times: {edit.find!r}")
            source.write_text(text.replace(edit.find, edit.put))


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: the findings, or why there are none."""

    fault: Fault
    findings: Sequence[Finding] = ()
    failure: str = ""

    @property
    def alarms(self) -> list[Finding]:
        """The alarms; those of the variables that ought to show the fault first."""
        found = [finding for finding in self.findings if finding.outcome == "alarm"]
        return sorted(found, key=self._rank)

    def _rank(self, finding: Finding) -> int:
        """Which of the patterns a variable fits; one more than the last without any."""
        fits = [fnmatchcase(finding.variable, pattern) for pattern in self.fault.caught_by]
        return fits.index(True) if any(fits) else len(fits)

    @property
    def right(self) -> list[Finding]:
        """The alarms of the variables that ought to show the fault."""
        return [f for f in self.alarms if self._rank(f) < len(self.fault.caught_by)]

    @property
    def good(self) -> bool:
        """Whether it is as it has to be."""
        if self.failure:
            return False
        if self.fault.kind == "rounding":
            return not self.alarms
        return self.fault.kind != "required" or bool(self.right)


def faults() -> list[Fault]:
    """The faults of the list."""
    tables = tomllib.loads(LIST.read_text())["faults"]
    return [
        Fault(**{**table, "edits": [Edit(**edit) for edit in table.get("edits", ())]})
        for table in tables
    ]


def studies(study: Path, wanted: Sequence[str] = ()) -> list[Path]:
    """A study file and its members: those of the wanted names, or all."""
    found = [study, *(study.parent / member for member in Study.load(study).regression.members)]
    return [path for path in found if not wanted or path.stem in wanted]


def compute(fault: Fault | None, study: str, scratch: Path) -> Path:
    """The folder with the results of a copy in which a fault is planted.

    Raises:
        PlantError: if it cannot be planted.
        subprocess.CalledProcessError: if the copy cannot compute.
    """
    copy, out = scratch / "product", scratch / "stores"
    for name in COPIED:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PRODUCT / name, copy / name, ignore=ignore)
    if fault is not None:
        fault.plant(copy)
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", **(fault.environment if fault else {}),
        "PYTHONPATH": str(copy), "MEANFIELD_CACHE_DIR": str(scratch / "cache"),
    }  # fmt: skip
    paths = map(str, studies(copy / study, fault.studies if fault else ()))
    workers = str(fault.workers if fault else 1)
    command = [sys.executable, "-c", RUN, str(copy), str(out), workers, *paths]
    subprocess.run(
        command, cwd=scratch, env=environment, check=True, capture_output=True, text=True
    )
    return out


def judged(study: Path, wanted: Sequence[str], old: Path, new: Path) -> list[Finding]:
    """The judgement on the studies of a night."""
    members = [Study.load(path) for path in studies(study, wanted)]
    pairs = [
        Pair(s.name, *(Folder(side / f"{s.name}.zarr") for side in (old, new)), s.regression)
        for s in members
    ]
    return judge(pairs, Study.load(study).regression.false_alarms)


def tried(fault: Fault, study: str, sound: Path, folder: Path) -> Outcome:
    """Plant a fault, compute, and judge."""
    scratch = Path(tempfile.mkdtemp(dir=folder))
    try:
        out = compute(fault, study, scratch)
        outcome = Outcome(fault, judged(PRODUCT / study, fault.studies, sound, out))
    except subprocess.CalledProcessError as error:
        outcome = Outcome(fault, failure=error.stderr.strip().splitlines()[-1])
    finally:
        shutil.rmtree(scratch)
    shown = [f"{f.study}: {f.variable}: {f.reason}" for f in outcome.alarms]
    print(
        json.dumps({"fault": fault.name, "failure": outcome.failure, "alarms": shown}), flush=True
    )
    return outcome


def rows(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The rows of the table."""
    yield "| what is planted | caught | first by | rule | size |"
    yield "|---|---|---|---|---|"
    for outcome in outcomes:
        first = next(iter(outcome.alarms), None)
        fault, cells = outcome.fault, ["–"] * 3
        if first is not None:
            by = f"`{first.variable}` of {first.study}; {_more(outcome)}"
            cells = [by, first.rule, first.reason]
        head = f"**{fault.name}**: {fault.what}"
        yield f"| {' | '.join([head, _word(outcome), *cells])} |"


def _more(outcome: Outcome) -> str:
    alarms = {(finding.study, finding.variable) for finding in outcome.alarms}
    right = {(finding.study, finding.variable) for finding in outcome.right}
    return f"{len(right)} of its own variables and {len(alarms - right)} others"


def _word(outcome: Outcome) -> str:
    if outcome.failure:
        return f"does not run: {outcome.failure}"
    if outcome.fault.kind == "rounding":
        return "**alarms**" if outcome.alarms else "agrees"
    if outcome.right:
        return "yes"
    undecided = sum(finding.outcome == "undecided" for finding in outcome.findings)
    if outcome.alarms:
        return "by other variables only"
    return f"**no**, {undecided} variables undecided" if undecided else "**no**"


def main() -> int:
    """Plant, compute, judge, and report."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kind", nargs="*", default=["required", "further", "rounding"])
    options.add_argument("--only", help="part of the name of a fault")
    options.add_argument("--study", default="studies/regression.toml")
    options.add_argument("--jobs", type=int, default=1, help="faults at a time")
    options.add_argument("--sound", type=Path, help="results of the sound product from before")
    options.add_argument("--report", type=Path, help="a page with the table between its markers")
    chosen = options.parse_args()
    wanted = [f for f in faults() if f.kind in chosen.kind and (chosen.only or "") in f.name]
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        folder = Path(name)
        sound = chosen.sound or compute(None, chosen.study, folder / "sound")
        with ThreadPoolExecutor(chosen.jobs) as pool:
            outcomes = list(pool.map(lambda f: tried(f, chosen.study, sound, folder), wanted))
    table = "\n".join(rows(outcomes))
    print(table)
    if chosen.report:
        write(chosen.report, outcomes)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def write(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Put the tables in place of those between the markers of a page."""
    text = page.read_text()
    for kind in dict.fromkeys(outcome.fault.kind for outcome in outcomes):
        begin, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        table = "\n".join(rows([o for o in outcomes if o.fault.kind == kind]))
        text = f"{before}{begin}{table}\n{end}{after}"
    page.write_text(text)


if __name__ == "__main__":
    sys.exit(main())

"""The page on faults of a cluster: what was tried, and the table of what came of it."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.faults import Fault

TEXT = """\
# Reliability on a cluster

What a run on a cluster survives, put to the test with real parts: Slurm with a controller and two
nodes, and Ceph's RADOS Gateway as the object store. The page is written by the program that breaks
them:

    {command}

It needs root and the packages that `make test-cluster` installs; a seed draws the same kinds of
faults in the same order. Measured on {cores} cores with Python {python}: {stores} stores of
{points} points each were filled by runs that were hit by {number} faults, one after the other, each
at a random moment. A run that ended was started again, by the same command.

"Survived": the run went on, or completed, without help. "Ended and completed": it ended with a
message that says what to do (a driver that is killed can say nothing), and the next `run` went on.
"Not as promised" counts faults after which a committed shard was gone or was written again, a run
hung or said nothing, a completed store differed in any bit from that of an undisturbed run on one
machine, or a job or process was left.

{table}

{middle} of the {number} faults came when some shards were stored and some were not.

Messages with which runs ended:

{messages}
"""


def write_report(
    path: Path, command: str, points: int, stores: int, faults: "Sequence[Fault]"
) -> None:
    """Write the page."""
    messages = dict.fromkeys(f"* {f.kind}: {f.message}" for f in faults if f.message)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        TEXT.format(
            command=command,
            cores=os.cpu_count(),
            python=platform.python_version(),
            stores=stores,
            points=points,
            number=len(faults),
            table=_table(faults),
            middle=sum(0 < fault.stored < 1 for fault in faults),
            messages="\n".join(messages) or "none",
        )
    )


def _table(faults: "Sequence[Fault]") -> str:
    kinds = dict.fromkeys(fault.kind for fault in faults)
    rows = [_row(kind, [f for f in faults if f.kind == kind]) for kind in kinds]
    header = ["", "injected", "survived", "ended and completed", "not as promised"]
    lines = [header, ["---"] + ["--:"] * 4, *rows, _row("**all**", faults)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(name: str, faults: "Sequence[Fault]") -> list[str]:
    survived = sum(fault.survived for fault in faults)
    bad = sum(bool(fault.problems) for fault in faults)
    return [name, *map(str, (len(faults), survived, len(faults) - survived, bad))]

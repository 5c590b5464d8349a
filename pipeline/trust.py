"""Which steps of a user's own a store may name: those of studies that this user has run.

A study file is the user's word; a store may come from anybody. Its study names the modules of its
own steps, and to open it would run them. So each run notes them beside the compiled kernels, and a
store that names others is refused.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.steps.own import is_own
from pipeline.study import Study
from solvers import CACHE_DIRECTORY

NOTES = CACHE_DIRECTORY.parent / "own-steps.jsonl"


def remember(study: Study) -> None:
    """Note the own steps of a study that is run from a study file, or by a program."""
    names = [name for name in study.listed_steps if is_own(name)]
    known = set(_known()) if names else set()
    new = [[str(study.modules), name] for name in names if (str(study.modules), name) not in known]
    if new:  # a line feed before each: another run may have died within its line
        with NOTES.open("ab", buffering=0) as stream:
            stream.write("".join(f"\n{json.dumps(entry)}\n" for entry in new).encode())


def check_own_steps(document: Mapping[str, Any], where: str) -> None:
    """See that the own steps of a store's study have been run by this user.

    Args:
        document: the study, as the store has it.
        where: the store.

    Raises:
        StoreError: if one has not.
    """
    header = document["study"]
    modules = str(Path(header.get("modules") or ".").resolve())
    for name in header.get("steps", ()):
        if is_own(name) and (modules, name) not in set(_known()):
            raise StoreError(
                f"{where}: its step '{name}' is code in {modules} that no run of yours has used; "
                "if you trust it, run its study file (what the store has is not computed again)"
            )


def _known() -> Iterator[tuple[str, str]]:
    if NOTES.is_file():
        for line in NOTES.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a line that was written by half
                modules, name = json.loads(line)
                yield modules, name

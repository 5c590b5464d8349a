"""Reading a study file, and the overrides of the command line."""

import tomllib
from pathlib import Path
from typing import Any

from pipeline.errors import StudyError
from pipeline.validation import show
from pipeline.words import in_words

MOST_BYTES = 64_000_000


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a study file.

    Raises:
        StudyError: if it cannot be read.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise StudyError(
                f"{path}: {in_words(size)}; allowed: up to {in_words(MOST_BYTES)} of TOML"
            )
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot read the study: {error.strerror}") from None


def override(document: dict[str, Any], assignment: str) -> None:
    """Put one ``section.key=value`` into a document; the value is TOML, or a bare word.

    Raises:
        StudyError: if it is no such assignment.
    """
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise StudyError(f"-s {assignment}: not an override; allowed: section.key=value")
    try:
        parsed = tomllib.loads(f"value = {text}")
        if len(parsed) != 1:
            raise StudyError(f"-s {show(assignment)}: more than one value; allowed: one line")
        value = parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if not text.strip().replace("-", "").replace("_", "").isalnum():
            raise StudyError(f"-s {assignment}: not a TOML value: {error}") from None
        value = text.strip()
    table = document
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise StudyError(f"-s {assignment}: '{key}' is no table of the study")
    table[keys[-1]] = value

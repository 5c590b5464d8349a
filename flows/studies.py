"""The studies that ship: in the wheel, or in the checkout."""

from pathlib import Path

from pipeline.errors import StudyError
from pipeline.validation import nearest


def studies_folder() -> Path:
    """Where the studies that ship are."""
    home = Path(__file__).resolve().parent.parent
    inside = home / "pipeline" / "studies"
    return inside if inside.is_dir() else home / "studies"


def shipped_studies() -> dict[str, Path]:
    """The studies that ship, by name."""
    return {path.stem: path for path in sorted(studies_folder().glob("*.toml"))}


def study_file(text: str) -> Path:
    """The file of a study that is named by a path, or as one that ships.

    Raises:
        StudyError: for a name that none has.
    """
    path = Path(text)
    if text.endswith(".toml") or (path.exists() and not path.is_dir()):
        return path
    shipped = shipped_studies()
    if text not in shipped:
        hint = nearest(text, shipped)
        raise StudyError(f"{text}: no study file, and no study that ships; {hint}")
    return shipped[text]

"""The reference of the study file is that of the schema, and says something about every key."""

import runpy
from pathlib import Path

import pytest

from pipeline.axes import axis_keys
from pipeline.cluster_settings import Cluster
from pipeline.regression_settings import Regression
from pipeline.settings import DISTRIBUTIONS, SECTIONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
ALL = {**SECTIONS, "cluster": Cluster, "regression": Regression}
PAGE = (DOCS / "study-reference.md").read_text()


def test_page_is_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "study_reference.py"))["reference"]()
    assert made == PAGE, "run python docs/study_reference.py"


@pytest.mark.parametrize("section", ALL)
def test_every_key_has_a_meaning_and_says_what_is_allowed(section: str) -> None:
    for key, field in ALL[section].model_fields.items():
        assert field.title, f"{section}.{key}"
        assert field.description, f"{section}.{key}"
        meaning = field.title.replace("|", "\\|")
        assert f"| `{key}` | {meaning} | {field.description} | " in PAGE


def test_laws_and_axes_are_there() -> None:
    assert all(f"### {kind}\n" in PAGE for kind in DISTRIBUTIONS)
    listed = {
        line.split("|")[1].strip(" `") for line in PAGE.splitlines() if line.endswith("| yes |")
    }
    renamed = {f"training_{key}" for key in ("cells", "particles")}
    assert listed | renamed == set(axis_keys())

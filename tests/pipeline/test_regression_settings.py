"""The table [regression]: what is refused, and that it changes nothing."""

import copy
from typing import Any

import pytest

from pipeline.errors import StudyError
from pipeline.study import Study


def test_no_identity_and_no_resolved_study_knows_the_rules(tiny: dict[str, Any]) -> None:
    bare = Study(**copy.deepcopy(tiny))
    rules = [{"variables": "particles/*", "rule": "equivalent", "margin": 1}]
    study = Study(**tiny, regression={"rules": rules, "members": ["other.toml"]})
    assert study.regression.rules[0].margin == 1.0
    assert study.regression.members == ("other.toml",)
    assert study.identity == bare.identity
    assert study.toml() == bare.toml()
    assert bare.regression.false_alarms == 0.05


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"false_alarms": 0}, ("regression.false_alarms = 0", "a positive number up to 0.5")),
        ({"keep_nights": 0}, ("regression.keep_nights = 0", "a whole number from 1")),
        ({"rule": []}, ("unknown key 'regression.rule'", "did you mean 'rules'?")),
        (
            {"rules": [{"variables": "*", "rule": "equal"}]},
            ("regression.rules[0].rule = 'equal'", "allowed: identical, tolerance"),
        ),
        (
            {"rules": [{"variables": "*", "rule": "order", "relative": 1.0}]},
            ("regression.rules[0]", "order has no relative; it takes margin"),
        ),
        (
            {"rules": [{"variables": "*", "rule": "identical", "margin": 1.0}]},
            ("identical has no margin; it takes no width",),
        ),
        ({"rules": [{"rule": "order"}]}, ("missing key 'regression.rules[0].variables'",)),
        (
            {"rules": [{"variables": "*", "rule": "order", "marign": 1.0}]},
            ("unknown key 'regression.rules[0].marign'", "did you mean 'margin'?"),
        ),
    ],
)
def test_refusals_name_the_key_and_what_is_allowed(
    tiny: dict[str, Any], table: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(StudyError) as refusal:
        Study(**tiny, regression=table)
    for part in ("study: ", *parts):
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)

"""The JUnit file, by readers that are not its writer's."""

import math
import re
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from junit2htmlreport import parser

from pipeline.regression.findings import Finding, Step
from pipeline.regression.junit import write_junit
from pipeline.regression.verdict import Verdict

RESULTS = ("failure", "error", "skipped")
FOUND = (
    Finding("nightly", "limit/l1_error", {"cells": 64.0}, "tolerance", "alarm", reason="1 > 0 & σ"),
    Finding("nightly", "particles/w1", {"case": "<a \"b\" & 'c'>"}, "equivalent", "undecided",
            reason="\x00 takes\n 40 seeds"),
    Finding("nightly", "limit/density", {}, "tolerance", "not-compared", reason="no point"),
    Finding("member", "train/cost", {"gamma": math.nan}, "tolerance", "agrees"),
)  # fmt: skip
STEP = Step("nightly: limit/mean", "20261121T020000Z-00000001", 1.0, 2.0, 0.9, 1.1,
            "20261121T020000Z-00000001", "20261121T020000Z-00000001")  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a night with every outcome."""
    path = tmp_path / "junit.xml"
    command = "meanfield regress study.toml --baseline 'a & b'"
    write_junit(verdict("alarms"), path, {FOUND[0].key: command, STEP.number: command})
    return path


def verdict(outcome: str) -> Verdict:
    started = {"started": "2026-11-21T02:00:00+00:00"}
    none = outcome == "no-verdict"
    return Verdict(
        "20261121T020000Z-00000001", "nightly", ("nightly", "member"), "history", "main", "",
        outcome, "it is so", () if none else FOUND, () if none else (STEP,),
        () if none else (STEP,), provenance=started,
    )  # fmt: skip


def check(path: Path) -> list[ElementTree.Element]:
    """The test suites of a file that keeps to the schema of JUnit as Jenkins reads it."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.get("name")
        datetime.fromisoformat(suite.get("timestamp", ""))
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        for result, count in zip(RESULTS, ("failures", "errors", "skipped"), strict=True):
            assert suite.get(count) == str(sum(case.find(result) is not None for case in cases))
        for case in cases:
            assert case.get("name")
            assert re.fullmatch(r"\S+", case.get("classname", ""))
            assert sum(child.tag in RESULTS for child in case) <= 1
            assert {child.tag for child in case} <= {*RESULTS, "system-out"}
            assert all(child.get("message") for child in case if child.tag in RESULTS)
    for name in {"tests", "failures", "errors", "skipped"} & set(root.attrib):
        assert int(root.attrib[name]) == sum(int(suite.get(name, "")) for suite in root)
    return list(root)


def test_every_outcome(file: Path) -> None:
    nightly, member, history = check(file)
    assert [suite.get("name") for suite in (nightly, member, history)] == [
        "nightly", "member", "history",
    ]  # fmt: skip
    counts = [[s.get(n) for n in ("failures", "errors", "skipped")] for s in (nightly, member)]
    assert counts == [["1", "0", "2"], ["0", "0", "0"]]
    alarm, undecided, *_ = nightly.iter("testcase")
    failure, output = alarm.find("failure"), alarm.find("system-out")
    assert failure is not None
    assert failure.get("message") == "1 > 0 & σ"
    assert output is not None
    assert output.text == "reproduce: meanfield regress study.toml --baseline 'a & b'"
    assert "<a \"b\" & 'c'>" in undecided.get("name", "")
    assert history.get("failures") == "1"
    assert len(list(history.iter("system-out"))) == 1


def test_no_verdict_is_an_error_and_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    write_junit(verdict("no-verdict"), path, {})
    counts = [(s.get("failures"), s.get("errors")) for s in check(path) if s.get("name") == "night"]
    assert counts == [("0", "1")]


def test_a_reader_of_its_own_makes(file: Path) -> None:
    """junit2html counts what was written, and shows it."""
    report = parser.Junit(str(file))
    cases = [case for suite in report.suites for case in suite.all()]
    assert len(cases) == len(FOUND) + 1
    assert sum(case.failed() for case in cases) == 2
    assert sum(bool(case.skipped) for case in cases) == 2
    html = report.html()
    assert "limit/l1_error" in html
    assert "1 &gt; 0 &amp; σ" in html

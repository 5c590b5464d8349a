"""The verdict as JUnit XML, for the servers and programs that read test results."""

import io
from collections.abc import Mapping
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from pipeline.files import write_atomically
from pipeline.regression.findings import Finding, place
from pipeline.regression.verdict import Verdict, step_text

RESULTS = {"alarm": Failure, "undecided": Skipped, "not-compared": Skipped}


def write_junit(verdict: Verdict, path: Path, commands: Mapping[str, str]) -> None:
    """Write a test suite per study with a test case per comparison, and one of the new steps.

    Alarms are failures, what is undecided or not compared is skipped, and a night without a verdict
    is one error.

    Args:
        verdict: the verdict.
        path: of the file.
        commands: what shows an alarm again, by the key of its number.
    """
    document = JUnitXml(f"meanfield regress {verdict.study}")
    for study in verdict.studies:
        findings = [finding for finding in verdict.findings if finding.study == study]
        _add(document, verdict, study, [_finding(f, commands) for f in findings])
    if verdict.new_steps:
        _add(document, verdict, "history", _steps(verdict, commands))
    if verdict.outcome == "no-verdict":
        case = TestCase("verdict", classname=verdict.study)
        case.result = [Error(_legal(verdict.reason), "infrastructure")]
        _add(document, verdict, "night", [case])
    document.update_statistics()
    content = io.BytesIO()
    document.write(content, pretty=True)
    write_atomically(path, content.getvalue())


def _add(document: JUnitXml, verdict: Verdict, name: str, cases: list[TestCase]) -> None:
    suite = TestSuite(name)
    suite.timestamp = str(verdict.provenance.get("started", ""))
    suite.add_testcases(cases)
    document.add_testsuite(suite)


def _finding(finding: Finding, commands: Mapping[str, str]) -> TestCase:
    name = f"{finding.variable}{place(finding.at)} {finding.rule}"
    case = TestCase(_legal(name), classname=f"{finding.study}.{finding.variable.replace('/', '.')}")
    if kind := RESULTS.get(finding.outcome):
        case.result = [kind(_legal(finding.reason), finding.outcome)]
    _reproduce(case, finding.outcome == "alarm", commands.get(finding.key))
    return case


def _reproduce(case: TestCase, alarm: bool, command: str | None) -> None:
    if alarm and command:
        case.system_out = _legal(f"reproduce: {command}")


def _steps(verdict: Verdict, commands: Mapping[str, str]) -> list[TestCase]:
    cases = []
    for step in verdict.new_steps:
        case = TestCase(_legal(step.number), classname=f"{verdict.study}.history")
        kind = Failure if step.alarm else Skipped
        case.result = [kind(_legal(step_text(step)), step.kind)]
        _reproduce(case, step.alarm, commands.get(step.number))
        cases.append(case)
    return cases


def _legal(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)

"""The verbs `regress` and `baseline`: exit statuses, files, evidence that shows an alarm again."""

import html
import json
import shlex
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from junitparser import Failure, JUnitXml, Skipped

from flows import notify, regress, verbs
from flows.cli import _parser
from pipeline.errors import StoreError, StudyError
from pipeline.regression.calibration import Calibration
from pipeline.regression.night import Ran, infrastructure
from pipeline.regression.verdict import Verdict
from pipeline.run import run_stages
from pipeline.session import RunFolder, open_session
from pipeline.study import Study

STUDY = """
[study]
name = "small"
[problem]
horizon = 0.2
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = "exp(t) - 1" }
[axes]
activation = ["tanh"]
cells = [30]
particles = [100, 300]
seed = { count = 4 }
[numerics]
time_step = 0.02
snapshots = [0.0, 0.2]
[regression]
rules = [
  { variables = "limit/mean", rule = "tolerance", relative = 1e-9 },
  { variables = "particles/mean", rule = "equivalent", margin = 1e-3 },
  { variables = "analysis/prefactor_expected", rule = "tolerance", relative = 1e-9 },
  { variables = "limit/mass_error", rule = "tolerance", absolute = 1e-9 },
  { variables = "*", rule = "ignored" },
]
"""
FAULT = "problem.controls={w = -1.0, b = '1.01*(exp(t) - 1)'}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the study; studies run in this process, and nothing but evidence is drawn."""

    def run(study: Study, places: RunFolder) -> Ran:
        with open_session(study, places) as session:
            summary = run_stages(session)
        return Ran(infrastructure(summary.points))

    monkeypatch.setattr(regress, "_runner", lambda *_: run)
    monkeypatch.setattr("pipeline.regression.night.calibrate", lambda: None)
    monkeypatch.setattr("pipeline.figures.draw_figures", lambda *_: [])
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def meanfield(*arguments: str) -> int:
    options: Namespace = _parser().parse_args(arguments)
    return int(getattr(verbs, options.verb)(options))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    exit_status = meanfield(*arguments, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["exit"] == exit_status
    return found


@pytest.fixture
def compared(here: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The verdict of a night with a fault in it, after one that became the baseline."""
    first = printed(capsys, "regress", "study.toml")
    assert (first["outcome"], first["exit"]) == ("first", 0)
    set_to = printed(capsys, "baseline", "set", "main", first["night"])
    assert set_to["night"] == first["night"]
    found: dict[str, Any] = printed(capsys, "regress", "study.toml", "-s", FAULT)
    return found


def test_night_with_alarms(compared: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert (compared["outcome"], compared["exit"]) == ("alarms", 1)
    assert compared["schema"] == 1
    alarms = [f for f in compared["findings"] if f["outcome"] == "alarm"]
    assert compared["counts"]["alarm"] == len(alarms) == 3
    folder = Path("runs/small/regression") / compared["night"]
    assert json.loads((folder / "verdict.json").read_text()) == compared
    _check_junit(folder / "junit.xml", compared)
    _check_page(folder / "index.html", compared)
    _check_evidence(folder, alarms, capsys)


def _check_junit(file: Path, verdict: dict[str, Any]) -> None:
    (suite,) = JUnitXml.fromfile(str(file))
    kinds = {"alarm": Failure, "undecided": Skipped, "not-compared": Skipped}
    assert (suite.name, suite.tests) == ("small", len(verdict["findings"]))
    assert suite.failures == verdict["counts"]["alarm"]
    for case, finding in zip(suite, verdict["findings"], strict=True):
        assert case.name.startswith(finding["variable"])
        expected = kinds.get(finding["outcome"])
        assert [type(result) for result in case.result] == ([expected] if expected else [])
        assert all(result.message == finding["reason"] for result in case.result)


def _check_page(file: Path, verdict: dict[str, Any]) -> None:
    page = file.read_text()
    assert "default-src 'none'" in page
    assert " src=" not in page.split("<script>")[0]
    first = next(f for f in verdict["findings"])
    assert page.index(f"<b>{first['variable']}</b>") < page.index('id="history"')
    assert page.count('class="chart small"') == page.count('json" data-for=')
    assert "data-alarm" in page


def _check_evidence(
    folder: Path, alarms: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the command that each alarm comes with: it shows that alarm, and no other."""
    (suite,) = JUnitXml.fromfile(str(folder / "junit.xml"))
    commands = [case.system_out for case in suite if case.system_out]
    for i, (alarm, command) in enumerate(zip(alarms, commands, strict=True), start=1):
        words = shlex.split(command.removeprefix("reproduce: "))
        assert words[0] == "meanfield"
        found = printed(capsys, *words[1:])
        shown = [f for f in found["findings"] if f["outcome"] == "alarm"]
        assert [f["variable"] for f in shown] == [alarm["variable"]]
        for side in ("old", "new"):
            assert shown[0][side] == pytest.approx(alarm[side], rel=1e-12, abs=0)
        assert (folder / f"evidence/{i}/values.csv").read_text().count("\n") > 1
        assert "<svg" in (folder / f"evidence/{i}/values.svg").read_text()


def test_baselines(compared: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "baseline", "list")
    assert [n["outcome"] for n in listed["nights"]] == ["first", "alarms"]
    assert listed["baselines"] == {"main": compared["baseline"]["night"]}
    shown = printed(capsys, "baseline", "show", "main")
    assert Path(shown["stores"]["small"]).is_dir()
    assert shown["provenance"]["meanfield"]
    store = f"runs/small/history/nights/{compared['night']}/small.zarr"
    again = printed(capsys, "baseline", "set", "moved", store)
    assert again["night"] not in {n["night"] for n in listed["nights"]}
    assert printed(capsys, "regress", store, "--baseline", "moved")["outcome"] == "agrees"
    assert meanfield("baseline", "remove", "moved") == 0
    assert meanfield("baseline", "list") == 0
    assert "main" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regress", "study.tml"], "study.tml: no study file"),
        (["regress", "study.toml", "--baseline", "none.zarr/"], "none.zarr: no store there"),
        (["regress", "study.toml", "--notify", "'"], "not a command"),
        (["regress", "study.toml", "--notify", " "], "it is empty"),
        (["regress", "study.toml", "--notify-block", "x/y"], "set PREFECT_API_URL"),
        (["regress", "study.toml", "-s", "regression.members=['x.toml']"], "x.toml"),
        (["regress", "study.toml", "--history", "http://x/y"], "not a place for a store"),
        (["baseline", "list"], "there is none below runs/"),
        (["baseline", "list", "--history", "gone"], "there is no history"),
        (["baseline", "set", "main", "gone.zarr"], "no store there"),
        (["serve", "study.toml", "--baseline", "main"], "--baseline with --regression"),
        (["serve", "study.toml", "--regression", "--store", "x"], "--store without --regression"),
    ],
)
def test_what_is_refused_before_anything_is_run(arguments: list[str], message: str) -> None:
    with pytest.raises((StudyError, StoreError), match=message):
        meanfield(*arguments)
    assert not Path("runs").exists()


def test_page_of_somebody_else_is_not_overwritten(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "index.html").write_text("<title>my own</title>")
    with pytest.raises(StoreError, match="not a meanfield regression"):
        meanfield("regress", "study.toml", "--folder", "out")
    assert (here / "out" / "index.html").read_text() == "<title>my own</title>"


def test_folder_is_looked_at_before_anything_is_run(here: Path) -> None:
    (here / "mine" / "evidence").mkdir(parents=True)
    (here / "file").write_text("")
    (here / "page").mkdir()
    (here / "page" / "index.html").write_text("<title>my own</title>")
    for name in ("mine", "file", "page"):
        with pytest.raises(StoreError, match="give another folder"):
            meanfield("regress", "study.toml", "--folder", name)
    assert not (here / "runs").exists()


def test_evidence_of_an_earlier_night_is_gone(
    compared: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for change, count in ((["-s", FAULT], 3), ([], 0)):
        found = printed(capsys, "regress", "study.toml", "--folder", "out", *change)
        assert found["counts"]["alarm"] == count
        assert len(list(Path("out").glob("evidence/*"))) == count


def test_pages_of_old_nights_are_removed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep = ("-s", "regression.keep_nights=2")
    nights = [printed(capsys, "regress", "study.toml", *keep)["night"] for _ in range(3)]
    left = [path.name for path in Path("runs/small/regression").iterdir()]
    assert sorted(left) == nights[1:]


def test_step_without_a_baseline_has_evidence(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        meanfield("regress", "study.toml")
    found = printed(capsys, "regress", "study.toml", "-s", FAULT, "--folder", "out")
    assert found["outcome"] == "alarms"
    (_, suite) = JUnitXml.fromfile("out/junit.xml")
    case = next(case for case in suite if "limit/mean" in case.name)
    words = shlex.split(case.system_out.removeprefix("reproduce: "))
    shown = printed(capsys, *words[1:])
    alarms = {f["variable"] for f in shown["findings"] if f["outcome"] == "alarm"}
    assert alarms == {"limit/mean"}


def test_time_that_rises_has_evidence(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = [1.0]
    monkeypatch.setattr("pipeline.regression.night.calibrate", lambda: Calibration(unit[0], 1.0))
    monkeypatch.setattr("pipeline.regression.ratios.FEWEST", 2)
    first = printed(capsys, "regress", "study.toml")
    assert meanfield("baseline", "set", "main", first["night"]) == 0
    rules = "regression.rules=[{variables = '*/wall_seconds', rule = 'ratio'}]"
    for _ in range(2):
        meanfield("regress", "study.toml", "-s", rules)
    unit[0] = 1e-6
    found = printed(capsys, "regress", "study.toml", "-s", rules, "--folder", "out")
    slow = [f["variable"] for f in found["findings"] if f["outcome"] == "alarm"]
    assert "particles/wall_seconds" in slow
    folder = here / "out" / "evidence" / str(1 + slow.index("particles/wall_seconds"))
    rows = (folder / "nights.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]][-1] == found["night"]
    assert (folder / "values.csv").read_text().count("\n") == 1 + 2 * 4  # M and seeds
    page = (here / "out" / "index.html").read_text()
    assert f"{here / 'study.toml'} -s " in html.unescape(page)


def test_notification_by_a_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got, said = here / "got", list[str]()
    program = f"import sys; open({str(got)!r}, 'w').write(sys.argv[-1] + '|' + sys.stdin.read())"
    command = shlex.join([sys.executable, "-c", program])
    verdict = Verdict("n", "small", ("small",), "h", "main", "", "agrees", "nothing moved")
    notify.notify(verdict, here / "verdict.json", command, None, said.append)
    assert not got.exists()
    moved = replace(verdict, outcome="alarms")
    notify.notify(moved, here / "verdict.json", command, None, said.append)
    file, _, content = got.read_text().partition("|")
    assert file == str(here / "verdict.json")
    assert json.loads(content) == moved.as_json()
    assert not said
    monkeypatch.setattr(notify, "TIMEOUT", 3.0)
    notify.notify(moved, here / "verdict.json", "sh -c 'sleep 4 &'", None, said.append)
    assert not said  # what goes on in the background is not waited for
    for broken, reason in (("false", "exit status 1"), ("/no/such", "No such file")):
        notify.notify(moved, here / "verdict.json", broken, None, said.append)
        assert f"the notification has failed: --notify {broken}: " in said[-1]
        assert reason in said[-1]


def test_no_verdict_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(study: Study, places: RunFolder) -> Ran:
        return Ran("the disk is full")

    monkeypatch.setattr(regress, "_runner", lambda *_: fail)
    assert (
        meanfield("regress", "study.toml", "--notify", "sh -c 'cat > told'", "--folder", "out") == 2
    )
    assert '"outcome": "no-verdict"' in (here / "told").read_text()
    (suite,) = [s for s in JUnitXml.fromfile("out/junit.xml") if s.name == "night"]
    assert (suite.errors, suite.tests) == (1, 1)
    assert "no verdict: small: the disk is full" in (here / "out/index.html").read_text()


@pytest.mark.slow
def test_verbs_as_a_person_runs_them(here: Path) -> None:
    """With workers, timed, two nights at once, one of them killed."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "regress", "study.toml", "--workers", "1",
             *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    nights = [start("--folder", f"out{i}") for i in range(2)]
    for night in nights:
        _, err = night.communicate(timeout=240)
        assert night.returncode == 0, err
    killed = start("-s", "axes.seed={count = 4000}")
    assert killed.stderr
    while "workers, kernels ready" not in killed.stderr.readline():
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    names = {path.name for path in Path("runs/small/history/nights").iterdir()}
    assert len(names) == 3
    last = start("--folder", "out", "--json")
    out, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    verdict = json.loads(out)
    left = {path.name for path in Path("runs/small/history/nights").iterdir()}
    assert len(left) == 3
    assert left - names == {verdict["night"]}
    assert verdict["calibration"]["before"]["seconds"] > 0
    assert verdict["calibration"]["peak_bytes"]["small"] > 1e7

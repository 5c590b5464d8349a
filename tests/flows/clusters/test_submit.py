"""The driver as a job of Slurm: its script, and what is refused before anything is submitted."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from flows import cli

STUDY = """
[study]
name = "tiny"
steps = ["particles"]
[problem]
horizon = 0.1
initial = { kind = "uniform", low = -0.5, high = 0.5 }
controls = { w = -1.0, b = 0.5 }
activation = "tanh"
[axes]
particles = [10, 20]
seed = [0, 1]
[numerics]
time_step = 0.05
[cluster]
kind = "slurm"
queue = "main"
walltime = "00:30:00"
driver_walltime = "1-00:00:00"
setup = ["module load python"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study, and with programs of Slurm that only take notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "study.toml").write_text(STUDY)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (programs / name).write_text(f"#!/bin/sh\ncat > {tmp_path}/{name}.input\necho '42;main'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


def submit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    exit_status = cli.main(["submit", "study.toml", *arguments])
    printed = capsys.readouterr()
    return exit_status, printed.out, printed.err


def test_dry_run_prints_the_script_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    arguments = ["--max", "7", "--max-time", "2h", "-s", "cluster.account=group", "--direct"]
    exit_status, script, _ = submit(capsys, "--dry-run", *arguments)
    assert exit_status == 0
    lines = script.splitlines()
    for line in (
        "#SBATCH --partition=main",
        "#SBATCH --account=group",
        "#SBATCH --time=1-00:00:00",
        "#SBATCH --signal=B:TERM@120",
        "#SBATCH --requeue",
        "#SBATCH --mem=4000M",
        "module load python",
    ):
        assert line in lines
    command = shlex.split(lines[-1])
    assert command[0] == "exec"
    again = cli._parser().parse_args(command[command.index("run") :])
    assert (again.study, again.max, again.max_time, again.direct) == ("study.toml", 7, 7200.0, True)
    assert again.overrides == ["cluster.account=group"]
    assert sorted(folder.rglob("*")) == before


def test_local_workers_share_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    _, script, _ = submit(capsys, "--dry-run", "--cluster", "local", "--workers", "6")
    assert "#SBATCH --cpus-per-task=6\n" in script
    assert "#SBATCH --mem=16000M\n" in script
    assert "--cluster local --workers 6" in script


def test_job_is_submitted_and_its_id_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_status, out, _ = submit(capsys, "--json")
    assert exit_status == 0
    found: dict[str, Any] = json.loads(out)
    assert (found["verb"], found["job"]) == ("submit", "42")
    assert "exec " in (folder / "sbatch.input").read_text()
    assert (folder / "runs/tiny/logs").is_dir()


def test_what_slurm_says_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: no credit' >&2\nexit 1\n")
    exit_status, _, err = submit(capsys)
    assert exit_status == 2
    assert "Slurm refuses the job of the driver: sbatch: error: no credit" in err


def test_nothing_is_submitted_for_bad_settings(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    exit_status, _, err = submit(capsys, "-s", "cluster.walltime=soon")
    assert exit_status == 2
    assert "study.toml: cluster.walltime = 'soon'" in err
    assert sorted(folder.rglob("*")) == before


def test_missing_slurm_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    exit_status, _, err = submit(capsys, "--cluster", "local")
    assert exit_status == 2
    assert "'sbatch' is not there" in err
    assert not (folder / "runs").exists()

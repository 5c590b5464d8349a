"""Secrets that are planted all around a run appear in nothing that it prints or leaves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from pipeline.secrets import redacted

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED12",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret/0123456789abcdef",
    "AWS_SESSION_TOKEN": "planted-session-0123456789",
    "PREFECT_API_KEY": "pnu_plantedprefectkey0123456789",
    "PREFECT_API_AUTH_STRING": "admin:planted-auth-string",
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///planted-database-url.db",
    "DASK_PASSWORD": "planted-dask-password",
    "GITHUB_TOKEN": "ghp_plantedplantedplantedplantedplanted",
}
MARK = re.compile(r"planted", re.IGNORECASE)


def leaks(folder: Path) -> list[str]:
    """The files that a secret stands in."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and MARK.search(path.read_bytes().decode("latin-1"))
    ]


def meanfield(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with every secret in its environment."""
    secrets = {
        k: v for k, v in PLANTED.items() if "CONNECTION_URL" not in k or "--direct" in arguments
    }
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=os.environ | secrets | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def study(here: Path, tables: dict[str, Any]) -> Path:
    """A study one of whose points fails."""
    tables["problem"]["controls"] = {"w": "60*t", "b": 0.0}
    tables["axes"]["activation"] = ["tanh", "gcu", "identity"]
    tables["problem"]["horizon"] = 30.0
    tables["numerics"]["time_step"] = 10.0
    (here / "study.toml").write_text(tomli_w.dumps(tables))
    return here / "study.toml"


@pytest.mark.slow
def test_a_run_with_failures(here: Path, study: Path) -> None:
    run = meanfield(here, "run", "study.toml", "--direct", "--workers", "1")
    assert run.returncode == 1, run.stderr
    assert list((here / "runs/hostile/logs").iterdir())
    report = meanfield(here, "report", "runs/hostile/data.zarr", "--json")
    assert report.returncode == 1, report.stderr
    for done in (run, report):
        assert not MARK.search(done.stdout + done.stderr)
    assert leaks(here) == []


@pytest.mark.slow
def test_a_run_under_prefect(here: Path, study: Path) -> None:
    run = meanfield(here, "run", "study.toml", "--workers", "1", PREFECT_API_URL="")
    assert run.returncode == 1, run.stderr
    assert not MARK.search(run.stdout + run.stderr)
    assert leaks(here) == []


REFUSED = """
import json, os, sys
from flows.cli import main
for line, variables in json.loads(sys.argv[1]):
    os.environ.update(variables)
    try:
        code = main(line.split())
    except SystemExit as end:
        code = end.code
    print("exit", code)
    os.environ.pop("PREFECT_API_URL", None)
"""


def test_refusals(here: Path, study: Path) -> None:
    """People put secrets where they do not belong; the refusal does not repeat them."""
    run = "run study.toml --json"
    lines = [
        (run, {"PREFECT_API_URL": "http://user:planted-one@127.0.0.1:9/api"}),
        (f"{run} --direct --store s3://user:planted-one@bucket/x", {}),
        (f"{run} --direct --cluster tcp://user:planted-one@h:1", {}),
        ("status --json https://user:planted-one@host/data.zarr", {}),
        (f"{run} --direct -s problem.password=planted-one", {}),
        (f"{run} --direct -s token=planted-one", {}),
        (f"{run} --direct -s study.seed='{PLANTED['GITHUB_TOKEN']}'", {}),
        (f"{run} --api-key=planted-one", {}),
        ("status s3://b/x?X-Amz-Credential=planted-1&X-Amz-Signature=planted-2", {}),
        ("status https://host/container?sig=planted-one", {}),
        ("status http://user:planted/one@host/x", {}),
    ]
    refused = subprocess.run(
        [sys.executable, "-c", REFUSED, json.dumps(lines)],
        cwd=here,
        env=os.environ | PLANTED,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert refused.stdout.count("exit 2") == len(lines), refused.stdout + refused.stderr
    assert not MARK.search(refused.stdout + refused.stderr)
    assert leaks(here) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "no answer at http://me:pw@host:4200/api now",
            "no answer at http://***@host:4200/api now",
        ),
        ("postgresql+asyncpg://u:p@db/x", "postgresql+asyncpg://***@db/x"),
        ("-s a.password=hunter2 and more", "-s a.password=*** and more"),
        ("api_key: abc, then", "api_key: ***, then"),
        ("--api-key=abc", "--api-key=***"),
        (f"-s x.y={'ghp_' + 24 * 'a'}", "-s x.y=***"),
        (
            "s3://b/x?X-Amz-Credential=AK/1/s3&X-Amz-Signature=0a1b: not a place",
            "s3://b/x?X-Amz-Credential=***&X-Amz-Signature=*** not a place",
        ),
        ("https://h/c?sv=1&sig=a%2Fb%3D&x=1", "https://h/c?sv=1&sig=***&x=1"),
        ("http://user:pa/ss@host/x", "http://***@host/x"),
        ("postgresql://u:p@ss@db/x", "postgresql://***@db/x"),
        ("Signature=0a1b, then", "Signature=***, then"),
        ("Authorization: Bearer a.b.c then", "Authorization: *** then"),
        ("{'Authorization': 'Basic YTpi'}", "{'Authorization': '***'}"),
        ('{"password": "two words", "a": 1}', '{"password": "***", "a": 1}'),
        (r'{"said": "{\"token\": \"a b\"}"}', r'{"said": "{\"token\": \"***\"}"}'),
        ('{"said": "password=abc"}', '{"said": "password=***"}'),
        ("password = 'two words' and more", "password = '***' and more"),
        ("secret = 'no end", "secret = '***'"),
        ("PGPASS=abc MY_PAT=abc AUTH=abc", "PGPASS=*** MY_PAT=*** AUTH=***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("http://host:4200/api and me@home.org", "http://host:4200/api and me@home.org"),
        ("s3://bucket/runs@1ab", "s3://bucket/runs@1ab"),
        ("author: me, path=/a, compat: 3, pass: 4", "author: me, path=/a, compat: 3, pass: 4"),
        ("the key 'gamma' = 3; me@home.org", "the key 'gamma' = 3; me@home.org"),
    ],
)
def test_redacted(text: str, wanted: str) -> None:
    assert redacted(text) == wanted


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET_THING", "correct horse")
    monkeypatch.setenv("SHORT_TOKEN", "on")
    assert redacted("on the correct horse") == "on the ***"

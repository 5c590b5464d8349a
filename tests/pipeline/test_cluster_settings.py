"""Where workers run: options before the study, the study before the user's file."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster_settings import Cluster, bytes_of, combine, seconds_of
from pipeline.errors import StudyError
from pipeline.study import Study
from pipeline.validation import validate


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file of these tests; at first there is none."""
    monkeypatch.delenv("MEANFIELD_CLUSTER_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "meanfield").mkdir()
    return tmp_path / "meanfield" / "cluster.toml"


def test_options_go_before_the_study_and_the_study_before_the_file(own_file: Path) -> None:
    own_file.write_text('[cluster]\nqueue = "file"\naccount = "file"\nmax = 30\n')
    study = Cluster(queue="study", max=20)
    found = combine(study, {"max": 5, "kind": None})
    assert (found.max, found.queue, found.account, found.kind) == (5, "study", "file", "local")


def test_another_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[cluster]\nqueue = "mine"\n')
    monkeypatch.setenv("MEANFIELD_CLUSTER_FILE", str(file))
    assert combine().queue == "mine"
    file.unlink()
    with pytest.raises(StudyError, match=r"mine\.toml: cannot read"):
        combine()


def test_no_identity_and_no_resolved_study_knows_the_cluster(tiny: dict[str, Any]) -> None:
    bare = Study(**copy.deepcopy(tiny))
    study = Study(**tiny, cluster={"kind": "slurm", "queue": "main"})
    assert study.cluster.queue == "main"
    assert study.identity == bare.identity
    assert study.toml() == bare.toml()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('queue = "a b"', ("cluster.queue = 'a b'", "allowed: the name of a partition")),
        ('qeue = "main"', ("unknown key 'cluster.qeue'", "did you mean 'queue'")),
        ('kind = "moon"', ("cluster.kind = 'moon'", "local, slurm, kubernetes, tcp://host:port")),
        ('kind = "tcp://host:99999"', ("99999", "unknown cluster")),
        ("min = 0", ("cluster.min = 0", "a whole number from 1")),
        ('walltime = "00:01:00"', ("cluster.walltime", "two minutes or more")),
        ('walltime = "2 hours"', ("cluster.walltime", "04:00:00")),
        ('memory = "lots"', ("cluster.memory", "a size like 2GB")),
        ('memory = "0GB"', ("cluster.memory = '0GB'", "500MB or more")),
        ('memory = "499MB"', ("less than a worker takes for itself", "500MB or more")),
        ('driver_memory = "100MB"', ("cluster.driver_memory", "500MB or more")),
        ('walltime = "00:99:99"', ("cluster.walltime", "04:00:00")),
        ('walltime = "01:00:60"', ("cluster.walltime", "04:00:00")),
        ('setup = ["a\\nb"]', ("cluster.setup", "one line")),
        ('directives = ["constraint=x"]', ("cluster.directives", "no option of sbatch")),
        ("patience = 0", ("cluster.patience = 0", "a positive number of seconds")),
        ('environment = { API_TOKEN = "x" }', ("API_TOKEN looks like a secret", "secrets")),
        ('environment = { PGPASS = "x" }', ("PGPASS looks like a secret", "secrets")),
        ('environment = { AUTH = "x" }', ("AUTH looks like a secret", "secrets")),
        ('environment = { MY_PAT = "x" }', ("MY_PAT looks like a secret", "secrets")),
    ],
)
def test_refusals_name_file_key_value_and_what_is_allowed(
    own_file: Path, text: str, parts: tuple[str, ...]
) -> None:
    own_file.write_text(f"[cluster]\n{text}\n")
    with pytest.raises(StudyError) as refusal:
        combine()
    for part in (str(own_file), *parts):
        assert part in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"max": 3}, {"min": 9}, "cluster.min = 9 is above cluster.max = 3"),
        (
            {"kind": "slurm", "cores": 16},
            {},
            "cluster.cores = 16, the workers of one job, is above cluster.max = 10",
        ),
        ({"kind": "kubernetes"}, {}, "missing key 'cluster.image'"),
        ({"kind": "kubernetes", "image": "a/b:1"}, {"tls": "auto"}, "the Dask operator has no TLS"),
        ({}, {"kind": "tcp://h:1", "tls": "auto"}, "not encrypted"),
        ({}, {"kind": "tls://h:1"}, "needs --tls with its certificates"),
        ({}, {"kind": "mars"}, "--cluster: cluster.kind = 'mars': unknown cluster"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    table: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        combine(validate(Cluster, table, "study.toml", "cluster"), options)


@pytest.mark.parametrize(
    ("kind", "patience", "wait"),
    [("local", None, 120.0), ("slurm", None, 86400.0), ("slurm", 30, 30.0)],
)
def test_patience_depends_on_the_kind(kind: str, patience: int | None, wait: float) -> None:
    assert Cluster(kind=kind, patience=patience).wait == wait


def test_names_that_are_no_secrets() -> None:
    names = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "GIT_AUTHOR_NAME", "PATTERN", "SSH_AUTH_SOCK")
    assert Cluster(environment=dict.fromkeys(names, "x"), cores=16).environment.keys() == {*names}


def test_walltime_may_stand_without_quotation_marks(own_file: Path) -> None:
    own_file.write_text("[cluster]\nwalltime = 04:00:00\n")
    assert combine().walltime == "04:00:00"


def test_times_and_sizes() -> None:
    assert seconds_of("1-02:03:04") == 86400 + 2 * 3600 + 3 * 60 + 4
    assert seconds_of("00:10:00") == 600
    assert [bytes_of(size) for size in ("2GB", "1.5 GiB", "10KB")] == [2e9, 1.5 * 2**30, 1e4]

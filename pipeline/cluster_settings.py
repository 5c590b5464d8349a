"""Where workers run: the table [cluster] of a study, the user's own file, and what becomes of both.

These settings change no result. They belong to no identity, and no store keeps them.
"""

import datetime
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.errors import StudyError
from pipeline.secrets import NAMES
from pipeline.settings import Settings, Whole
from pipeline.study_file import read_toml
from pipeline.validation import nearest, validate

KINDS = "local, slurm, kubernetes, tcp://host:port or tls://host:port"
ADDRESS = re.compile(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")
DAY = 86400.0
LEAST_MEMORY = 500e6
"""What a worker takes for itself, before its first point."""


def _kind(value: str) -> str:
    found = ADDRESS.fullmatch(value)
    if value in ("local", "slurm", "kubernetes") or (found and 1 <= int(found[3]) <= 65535):
        return value
    raise ValueError("unknown cluster")


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("empty, or not one line of text")
    return value


def _directive(value: str) -> str:
    if not value.startswith("-"):
        raise ValueError("no option of sbatch")
    return value


def _walltime(value: str) -> str:
    if seconds_of(value) < 120:
        raise ValueError("too short for a worker to start and to end in")
    return value


def _enough(value: str) -> str:
    if bytes_of(value) < LEAST_MEMORY:
        raise ValueError("less than a worker takes for itself")
    return value


def _clock(value: Any) -> Any:
    """Accept 01:00:00 without quotation marks: TOML reads a time of day."""
    return value.isoformat() if isinstance(value, datetime.time) else value


def _no_secret(value: Mapping[str, str]) -> Mapping[str, str]:
    for name in value:
        if NAMES.search(name):
            raise ValueError(
                f"{name} looks like a secret; put it into a Secret, and its name into secrets"
            )
    return value


def _whole_seconds(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,@+:/-]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([KMGT])(i?)B")
Size = Annotated[str, Field(pattern=f"^{SIZE.pattern}$"), AfterValidator(_enough)]
TIME = r"^(\d{1,3}-)?\d{1,3}:[0-5]\d:[0-5]\d$"
Walltime = Annotated[str, BeforeValidator(_clock), Field(pattern=TIME), AfterValidator(_walltime)]


class Cluster(Settings):
    """Section [cluster]: where workers run. It changes no result, and no store keeps it."""

    kind: Annotated[str, AfterValidator(_kind)] = Field(
        "local", description=KINDS, title="where workers run, unless `--cluster` says it"
    )
    min: Whole = Field(
        1,
        ge=1,
        le=10**5,
        description="a whole number from 1 to 10^5",
        title="the fewest workers to keep, on slurm and kubernetes",
    )
    max: Whole = Field(
        10,
        ge=1,
        le=10**5,
        description="a whole number from 1 to 10^5",
        title="the most workers to ask for, on slurm and kubernetes",
    )
    cores: Whole = Field(
        1,
        ge=1,
        le=1024,
        description="a whole number from 1 to 1024",
        title="workers in each job, on slurm; each has one core",
    )
    memory: Size = Field(
        "2GB", description="a size like 2GB or 1500MB, 500MB or more", title="of each worker"
    )
    patience: Annotated[float, BeforeValidator(_whole_seconds)] | None = Field(
        None,
        gt=0,
        description="a positive number of seconds",
        title="how long to wait while there is no worker; a day on slurm, an hour on kubernetes "
        "and two minutes elsewhere without it",
    )
    tls: Line | None = Field(
        None,
        description="auto, a folder with ca.pem, cert.pem and key.pem, or CA,CERT,KEY",
        title="certificates of all connections, or 'auto' for temporary ones",
    )
    interface: Word | None = Field(
        None,
        description="the name of a network interface like ib0",
        title="network of scheduler and workers, for slurm",
    )
    queue: Word | None = Field(
        None, description="the name of a partition", title="Slurm's partition"
    )
    account: Word | None = Field(
        None, description="the name of an account", title="Slurm's account"
    )
    walltime: Walltime = Field(
        "01:00:00",
        description="a time like 04:00:00 or 2-00:00:00, two minutes or more",
        title="of each worker's job; workers end cleanly before it and are replaced",
    )
    driver_walltime: Walltime | None = Field(
        None,
        description="a time like 04:00:00 or 2-00:00:00, two minutes or more",
        title="of the driver's job, for submit; that of the workers without it",
    )
    driver_memory: Size = Field(
        "4GB",
        description="a size like 4GB, 500MB or more",
        title="of the driver's job, for submit",
    )
    setup: tuple[Line, ...] = Field(
        (),
        strict=False,
        description="a list of shell commands",
        title="run before a worker starts, on slurm",
    )
    directives: tuple[Annotated[Line, AfterValidator(_directive)], ...] = Field(
        (),
        strict=False,
        description='a list of options of sbatch like "--constraint=icelake"',
        title="more options of Slurm's jobs",
    )
    scratch: Line | None = Field(
        None,
        description="the path of a folder; may hold $VARIABLES",
        title="where workers on slurm put their own files; $TMPDIR or /tmp without it",
    )
    namespace: Name | None = Field(
        None,
        description="the name of a namespace",
        title="of Kubernetes; the current one without it",
    )
    image: Word | None = Field(
        None,
        description="the name of a container image",
        title="what scheduler and workers run, on kubernetes",
    )
    environment: Annotated[dict[Word, Line], AfterValidator(_no_secret)] = Field(
        {},
        description="a table of names and texts, no secrets",
        title="variables of scheduler and workers, on kubernetes",
    )
    secrets: tuple[Name, ...] = Field(
        (),
        strict=False,
        description="a list of names of Secrets",
        title="Secrets whose entries become variables of the workers, on kubernetes",
    )

    @property
    def wait(self) -> float:
        """How long a run waits while it has no worker, in seconds."""
        usual = {"slurm": DAY, "kubernetes": 3600.0}
        return usual.get(self.kind, 120.0) if self.patience is None else self.patience

    @property
    def address(self) -> str | None:
        """The address of a scheduler that runs already."""
        return self.kind if "://" in self.kind else None

    @property
    def batch(self) -> bool:
        """Whether workers come and go between min and max."""
        return self.kind in ("slurm", "kubernetes")


def seconds_of(walltime: str) -> float:
    """The seconds of a time like 2-00:30:00."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return int(days or 0) * DAY + hours * 3600.0 + minutes * 60.0 + seconds


def bytes_of(size: str) -> int:
    """The bytes of a size like 2GB or 1.5 GiB."""
    number, prefix, binary = SIZE.fullmatch(size).groups()  # type: ignore[union-attr]
    return int(float(number) * (1024 if binary else 1000) ** ("KMGT".index(prefix) + 1))


def user_file() -> Path:
    """Where the user's own settings are: $MEANFIELD_CLUSTER_FILE, or meanfield/cluster.toml."""
    if named := os.environ.get("MEANFIELD_CLUSTER_FILE"):
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "meanfield" / "cluster.toml"


def combine(study: Cluster | None = None, options: Mapping[str, Any] | None = None) -> Cluster:
    """The settings in force: options, before the study's, before the user's file.

    Args:
        study: the study's table; only what it sets counts.
        options: of the command line, by key; those that are None were not given.

    Raises:
        StudyError: naming the file or option, the key, the value and what is allowed.
    """
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for key, value in given.items():
        validate(Cluster, {key: value}, f"--{'cluster' if key == 'kind' else key}", "cluster")
    layers = [_user_table(), study.model_dump(exclude_unset=True) if study else {}, given]
    merged = Cluster(**{key: value for layer in layers for key, value in layer.items()})
    _check(merged)
    return merged


def _user_table() -> dict[str, Any]:
    file = user_file()
    if not file.is_file() and "MEANFIELD_CLUSTER_FILE" not in os.environ:
        return {}
    document = read_toml(file)
    for name in document:
        if name != "cluster":
            raise StudyError(f"{file}: unknown table [{name}]; {nearest(name, ['cluster'])}")
    settings = validate(Cluster, document.get("cluster", {}), str(file), "cluster")
    return settings.model_dump(exclude_unset=True)


def _check(settings: Cluster) -> None:
    """What must hold between the settings.

    Raises:
        StudyError: naming them.
    """
    if settings.min > settings.max:
        raise StudyError(
            f"cluster.min = {settings.min} is above cluster.max = {settings.max}; allowed: up to it"
        )
    if settings.kind == "slurm" and settings.cores > settings.max:
        raise StudyError(
            f"cluster.cores = {settings.cores}, the workers of one job, is above cluster.max = "
            f"{settings.max}; allowed: up to it"
        )
    if settings.kind == "kubernetes" and settings.image is None:
        raise StudyError(
            "missing key 'cluster.image', which kubernetes needs; allowed: the name of a container "
            "image that has this version of meanfield"
        )
    if settings.tls and settings.kind == "kubernetes":
        raise StudyError(
            "cluster.tls: the Dask operator has no TLS; allowed: --cluster tls://host:port, with "
            "scheduler and workers as in deploy/kubernetes, which use it"
        )
    if settings.tls and settings.kind.startswith("tcp:"):
        raise StudyError(
            f"cluster.tls: {settings.kind} is not encrypted; allowed: --cluster tls://host:port"
        )
    if settings.kind.startswith("tls:") and settings.tls in (None, "auto"):
        raise StudyError(
            f"--cluster {settings.kind} needs --tls with its certificates; allowed: a folder with "
            "ca.pem, cert.pem and key.pem, or CA,CERT,KEY"
        )

"""Who computed what with which: versions and CPU features, as far as they determine results."""

import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from solvers import NUMERICS_VERSION
from solvers.cache import sources_key

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "xarray", "zarr", "dask", "prefect")
DECISIVE = ("meanfield", "numpy", "numba", "llvmlite", "scipy", "zarr")


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """A short text that is equal for processes that compute and store the same bits.

    It is a list of names and values: "numerics 1, python 3.11.2, …, kernels 0a1b…", where the last
    is that of the solvers' sources and of the processor.
    """
    features = json.dumps(dict(sorted(llvm.get_host_cpu_features().items())))
    parts = {
        "numerics": str(NUMERICS_VERSION),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in DECISIVE},
        "machine": platform.machine(),
        "cpu": llvm.get_host_cpu_name(),
        "cpu-features": hashlib.sha256(features.encode()).hexdigest()[:8],
        "kernels": sources_key(),
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items())


def differences(there: str, here: str | None = None) -> str:
    """In what two fingerprints differ: "numba 0.68.1 there, 0.67.0 here; …".

    Args:
        there: the fingerprint of another process.
        here: that of this one by default.
    """
    other, own = (
        dict(part.partition(" ")[::2] for part in text.split(", "))
        for text in (there, here or fingerprint())
    )
    names = [name for name in {**own, **other} if own.get(name) != other.get(name)]
    return "; ".join(
        f"{name} {other.get(name, 'unknown')} there, {own.get(name, 'unknown')} here"
        for name in names
    )


def provenance() -> dict[str, Any]:
    """Versions, machine and time of this run, for run.json."""
    return {
        "meanfield": importlib.metadata.version("meanfield"),
        "numerics_version": NUMERICS_VERSION,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "llvm": ".".join(map(str, llvm.llvm_version_info)),
        "fingerprint": fingerprint(),
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "platform": platform.platform(),
        "commit": _commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(
            Path(sys.argv[0]).name if i == 0 else a for i, a in enumerate(sys.argv)
        ),
    }


def _commit() -> str | None:
    """The commit of the checkout that runs, if it is one."""
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()

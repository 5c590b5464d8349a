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

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "xarray", "zarr", "dask", "prefect")
DECISIVE = ("numpy", "numba", "llvmlite", "scipy")


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """A short text that is equal for processes that compute the same bits."""
    features = json.dumps(dict(sorted(llvm.get_host_cpu_features().items())))
    digest = hashlib.sha256(features.encode()).hexdigest()[:8]
    versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in DECISIVE)
    return (
        f"numerics {NUMERICS_VERSION}, {versions}, {platform.machine()} {llvm.get_host_cpu_name()} "
        f"features {digest}"
    )


def provenance() -> dict[str, Any]:
    """Versions, machine and time of this run, for run.json."""
    return {
        "meanfield": importlib.metadata.version("meanfield"),
        "numerics_version": NUMERICS_VERSION,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
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

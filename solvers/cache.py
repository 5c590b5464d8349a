"""Where compiled kernels are kept.

Numba notices an edit of the file a kernel stands in, but not of the files its callees stand in: a
cached caller then silently returns old results. So the cache directory is named after a hash of
*all* sources of this package, the versions of Numba, llvmlite and NumPy, and the processor.
"""

import getpass
import hashlib
import os
import shutil
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding


def sources_key(folder: Path | None = None) -> str:
    """Return the hash that names the cache directory.

    Args:
        folder: Folder whose ``*.py`` files (recursively) are hashed; this package by default.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    folder = Path(__file__).parent if folder is None else folder
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    digest.update(repr(_environment()).encode())
    return digest.hexdigest()[:16]


def _environment() -> tuple[str, ...]:
    features = llvmlite.binding.get_host_cpu_features().flatten()
    cpu = os.environ.get("NUMBA_CPU_NAME") or llvmlite.binding.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES") or features
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (python, version("numba"), version("llvmlite"), version("numpy"), cpu, features)


def _bases() -> list[Path]:
    """Return the candidate directories, the preferred one first."""
    explicit = os.environ.get("NUMBA_CACHE_DIR")
    if explicit:
        return [Path(explicit)]
    own = os.environ.get("MEANFIELD_CACHE_DIR")
    if own:
        return [Path(own) / "numba"]
    user = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        home = Path(user) if user else Path.home() / ".cache"
    except RuntimeError:
        return []
    return [home / "meanfield" / "numba"]


def _private_temporary() -> Path:
    """Return a directory below the system's temporary one that only this user can write.

    Compiled kernels are unpickled when loaded, so a directory that somebody else owns is not used.
    """
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = str(os.getuid()) if hasattr(os, "getuid") else "user"
    path = Path(tempfile.gettempdir()) / f"meanfield-{name}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        foreign = path.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid())
        if not foreign and not status.st_mode & 0o022 and _writable(path):
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="meanfield-"))


def _writable(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def cache_directory() -> Path:
    """Return the directory of the compiled kernels, created if need be.

    ``NUMBA_CACHE_DIR``, then ``MEANFIELD_CACHE_DIR``, then ``XDG_CACHE_HOME``, then the user's
    cache directory is its base. Where that cannot be written it is a private temporary directory,
    which begins with the kernels that the base has, as in a container image with a read-only root.
    """
    key = sources_key()
    bases = [base / key for base in _bases()]
    for path in bases:
        if _writable(path):
            return path
    path = _private_temporary() / "numba" / key
    path.mkdir(parents=True, exist_ok=True)
    for base in bases:
        _copy_kernels(base, path)
    return path


def _copy_kernels(source: Path, target: Path) -> None:
    """Copy compiled kernels that the target lacks, each whole and its index last."""
    for file in sorted(source.rglob("*.nb[ci]"), key=lambda path: path.suffix == ".nbi"):
        place = target / file.relative_to(source)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = place.with_name(f"{place.name}.{os.getpid()}.partial")
            shutil.copyfile(file, scratch)
            scratch.replace(place)


def warning(directory: Path) -> str:
    """Return why the kernels are not kept where they should be; empty if they are."""
    bases = _bases()
    if directory.parent in bases:
        return ""
    place = f"{bases[0]} cannot be written" if bases else "there is no home folder"
    return f"{place}: compiled kernels are kept in {directory}; MEANFIELD_CACHE_DIR names a better"


@cache
def own_directory() -> Path:
    """Return :func:`cache_directory` as this process found it first."""
    return cache_directory()

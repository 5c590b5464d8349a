"""Certificates of the connections between driver, scheduler and workers."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StudyError

if TYPE_CHECKING:
    from distributed.security import Security

FILES = ("ca.pem", "cert.pem", "key.pem")


def check_certificates(tls: str | None) -> None:
    """See that the files of the option --tls can be read.

    Raises:
        StudyError: if not.
    """
    if tls is None or tls == "auto":
        return
    for file in certificate_files(tls):
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise StudyError(f"--tls {tls}: {file}: {error.strerror}; {_ALLOWED}") from None


def certificate_files(tls: str) -> tuple[Path, Path, Path]:
    """The files of the authority, the certificate and its key.

    Raises:
        StudyError: for another number of files.
    """
    names = tls.split(",")
    if len(names) == 1:
        ca, cert, key = (Path(tls).expanduser() / name for name in FILES)
    elif len(names) == 3:
        ca, cert, key = (Path(name.strip()).expanduser() for name in names)
    else:
        raise StudyError(f"--tls {tls}: {len(names)} files; {_ALLOWED}")
    return ca.absolute(), cert.absolute(), key.absolute()


def security_of(tls: str | None) -> "Security | None":
    """What Dask needs to encrypt everything, and to refuse who has no certificate; None without.

    Args:
        tls: "auto" for a certificate that lives as long as this process, or files.

    Raises:
        StudyError: if the files hold no certificates that belong together.
    """
    if tls is None:
        return None
    from distributed.security import Security

    if tls == "auto":
        temporary: Security = Security.temporary()
        return temporary
    ca, cert, key = map(str, certificate_files(tls))
    roles = {f"tls_{role}_cert": cert for role in ("client", "scheduler", "worker")}
    roles |= {f"tls_{role}_key": key for role in ("client", "scheduler", "worker")}
    security = Security(require_encryption=True, tls_ca_file=ca, **roles)
    try:
        security.get_connection_args("client")
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or error
        raise StudyError(f"--tls {tls}: no certificates: {reason}; {_ALLOWED}") from None
    return security


def in_files(security: "Security", folder: Path) -> "Security":
    """The same certificates as files, for processes on other hosts.

    Args:
        security: certificates, in files already or in memory.
        folder: one that the user alone can enter, and that the other hosts see.
    """
    files = security.get_tls_config_for_role("worker")
    if "\n" not in files["key"]:
        return security
    for name, key in zip(FILES, ("ca_file", "cert", "key"), strict=True):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(files[key])
    return security_of(str(folder)) or security


_ALLOWED = "allowed: auto, a folder with ca.pem, cert.pem and key.pem, or CA,CERT,KEY"

"""Certificates for TLS between the parts of Dask, made by openssl for one test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and a key and a certificate that it has signed.

    Attributes:
        ca: the file of the authority's certificate.
        certificate: the file of the signed certificate.
        key: the file of its key.
    """

    ca: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> tuple[str, ...]:
        """For the commands ``dask scheduler`` and ``dask worker``."""
        return (
            "--tls-ca-file", str(self.ca), "--tls-cert", str(self.certificate),
            "--tls-key", str(self.key),
        )  # fmt: skip


def make_certificates(folder: Path) -> Certificates:
    """Make an authority of its own and one signed certificate in a new folder."""
    folder.mkdir()
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    _openssl(folder, *new, "-x509", "-days", "2", "-subj", "/CN=authority",
             "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    _openssl(folder, *new, "-subj", "/CN=part", "-keyout", "part.key", "-out", "part.csr")
    _openssl(folder, "x509", "-req", "-days", "2", "-in", "part.csr", "-CA", "ca.pem",
             "-CAkey", "ca.key", "-CAcreateserial", "-out", "part.pem")  # fmt: skip
    return Certificates(folder / "ca.pem", folder / "part.pem", folder / "part.key")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=True)

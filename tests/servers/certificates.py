"""Certificates for loopback, made by openssl: an authority, and a server that it vouches for."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Certificates", "make_certificates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Paths of PEM files."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *, days: int = 30) -> Certificates:
    """Make an authority and a certificate for 127.0.0.1 and localhost.

    Args:
        folder: Where the files go.
        days: How long they are valid; a negative number makes a certificate that has expired.
    """
    made = Certificates(
        authority=folder / "authority.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
    )
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        "req", "-x509", *curve, "-keyout", folder / "authority.key", "-out", made.authority,
        "-subj", "/CN=degrade tests", "-days", 30,
    )  # fmt: skip
    _openssl(
        "req", *curve, "-keyout", made.key, "-out", folder / "server.csr", "-subj", "/CN=localhost"
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    _openssl(
        "x509", "-req", "-in", folder / "server.csr", "-out", made.certificate,
        "-CA", made.authority, "-CAkey", folder / "authority.key", "-set_serial", 2,
        "-days", days, "-extfile", folder / "names",
    )  # fmt: skip
    return made


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30)

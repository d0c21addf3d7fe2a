"""What lies beside a private key file."""

from __future__ import annotations

from pathlib import Path

from novafleet.transport.target import SshTarget


def certificate_files(target: SshTarget) -> tuple[str, ...]:
    """The certificates ssh would find: those named, and what lies beside a key (``KEY-cert.pub``, ssh(1) -i)."""
    beside = (f"{name.removesuffix('.pub')}-cert.pub" for name in target.identities)
    return (*target.certificates, *(name for name in beside if Path(name).exists()))

"""What lies beside a private key file."""

from __future__ import annotations

from pathlib import Path

from novafleet.transport.trust import HostKey


def certificates_of(name: str) -> list[str]:
    """The certificate ssh would find for a key (``KEY-cert.pub``, ssh(1) -i)."""
    certificate = f"{name}-cert.pub"
    return [certificate] if Path(certificate).exists() else []


def public_blob(name: str) -> bytes | None:
    """The public half of an identity in SSH wire encoding, from its ``.pub`` file; None where there is none."""
    public = Path(name if name.endswith(".pub") else f"{name}.pub")
    try:
        return HostKey.parse(public.read_text()).blob
    except (OSError, ValueError):
        return None

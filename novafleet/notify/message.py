"""What is said, and the secrets that saying it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from novafleet.errors import NotifyError, Retry
from novafleet.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Message:
    """``event`` is failure, success or missed; ``subject`` one line, ``text`` for people; ``document`` is JSON."""

    event: str
    subject: str
    text: str
    document: Mapping[str, Any]
    at: float


def secret_of(reference: str) -> Secret:
    """The secret that ``file:PATH``, ``env:NAME`` or ``credential:NAME`` leads to, without a last line break.

    A credential is systemd's (``$CREDENTIALS_DIRECTORY/NAME``). Raises NotifyError NF-NOTIFY-004.
    """
    kind, _, name = reference.partition(":")
    try:
        if kind == "env":
            return Secret.of(os.environ[name])
        folder = os.environ["CREDENTIALS_DIRECTORY"] if kind == "credential" else "/"
        return Secret.of(Path(folder, name).read_bytes().rstrip(b"\r\n"))
    except (KeyError, OSError) as exc:
        raise NotifyError(
            f"there is no secret in {reference}",
            code="NF-NOTIFY-004",
            cause=str(exc),
            retry=Retry.AFTER_FIX,
            hints=("timers see no variables of your shell: docs/guides/schedules.md says where secrets go",),
        ) from exc

"""What ``host doctor`` says about one thing of one host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``ok`` is said too: a doctor who stays silent has not looked."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` is its name (ssh, sudo, libvirt, kvm, qemu, storage, bridges, engines, clock, uuid)."""

    host: str
    check: str
    severity: Severity
    what: str
    fix: str = ""

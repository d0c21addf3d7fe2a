"""What the source of a migration keeps of a VM that left, until when, and how to find it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.capability.migration.ends import End

FOLDER = "/var/lib/novafleet/quarantine"
"""Root's own, 0700: ``JOB/record.json`` (0600) on the source."""
BESIDE = ".novafleet-quarantine"
"""Where files go: ``DIRECTORY/.novafleet-quarantine/JOB/``, beside where they were, so that a rename does it."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """One VM that left ``host`` for ``destination``. ``files`` maps where each was to where it is now; ``until``
    seconds since the epoch; ``size`` bytes it occupies."""

    job: str
    vm: str
    domain: str
    uuid: str
    environment: str
    host: str
    destination: str
    mode: str
    at: float
    until: float
    xml: str
    autostart: bool = False
    committed: bool = False
    snapshots: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    size: int = 0


async def quarantines(end: End) -> tuple[Quarantine, ...]:
    """All of one host, oldest first. A record nobody can read is left out, its files left alone."""
    raise NotImplementedError


async def drop(end: End, quarantine: Quarantine) -> None:
    """Delete its files and its record, for good. Convergent."""
    raise NotImplementedError

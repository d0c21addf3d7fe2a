"""What a job made on its destination, written down there before it exists and told by inode, not by name."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "/var/lib/novafleet/migrate"
"""Root's own, 0700: ``JOB/manifest`` on the destination. It survives a boot, and the loss of the controller."""


@dataclass(frozen=True, slots=True)
class Made:
    """One thing. ``kind``: file | directory | lease; ``path`` (for a lease NETWORK), ``token`` device:inode (for a
    lease its XML)."""

    kind: str
    path: str
    token: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything job ``job`` made for ``domain`` (``uuid``) on one host."""

    job: str
    domain: str
    uuid: str
    made: tuple[Made, ...] = ()

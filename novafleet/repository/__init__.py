"""The backup repository: encrypted, deduplicated, chainless snapshots of disks in any ``ObjectStore``.

The format is docs/reference/repository-format.md; ``reader.py`` restores from it without NovaFleet.
"""

from __future__ import annotations

from novafleet.repository.diskwriter import DiskWriter
from novafleet.repository.keys import KeySource
from novafleet.repository.repository import Repository
from novafleet.repository.writer import Backup

__all__ = ["Backup", "DiskWriter", "KeySource", "Repository"]

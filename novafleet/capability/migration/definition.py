"""The definition of a VM as its destination gets it: the same guest, on that host's files and networks. Pure."""

from __future__ import annotations

from novafleet.model.migration import Move


def arriving(move: Move, xml: str) -> str:
    """``xml`` (``move.xml``, or what runs) with the destination's paths of disks and files and the networks of
    ``move.wanted.networks``. Nothing a running guest would notice changes. Raises MigrationError NF-MIG-404 for what
    is no definition."""
    raise NotImplementedError

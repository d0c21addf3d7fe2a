"""The data path of one migration: where the source's libvirt and QEMU find those of the destination."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from novafleet.capability.migration.ends import End
from novafleet.model.migration import Path


@dataclass(frozen=True, slots=True)
class Route:
    """An open way from source to destination, alive until its context ends.

    ``uri``: the destination's libvirt as the source's libvirtd opens it. ``memory_uri``, ``disks_uri``: ``unix://PATH``
    (the same path on both hosts: listen there on the destination, connect there on the source) or ``tcp://…``.
    ``directory``: a directory of this job on both hosts that QEMU's user may enter ("" for ``direct``).
    ``parameters``, ``flags``: what else ``jobs.Migrations.migrate`` gets. ``survives_controller``: a migration under
    way goes on when the controller dies.
    """

    path: Path
    uri: str
    memory_uri: str
    disks_uri: str
    directory: str
    survives_controller: bool
    parameters: Mapping[str, object] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()

    @property
    def disks_socket(self) -> str:
        """The UNIX socket of ``disks_uri``, for whoever speaks NBD over the route itself (cold, warm); "" for TCP."""
        return self.disks_uri.removeprefix("unix://") if self.disks_uri.startswith("unix://") else ""


def open_route(path: Path, source: End, destination: End, job: str) -> AbstractAsyncContextManager[Route]:
    """Make the way of one job; ``path`` is not AUTO (``probe_paths`` and ``choose`` say which). Leaving the context
    takes everything away again, on both hosts.

    Raises NovaFleetError NF-MIG-101 … where it cannot be made.
    """
    raise NotImplementedError


async def close_route(source: End, destination: End, job: str) -> None:
    """Take away what a route of this job left behind when its controller died: directories, sockets, the key's line
    in authorized_keys, the unit. Convergent; nothing there is fine."""
    raise NotImplementedError


async def probe_paths(source: End, destination: End) -> Mapping[str, str]:
    """By path name (direct, tunnel, relay) why it cannot be used; empty: it can. Changes nothing."""
    raise NotImplementedError


def choose(paths: Mapping[str, str], wanted: Path, *, secure: bool) -> Path:
    """The path to take: the one asked for, else direct when it is ``secure`` (TLS), else tunnel, else relay.

    Raises ConfigError NF-MIG-102 when the one asked for cannot be used.
    """
    raise NotImplementedError

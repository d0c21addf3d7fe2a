"""The two hosts of a migration, as every part of it meets them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from novafleet.model.fleet import Host
from novafleet.model.migration import Phase
from novafleet.ports import HostSession, Hypervisor, Json

Note = Callable[[Phase, Mapping[str, Json]], Awaitable[None]]
"""Write down, durably before it returns, what comes next; what was noted before of the same key is replaced."""
Tell = Callable[[str, int, int], None]
"""Progress for people: what goes on, bytes done, bytes in all (0: unknown)."""


class End(Protocol):
    """One host, fenced by the lease ``vm.DOMAIN`` there. An ``ActionContext`` is one."""

    @property
    def host(self) -> Host:
        """Its inventory entry."""

    @property
    def session(self) -> HostSession:
        """Its SSH session; commands with ``mutates`` are refused once the lease is lost."""

    @property
    def hypervisor(self) -> Hypervisor:
        """Its libvirt."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Both hosts of one VM's migration, and where to write down and tell what happens."""

    source: End
    destination: End
    note: Note
    tell: Tell

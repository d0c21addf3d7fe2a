"""What a drill is asked for, and what one is about to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.errand import Work
from novafleet.app.restore import Party, RestoreRequest, party_on
from novafleet.app.wiring import World
from novafleet.model.backup import Snapshot
from novafleet.model.environment import Gate
from novafleet.model.facts import HostFacts
from novafleet.model.fleet import Host
from novafleet.plan.storage import DEFAULT_POOL
from novafleet.repository import KeySource, Repository


@dataclass(frozen=True, slots=True)
class DrillRequest:
    """``vm`` as ``restorepoint.choose`` understands it. The gates: ``gates``, or those of the VM or stack in ``file``,
    or what a VM can be asked: its agent if it answered when it was backed up, else a word on its serial console. Of a
    stack in any case that its containers are well."""

    inventory: tuple[Path, ...]
    repository: str
    key: KeySource
    vm: str
    host: str = ""
    file: Path | None = None
    gates: tuple[Gate, ...] = ()
    pool: str = DEFAULT_POOL
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Drill:
    """One that is about to begin: ``work`` on ``name``, under the lease ``scope`` (empty: the VM's)."""

    party: Party
    name: str
    work: Work
    scope: str = ""


def asked(world: World, request: DrillRequest) -> Sequence[Host]:
    """The host that was named, or all of them."""
    hosts = world.fleet.hosts
    return [hosts[request.host]] if request.host in hosts else list(hosts.values())


async def party_for(
    world: World, repository: Repository, request: DrillRequest, snapshot: Snapshot, host: HostFacts
) -> Party:
    """Everything a drill on a host needs. Raises the error of a host that cannot be reached."""
    wanted = RestoreRequest(
        request.inventory, request.repository, request.key, snapshot.id, host.host, lock_wait=request.lock_wait
    )
    return await party_on(world, repository, wanted, snapshot, host)

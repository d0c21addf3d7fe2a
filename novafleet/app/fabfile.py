"""The fleet for a user's fabfile (``pip install 'novafleet[fabric]'``); see docs/guides/fabric.md."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from novafleet.app.passwords import password_of
from novafleet.app.wiring import Places
from novafleet.inventory import load_fleet, select
from novafleet.model.fleet import Fleet, Host
from novafleet.transport.fabric import FleetGroup, connection
from novafleet.transport.resolve import Resolver
from novafleet.transport.target import SshTarget


def fleet(inventory: str | Path, pattern: str = "all") -> FleetGroup:
    """Fabric connections to the hosts a pattern selects (``web:&prod:!kvm3``), as one Fabric group.

    Each logs in as NovaFleet does: inventory, ssh_config, jump hosts, keys, and the same trust in host keys. Nothing is
    connected yet. Raises ConfigError for what is wrong with the inventory or the pattern.
    """
    known, own = load_fleet([Path(inventory)]), Places.of_user().known_hosts
    hosts = select(known, pattern)
    targets = asyncio.run(_targets(known, own, hosts))
    agent = os.environ.get("SSH_AUTH_SOCK", "")
    return FleetGroup.of(
        connection(target, own, agent=agent, sudo=password_of(host) if host.become.password else None)
        for host, target in zip(hosts, targets, strict=True)
    )


async def _targets(known: Fleet, own: Path, hosts: Sequence[Host]) -> Sequence[SshTarget]:
    resolver = Resolver(known, own)
    return await asyncio.gather(*(resolver.target(host) for host in hosts))

"""``host ls``, ``host show``, ``host why``: what the inventory says. No host is contacted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from novafleet import inventory as inventories
from novafleet.inventory import Why, host_of, load_fleet, select
from novafleet.model.fleet import Host


def ls(inventory: Sequence[Path], limit: str = "") -> tuple[Host, ...]:
    """The selected hosts in the pattern's order, all of them in inventory order. Raises ConfigError."""
    return select(load_fleet(inventory), "all", limit)


def show(inventory: Sequence[Path], name: str) -> Host:
    """One host. Raises ConfigError NF-INV-017 for an unknown one."""
    return host_of(load_fleet(inventory), name)


def why(inventory: Sequence[Path], name: str, var: str) -> Why:
    """Where a value of a host comes from. Raises ConfigError NF-INV-017."""
    return inventories.why(load_fleet(inventory), name, var)

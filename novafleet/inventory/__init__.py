"""The inventory: which hosts there are, how each is reached, and which file and line says so.

NovaFleet's YAML and Ansible's YAML, INI and dynamic inventories become one ``Fleet``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from novafleet.errors import ConfigError
from novafleet.inventory import sources
from novafleet.inventory.explain import Origin, Why, host_of, why
from novafleet.inventory.merge import merge
from novafleet.inventory.pattern import select
from novafleet.model.fleet import Fleet

log = logging.getLogger(__name__)

__all__ = ["Origin", "Why", "host_of", "load_fleet", "select", "why"]


def load_fleet(paths: Sequence[Path]) -> Fleet:
    """Read inventory files and directories; of equals the later path wins. Programs among them are run.

    What is read but not as its author may think is logged as a warning, and kept in ``Fleet.notices``.
    Raises ConfigError, or ConfigErrors with everything that is wrong (NF-INV-*, NF-CFG-*), each with file:line:column.
    """
    if not paths:
        raise ConfigError("no inventory is named", code="NF-INV-001", hints=("name one: novafleet -i PATH …",))
    fleet = merge(sources.read(paths))
    for notice in fleet.notices:
        log.warning("%s: %s", notice.source, notice.text)
    return fleet

"""A guest that arrives finds a gateway of the same address whose hardware address is another one: networks of libvirt
are a bridge a host. Until its own entry for it is too old, half a minute, nothing it sends gets anywhere."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.guest import read
from novafleet.capability.migration.scripts import script
from novafleet.errors import NovaFleetError
from novafleet.model.command import Command
from novafleet.model.migration import Move

log = logging.getLogger(__name__)

LISTED = ("ip", "neigh", "show")
ON_BRIDGE = frozenset(("network", "bridge"))
TIMEOUT = 10.0
Neighbour = tuple[str, str]
"""An address and its MAC."""


async def neighbours(source: End, move: Move) -> Sequence[Neighbour]:
    """What the source knows of the guest; nothing where that cannot be learnt, for no migration fails by it."""
    macs = {nic.mac.lower() for nic in read(move.xml).nics if nic.kind in ON_BRIDGE}
    if not macs:
        return ()
    try:
        done = await source.session.run(Command(LISTED, become=True), timeout=TIMEOUT, check=False)
    except NovaFleetError as error:
        log.info("%s: the addresses of %s are not known: %s", source.host.name, move.domain, error)
        return ()
    return tuple(each for each in _listed(done.text) if each[1] in macs)


def _listed(text: str) -> Iterator[Neighbour]:
    """Of ``ADDRESS dev BRIDGE lladdr MAC STATE`` lines."""
    for line in text.splitlines():
        words = line.split()
        if "lladdr" in words[:-1] and _is_address(words[0]):
            yield words[0], words[words.index("lladdr") + 1].lower()


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_link_local
    except ValueError:
        return False


async def greet(destination: End, move: Move, known: Sequence[Neighbour]) -> None:
    """Have the destination ask the guest for the addresses ``known`` of it (ARP, RFC 826: who is asked learns who
    asks), where they belong to the bridge it is on now. A guest that is not reached by that waits, as without it."""
    if not known:
        return
    try:
        bridges = _bridges(await destination.hypervisor.running_xml(move.domain))
        words = [word for address, mac in known if mac in bridges for word in (address, mac, bridges[mac])]
        if words:
            await destination.session.run(script("greet.sh", *words, mutates=True), timeout=TIMEOUT, check=False)
    except NovaFleetError as error:
        log.info("%s: %s was not greeted: %s", destination.host.name, move.domain, error)


def _bridges(xml: str) -> dict[str, str]:
    """By MAC, those of what runs."""
    found = {}
    for card in ElementTree.fromstring(xml).iterfind("devices/interface") if xml else ():
        mac, source = card.find("mac"), card.find("source")
        if mac is not None and source is not None and source.get("bridge"):
            found[mac.get("address", "").lower()] = source.get("bridge", "")
    return found

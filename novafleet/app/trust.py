"""``host trust``: the keys hosts present, how they compare with those known, and remembering them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from novafleet.app.passwords import password_of
from novafleet.app.wiring import Places
from novafleet.errors import NovaFleetError
from novafleet.inventory import load_fleet, select
from novafleet.model.fleet import Host
from novafleet.transport.fanout import fan_out
from novafleet.transport.pool import SshPool
from novafleet.transport.target import SshTarget
from novafleet.transport.trust import HostKey, OwnKnownHosts, known_keys

FORKS = 50


class Standing(StrEnum):
    """A presented key: vouched for, never seen, other than the one known, or not to be had."""

    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Offer:
    """What one host presents. ``expected`` lists the known keys with their file:line when it changed."""

    host: str
    standing: Standing
    name: str = ""
    port: int = 22
    key: str = ""
    fingerprint: str = ""
    expected: tuple[str, ...] = ()
    error: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Offers:
    """All of them, in inventory order; ``file`` is where NovaFleet remembers keys."""

    offers: tuple[Offer, ...]
    file: Path

    @property
    def failed(self) -> tuple[Offer, ...]:
        """Hosts that presented no key."""
        return tuple(offer for offer in self.offers if offer.standing is Standing.FAILED)

    @property
    def changed(self) -> tuple[Offer, ...]:
        """Hosts whose key is another than the one known."""
        return tuple(offer for offer in self.offers if offer.standing is Standing.CHANGED)

    def fresh(self, *, replace: bool) -> tuple[Offer, ...]:
        """What ``remember`` would write."""
        wanted = {Standing.NEW, Standing.CHANGED} if replace else {Standing.NEW}
        return tuple(offer for offer in self.offers if offer.standing in wanted)


async def fetch(inventory: Sequence[Path], limit: str = "") -> Offers:
    """Ask the selected hosts for their keys; jump hosts in front of them must be trusted already."""
    fleet = load_fleet(inventory)
    places = Places.of_user()
    async with SshPool(fleet, known_hosts=places.known_hosts, passwords=password_of) as pool:

        async def work(host: Host) -> Offer:
            try:
                return _offer(host, *await pool.host_key(host), places.known_hosts)
            except NovaFleetError as error:
                return Offer(host.name, Standing.FAILED, error=error.at(host.name).finding())

        offers = await fan_out(select(fleet, "all", limit), work, forks=FORKS)
    return Offers(offers, places.known_hosts)


def remember(offers: Offers, *, replace: bool = False) -> None:
    """Write the new keys to NovaFleet's own file, with ``replace`` also changed ones. Raises NF-SSH-206."""
    own = OwnKnownHosts(offers.file)
    for offer in offers.fresh(replace=replace):
        own.add(offer.name, offer.port, HostKey.parse(offer.key))


def _offer(host: Host, target: SshTarget, key: HostKey, own: Path) -> Offer:
    name = target.host_key_alias or target.host
    known = known_keys(target, own)
    if host.fingerprint:
        standing = Standing.KNOWN if key.fingerprint == host.fingerprint else Standing.CHANGED
        expected: tuple[str, ...] = (f"{host.fingerprint} ({host.source})",)
    else:
        other = Standing.CHANGED if known.keys and known.firm else Standing.NEW
        standing = Standing.KNOWN if key in known.keys else other
        expected = known.expected()
    shown = expected if standing is Standing.CHANGED else ()
    return Offer(host.name, standing, name, target.port, str(key), key.fingerprint, shown)

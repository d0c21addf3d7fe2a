"""Running guests carried from host to host: by every path, between QEMU 7.2 and 10.0, without a write lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import pytest

from novafleet.capability.migration.commit import commit
from novafleet.capability.migration.live import Moved, migrate_live
from novafleet.capability.migration.prepare import prepare
from novafleet.capability.migration.route import open_route
from novafleet.model.migration import Mode, Move, Path
from tests.lab.movebench import Road, Traveller, road
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
PAIRS = (("kvm1", "kvm2"), ("kvm2", "kvm1"), ("kvm2", "kvm3"), ("kvm3", "kvm2"))
TRACES = """\
cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null | sha256sum
ls -A /root/.ssh /home/*/.ssh 2>/dev/null
ss -Hltn | awk '{print $4}' | sort
ls -A /run/novafleet/migrate 2>/dev/null
systemctl list-units --all --plain --no-legend 'novafleet-migrate-*'
"""


class Pinned(Traveller):
    """Of a machine type that every QEMU here has: a guest made on 10.0 could not go to 7.2."""

    def _xml(self) -> Element:
        root = super()._xml()
        found = root.find("os/type")
        assert found is not None
        found.set("machine", "pc-i440fx-7.2")
        return root


def traces(lab: Lab, *hosts: str) -> list[str]:
    """What a data path could leave behind: keys, listening ports, sockets, units."""
    return [lab.on(host, "sh", "-c", TRACES) for host in hosts]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """From where to where."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def guest(lab: Lab, pair: tuple[str, str]) -> Iterator[Traveller]:
    """A VM on the first host of the pair, that counts."""
    vm = Pinned(lab, f"ma-{'-'.join(pair)}")
    for host in pair:
        vm.remove(host)
    vm.create(pair[0])
    vm.start(pair[0])
    yield vm
    for host in pair:
        vm.remove(host)


async def travel(way: Road, move: Move, mode: Mode = Mode.LIVE, path: Path = Path.RELAY) -> Moved:
    """Prepared, carried, and let go of by the source."""
    await prepare(way.ends, move)
    async with open_route(path, way.ends.source, way.ends.destination, move.job) as route:
        moved = await migrate_live(way.ends, move, route, mode)
    await commit(way.ends, move, mode)
    return moved


async def test_live_with_its_own_disks_through_the_controller(
    lab: Lab, guest: Traveller, pair: tuple[str, str]
) -> None:
    here, there = pair
    before = traces(lab, *pair)
    async with road(here, there) as way:
        moved = await travel(way, guest.move(here, there, Mode.LIVE, running=True))
    print(moved.downtimes, moved.final)
    last = guest.said(here)
    await asyncio.to_thread(guest.counts, there, last)
    assert "goes on" not in lab.on(there, "cat", guest.log), "it was booted, not moved"
    assert (guest.state(here), guest.state(there)) == ("", "running")
    assert moved.downtimes["libvirt"] > 0
    assert moved.downtimes["events"] > 0
    assert traces(lab, *pair) == before

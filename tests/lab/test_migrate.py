"""Running guests carried from host to host: by every path, between QEMU 7.2 and 10.0, without a write lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.lab.movebench import POOL, SHARED, VIRSH, OnShared, Pinned, Traveller
from tests.labfixture import ROOT, Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
PAIRS = (("kvm1", "kvm2"), ("kvm2", "kvm1"), ("kvm2", "kvm3"), ("kvm3", "kvm2"))
TRACES = """\
cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys 2>/dev/null
ls -A /root/.ssh /home/*/.ssh 2>/dev/null
ss -Hltn | awk '{print $4}' | grep -vE '^(127.0.0.1|0.0.0.0|\\[::\\]):59[0-9][0-9]$' | sort
ls -A /run/novafleet/migrate 2>/dev/null
systemctl list-units --all --plain --no-legend 'novafleet-migrate-*'
"""
"""What a data path could leave behind: keys, listening ports (but for VNC), sockets, units."""
WALL = "nft add table inet ma; nft add chain inet ma in '{ type filter hook input priority -5; }'; \
for peer; do nft add rule inet ma in ip saddr \"$peer\" drop; done"
NETWORK = """\
own=$1 && shift
ip link del ma-br 2>/dev/null; ip link del ma-vx 2>/dev/null
ip link add ma-br type bridge && ip link add ma-vx type vxlan id 77 dstport 4790 dev eth0
ip link set ma-vx master ma-br
ip link set ma-vx up && ip link set ma-br up && ip addr add "10.77.0.$own/24" dev ma-br
for peer; do bridge fdb append 00:00:00:00:00:00 dev ma-vx dst "$peer"; done
"""
NAT = """\
virsh -q -c qemu:///system net-create /dev/stdin <<XML
<network><name>ma-nat</name><forward mode="nat"/><bridge name="ma-nat" stp="off" delay="0"/>
<ip address="10.78.0.1" netmask="255.255.255.0"/></network>
XML
"""
NO_NAT = "virsh -q -c qemu:///system net-destroy ma-nat 2>/dev/null; :"
NO_NETWORK = "ip link del ma-br; ip link del ma-vx; :"
FALL = "nft delete table inet ma 2>/dev/null; :"


class Reachable(Pinned):
    """On a network that all hosts are on."""

    address, mac = "10.77.0.9", "52:54:00:77:00:09"
    source = "bridge", "ma-br"
    calls = ""
    """Whom it pings."""

    def _xml(self) -> Element:
        root = super()._xml()
        devices = root.find("devices")
        assert devices is not None
        kind, name = self.source
        card = SubElement(devices, "interface", type=kind)
        SubElement(card, "mac", address=self.mac)
        SubElement(card, "source", {kind: name})
        SubElement(card, "model", type="virtio")
        return root

    def _user_data(self) -> bytes:
        network = f"ip link set eth0 up; ip addr add {self.address}/24 dev eth0; "
        network += f"setsid ping {self.calls} >/dev/null 2>&1 & " if self.calls else ""
        return super()._user_data().replace(b"setsid sh /run/count", network.encode() + b"setsid sh /run/count")


class BehindNat(Reachable):
    """On a network of libvirt's, of which every host has its own; it talks to its gateway all the time."""

    address, mac, source, calls = "10.78.0.9", "52:54:00:78:00:09", ("network", "ma-nat"), "10.78.0.1"


@dataclass
class Fleet:
    """NovaFleet's command line, a guest that counts, and the hosts it goes between."""

    lab: Lab
    home: Path
    guest: Traveller
    hosts: tuple[str, ...]

    def command(self, *words: str) -> list[str]:
        inventory = str(self.lab.inventory)
        return [sys.executable, "-m", "novafleet", "-i", inventory, "migrate", *words, "-o", "json"]

    def run(self, *words: str, status: int = 0) -> Any:
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=fleet_environment(self.home),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout)

    def move(self, here: str, there: str, *words: str) -> Any:
        """There and counting: every number that was said is on the disk, and only one guest says any."""
        last = self.guest.said(here)
        told = self.run(f"{here}/{self.guest.name}", "--to", there, "--yes", *words)
        print({key: told[key] for key in ("mode", "path", "total_ms", "downtimes")})
        assert (told["source"], told["destination"], told["verified"]) == (here, there, True)
        assert told["undo_until"] > time.time()
        self.guest.counts(there, beyond=last)
        assert (self.guest.state(here), self.guest.state(there)) == ("", "running")
        return told

    def traces(self) -> list[str]:
        return [self.lab.on(host, "sh", "-c", TRACES) for host in self.hosts]

    def nothing_stays(self, before: list[str]) -> None:
        """Of ours; others come and go on these hosts meanwhile."""

        def new() -> list[set[str]]:
            pairs = zip(before, self.traces(), strict=True)
            return [set(after.splitlines()) - set(then.splitlines()) for then, after in pairs]

        self.until(lambda: not any(new()))

    def until(self, condition: Callable[[], Any], seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never came to be"
            time.sleep(0.1)

    def killed(self, here: str, there: str, *words: str) -> None:
        """Started, and killed with -9 while the memory or the disks are under way."""
        command = self.command(f"{here}/{self.guest.name}", "--to", there, "--yes", *words)
        with subprocess.Popen(
            command, cwd=ROOT, env=fleet_environment(self.home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            try:
                self.until(lambda: "Unbounded" in self.lab.on(here, *VIRSH, "domjobinfo", self.guest.name, check=False))
                assert running.poll() is None, "it ended before it was killed"
            finally:
                running.kill()


def made(lab: Lab, home: Path, guest: Traveller, *hosts: str) -> Iterator[Fleet]:
    for host in hosts:
        guest.remove(host)
    guest.create(hosts[0])
    guest.start(hosts[0])
    yield Fleet(lab, home, guest, hosts)
    for host in hosts:
        guest.remove(host)
        lab.on(host, "sh", "-c", 'rm -f "$1"', "sh", guest.log)


@pytest.fixture(
    params=[PAIRS[0], *(pytest.param(each, marks=pytest.mark.thorough) for each in PAIRS[1:])], ids="-".join
)
def pair(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on the first of two hosts."""
    yield from made(lab, fleet_home, Pinned(lab, f"ma-{'-'.join(request.param)}"), *request.param)


@pytest.fixture
def fleet(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on kvm2."""
    yield from made(lab, fleet_home, Pinned(lab, "ma-guest"), "kvm2", "kvm1", "kvm3")


@pytest.fixture
def shared(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on kvm2 whose disks are on what all hosts share."""
    yield from made(lab, fleet_home, OnShared(lab, "ma-shared"), "kvm2", "kvm1", "kvm3")


@pytest.mark.disturbs
def test_live_with_its_own_disks_through_the_controller(pair: Fleet) -> None:
    here, there = pair.hosts
    before = pair.traces()
    told = pair.move(here, there, "--mode", "live", "--path", "relay")
    assert "goes on" not in pair.lab.on(there, "cat", pair.guest.log), "it was booted, not moved"
    assert (told["mode"], told["path"]) == ("live", "relay")
    assert told["downtimes"].keys() >= {"libvirt", "events"}
    assert pair.run("history")["migrations"][-1]["foretold_seconds"] > 0, "its figures did not come while it moved"
    pair.nothing_stays(before)


@pytest.mark.disturbs
def test_tunnels_and_ports_between_the_hosts_leave_nothing(fleet: Fleet) -> None:
    """Into a user who is not root and out of one, too: kvm3 logs in as ``ops``."""
    before = fleet.traces()
    ways = (("kvm2", "kvm3", "tunnel"), ("kvm3", "kvm1", "tunnel"), ("kvm1", "kvm2", "direct"))
    for here, there, path in ways:
        assert fleet.move(here, there, "--mode", "live", "--path", path)["path"] == path
    fleet.nothing_stays(before)


@pytest.mark.thorough
def test_shared_disks_stay_where_they_are(shared: Fleet) -> None:
    before = shared.lab.on("kvm1", "sh", "-c", 'ls -i "$1"', "sh", SHARED)
    for here, there in (("kvm2", "kvm1"), ("kvm1", "kvm3"), ("kvm3", "kvm2")):
        shared.move(here, there, "--mode", "live", "--path", "relay")
    assert shared.lab.on("kvm1", "sh", "-c", 'ls -i "$1"', "sh", SHARED) == before


def test_postcopy_or_the_reason_why_not(fleet: Fleet) -> None:
    label = f"kvm2/{fleet.guest.name}"
    told = fleet.run(label, "--to", "kvm3", "--mode", "auto", "--plan")
    why = told["paths"]["postcopy"]
    if why:
        refused = fleet.run(label, "--to", "kvm3", "--mode", "postcopy", "--yes", status=1)
        assert "NF-MIG-104" in json.dumps(refused)
        assert fleet.guest.state("kvm2") == "running"
        pytest.skip(why)
    assert fleet.move("kvm2", "kvm3", "--mode", "postcopy")["mode"] == "postcopy"


@pytest.fixture
def reachable(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on kvm2 that every host reaches, over a network that lies on that of the hosts."""
    numbers = {name: host.number for name, host in lab.hosts.items()}
    for name, number in numbers.items():
        peers = [f"172.31.250.1{other}" for other in numbers.values() if other != number]
        lab.on(name, "sh", "-c", NETWORK, "sh", str(number), *peers)
    yield from made(lab, fleet_home, Reachable(lab, "ma-reachable"), "kvm2", "kvm3")
    for name in numbers:
        lab.on(name, "sh", "-c", NO_NETWORK)


@pytest.mark.thorough
def test_a_third_host_sees_the_pause(reachable: Fleet) -> None:
    """The guest's address is learnt from the source's neighbours, who asked it once."""
    reachable.lab.on("kvm2", "ping", "-c", "3", Reachable.address)
    told = reachable.move("kvm2", "kvm3", "--mode", "live", "--path", "relay")
    assert told["downtimes"].keys() == {"libvirt", "events", "probe"}
    assert told["downtime_ms"] == max(told["downtimes"].values())


@pytest.fixture
def behind_nat(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on kvm2 whose gateway has the same address on every host, and another hardware address."""
    for name in ("kvm2", "kvm3"):
        lab.on(name, "sh", "-c", f"{NO_NAT}; {NAT}")
    yield from made(lab, fleet_home, BehindNat(lab, "ma-nat"), "kvm2", "kvm3")
    for name in ("kvm2", "kvm3"):
        lab.on(name, "sh", "-c", NO_NAT)


def test_the_gateway_of_its_new_host_is_known_to_the_guest_at_once(behind_nat: Fleet) -> None:
    """The worst case: the destination has known the guest for a moment, and so has no reason to ask for it."""
    guest = behind_nat.guest
    assert isinstance(guest, BehindNat)
    ping = ("ping", "-c", "1", "-W", "1", guest.address)
    known = ("ip", "neigh", "replace", guest.address, "lladdr", guest.mac, "dev", "ma-nat", "nud", "reachable")
    behind_nat.until(lambda: "1 received" in behind_nat.lab.on("kvm2", *ping, check=False))
    behind_nat.lab.on("kvm3", *known)
    behind_nat.run(f"kvm2/{guest.name}", "--to", "kvm3", "--mode", "live", "--path", "relay", "--yes")
    behind_nat.until(lambda: "1 received" in behind_nat.lab.on("kvm3", *ping, check=False), seconds=5)


@pytest.mark.disturbs
@pytest.mark.thorough
def test_hosts_that_cannot_reach_each_other(fleet: Fleet) -> None:
    """Only sshd, only from the controller: every mode still works, and nothing about the hosts has changed."""
    walled = {"kvm2": "172.31.250.13", "kvm3": "172.31.250.12"}
    before = fleet.traces()
    try:
        for host, peer in walled.items():
            fleet.lab.on(host, "sh", "-c", WALL, "sh", peer)
        told = fleet.run(f"kvm2/{fleet.guest.name}", "--to", "kvm3", "--mode", "live", "--plan")
        assert told["paths"]["tunnel"]
        assert told["paths"]["direct"]
        assert told["path"] == "relay"
        for here, there, mode in (("kvm2", "kvm3", "live"), ("kvm3", "kvm2", "warm"), ("kvm2", "kvm3", "cold")):
            assert fleet.move(here, there, "--mode", mode)["mode"] == mode
        fleet.run("undo", f"kvm3/{fleet.guest.name}", "--yes")
        assert fleet.guest.state("kvm2") == "running"
    finally:
        for host in walled:
            fleet.lab.on(host, "sh", "-c", FALL)
    assert fleet.traces() == before


@pytest.mark.disturbs
@pytest.mark.thorough
def test_a_controller_killed_in_a_relay_leaves_the_guest_where_it_was(fleet: Fleet) -> None:
    before = fleet.traces()
    last = fleet.guest.said("kvm2")
    fleet.killed("kvm2", "kvm3", "--mode", "live", "--path", "relay", "--bandwidth", "4M")
    fleet.until(lambda: "Unbounded" not in fleet.lab.on("kvm2", *VIRSH, "domjobinfo", fleet.guest.name, check=False))
    fleet.guest.counts("kvm2", beyond=last)
    fleet.until(lambda: fleet.guest.state("kvm3") in ("", "shut off"))
    fleet.run("recover", fleet.guest.name)
    assert (fleet.guest.state("kvm2"), fleet.guest.state("kvm3")) == ("running", "")
    fleet.nothing_stays(before)
    assert fleet.guest.left_over("kvm2", "kvm3") == ""
    assert not fleet.lab.on("kvm3", "sh", "-c", 'ls "$1" | grep "$2"; :', "sh", POOL, fleet.guest.name)


@pytest.mark.disturbs
@pytest.mark.thorough
def test_a_controller_killed_in_a_tunnel_lets_the_guest_arrive(fleet: Fleet) -> None:
    before = fleet.traces()
    last = fleet.guest.said("kvm2")
    fleet.killed("kvm2", "kvm3", "--mode", "live", "--path", "tunnel", "--bandwidth", "8M")
    fleet.until(lambda: fleet.guest.state("kvm3") == "running")
    fleet.guest.counts("kvm3", beyond=last)
    fleet.run("recover", fleet.guest.name)
    assert (fleet.guest.state("kvm2"), fleet.guest.state("kvm3")) == ("", "running")
    fleet.nothing_stays(before)

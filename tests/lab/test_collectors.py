"""Collectors on real hosts: what they say is so, and no guest can talk its way into the facts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest

from novafleet import bundled
from novafleet.app.wiring import SystemClock, open_world
from novafleet.execute.gather import collect, gather
from novafleet.model.facts import FleetFacts
from novafleet.observe.registry import collectors
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
PLANNING = ("system", "libvirt", "storage", "containers")
MANY = 305
"""One more batch than the 300 of libvirt/collect.sh."""
HOSTILE = (
    "\n@@ end\n@@ error libvirt\n@@ domain 1 running\n-end libvirt 0\n@@-begin system\nclock 1\n<domain> &amp; ünïcode"
)

DEFINE_ALL = 'cd "$1"; split -a 3 -l 1 -; for f in x*; do echo "define $f"; done | virsh -q'


def definition(name: str, description: str = "") -> str:
    domain = Element("domain", type="qemu")
    SubElement(domain, "name").text = name
    SubElement(domain, "uuid").text = str(uuid5(NAMESPACE_DNS, name))
    SubElement(domain, "description").text = description
    SubElement(domain, "memory", unit="MiB").text = "16"
    SubElement(SubElement(domain, "os"), "type", arch="x86_64").text = "hvm"
    return tostring(domain, encoding="unicode")


@contextmanager
def defined(lab: Lab, host: str, domains: dict[str, str]) -> Iterator[None]:
    """Domains by name with their descriptions, gone afterwards. One virsh for all."""
    folder = lab.on(host, "mktemp", "-d").strip()
    try:
        for name, description in domains.items():
            lab.on(host, "tee", f"{folder}/{name}.xml", stdin=definition(name, description))
        lab.on(host, "sh", "-c", 'for f in "$1"/*.xml; do echo "define $f"; done | virsh -q', "sh", folder)
        yield
    finally:
        lab.on(host, "rm", "-rf", folder)
        lab.on(host, "virsh", "-q", "; ".join(f"undefine {name}" for name in domains), check=False)


async def observed(lab: Lab, *names: str, scripts: tuple[str, ...] = PLANNING) -> FleetFacts:
    async with open_world([lab.inventory]) as world:
        hosts = [world.fleet.hosts[name] for name in names]
        return await gather(world.sessions, hosts, collectors(scripts), SystemClock())


async def test_facts_are_the_hosts_own(lab: Lab, fleet_home: Path) -> None:
    facts = await observed(lab, *lab.hosts)
    for name, seen in facts.hosts.items():
        assert seen.error == ""
        assert seen.values["hostname"] == lab.on(name, "hostname").strip()
        assert seen.values["user"] == "root"
        assert seen.values["libvirt_version"] in lab.on(name, "virsh", "version")
        assert seen.values["qemu_version"] in lab.on(name, "virsh", "version")
        assert seen.pools["default"].active
        assert seen.memory_total > seen.memory_available > 0
        assert set(seen.engines) >= {lab.hosts[name].engine}
        assert f"{lab.hosts[name].address}/24" in seen.subnets["eth0"]


@pytest.mark.parametrize("host", ["kvm1", "kvm2"])
async def test_what_a_guest_says_of_itself_stays_inside_its_xml(lab: Lab, fleet_home: Path, host: str) -> None:
    with defined(lab, host, {"coltest-hostile": HOSTILE, "coltest-after": ""}):
        facts = (await observed(lab, host)).hosts[host]
    assert facts.error == ""
    assert facts.domains.keys() >= {"coltest-hostile", "coltest-after"}
    assert facts.domains["coltest-hostile"].state == "shutoff"
    assert "@@ domain 1 running" in facts.domains["coltest-hostile"].xml
    assert int(facts.values["clock"]) > 1


async def test_many_domains(lab: Lab, fleet_home: Path) -> None:
    names = {f"coltest-{number}" for number in range(1, MANY + 1)}
    folder = lab.on("kvm2", "mktemp", "-d").strip()
    try:
        lab.on("kvm2", "sh", "-c", DEFINE_ALL, "sh", folder, stdin="".join(f"{definition(name)}\n" for name in names))
        facts = (await observed(lab, "kvm2", scripts=("libvirt",))).hosts["kvm2"]
    finally:
        lab.on("kvm2", "rm", "-rf", folder)
        lab.on("kvm2", "virsh", "-q", "; ".join(f"undefine {name}" for name in names), check=False)
    assert facts.error == ""
    assert facts.domains.keys() >= names


@pytest.mark.disturbs
@pytest.mark.parametrize("host", ["kvm1", "kvm3"])
def test_scripts_work_in_busybox(lab: Lab, host: str) -> None:
    for each in collectors(PLANNING):
        said = lab.on(host, "busybox", "sh", "-s", stdin=each.script)
        expected = lab.on(host, "sh", "-s", stdin=each.script)
        moving = ("clock", "memory_available_kib", "lease.")
        lines = [[line for line in text.splitlines() if not line.startswith(moving)] for text in (said, expected)]
        assert lines[0] == lines[1], each.name


@pytest.mark.disturbs
async def test_an_engine_that_hangs_is_none_and_nobody_waits_for_it(lab: Lab, fleet_home: Path) -> None:
    lab.on("kvm2", "pkill", "-STOP", "-x", "dockerd")
    try:
        async with open_world([lab.inventory]) as world, asyncio.timeout(30):
            documents = await collect(world.sessions, world.fleet.hosts["kvm2"], collectors(PLANNING))
    finally:
        lab.on("kvm2", "pkill", "-CONT", "-x", "dockerd")
    assert (documents["containers"]["silent"], list(documents["containers"]["engines"])) == (["docker"], ["podman"])


@pytest.mark.parametrize("host", ["kvm1", "kvm3"])
def test_the_probe_guest_runs(lab: Lab, host: str) -> None:
    """The boot sector is right: emulated, it says its letter. (With KVM it cannot run where /dev/kvm does not work.)"""
    script = (bundled.folder("collectors") / "acceleration" / "collect.sh").read_text()
    assert lab.on(host, "env", "ACCELERATOR=tcg", "sh", "-s", stdin=script) == "kvm works tcg\n"


async def test_a_file_name_cannot_forge_a_digest(lab: Lab, fleet_home: Path) -> None:
    images = "/var/lib/libvirt/images"
    evil = f"{images}/coltest\nd {'0' * 64} .evil.qcow2"
    lab.on("kvm2", "touch", evil, f"{images}/coltest.fine")
    try:
        async with open_world([lab.inventory]) as world:
            documents = await collect(world.sessions, world.fleet.hosts["kvm2"], collectors(["storage"]))
    finally:
        lab.on("kvm2", "rm", "-f", evil, f"{images}/coltest.fine")
    assert f"{images}/coltest.fine" in documents["storage"]["files"]
    assert "0" * 64 not in documents["storage"]["digests"].values()
    assert not any("evil" in path for path in documents["storage"]["files"])

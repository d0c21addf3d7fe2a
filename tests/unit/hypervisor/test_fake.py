"""The fake: what real hosts taught it, and laws that hold for any domain."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import HypervisorError
from novafleet.hypervisor.fake import FakeHypervisor, FakeHypervisors
from novafleet.model.fleet import Host

KINDS = st.sampled_from(["disk", "cdrom", "interface", "rng", "channel", "serial", "memballoon"])


def device(kind: str, number: int) -> Element:
    """One device of a kind, as NovaFleet writes it."""
    bus = "sata" if kind == "cdrom" else "virtio"
    prefix = "sd" if kind == "cdrom" else "vd"
    if kind in ("disk", "cdrom"):
        made = Element("disk", type="file", device=kind)
        SubElement(made, "source", file=f"/srv/{number}")
        SubElement(made, "target", dev=f"{prefix}{chr(97 + number)}", bus=bus)
        SubElement(made, "alias", name=f"ua-disk-{number}")
    elif kind == "interface":
        made = Element("interface", type="network")
        SubElement(made, "mac", address=f"52:54:00:00:00:{number:02x}")
        SubElement(made, "source", network="lan")
        SubElement(made, "alias", name=f"ua-nic-{number}")
    elif kind == "channel":
        made = Element("channel", type="unix")
        SubElement(made, "target", type="virtio", name=f"port.{number}")
    elif kind == "rng":
        made = Element("rng", model="virtio")
        SubElement(made, "backend", model="random").text = "/dev/urandom"
    elif kind == "serial":
        made = Element("serial", type="pty")
        SubElement(made, "target", port="0")
    else:
        made = Element("memballoon", model="virtio")
    return made


def definition(kinds: list[str], machine: str = "q35") -> str:
    """A domain with those devices."""
    root = Element("domain", type="qemu")
    SubElement(root, "name").text = "db"
    SubElement(root, "memory", unit="MiB").text = "64"
    SubElement(SubElement(root, "os"), "type", arch="x86_64", machine=machine).text = "hvm"
    devices = SubElement(root, "devices")
    once = [kind for n, kind in enumerate(kinds) if kind not in ("serial", "memballoon") or kind not in kinds[:n]]
    devices.extend(device(kind, number) for number, kind in enumerate(once))
    return ElementTree.tostring(root, encoding="unicode")


def canonical(xml: str) -> str:
    return ElementTree.canonicalize(xml, strip_text=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(KINDS, max_size=12), st.sampled_from(["q35", "pc", "pc-q35-7.2"]))
async def test_any_definition_is_kept_and_its_completion_is_final(kinds: list[str], machine: str) -> None:
    fake = FakeHypervisor()
    given_xml = definition(kinds, machine)
    first = await fake.define_domain(given_xml)
    assert canonical((await fake.define_domain(first.xml)).xml) == canonical(first.xml)
    root, given_root = ElementTree.fromstring(first.xml), ElementTree.fromstring(given_xml)
    for path in ("disk/alias", "interface/alias", "disk/source", "interface/mac"):
        wanted = [each.attrib for each in given_root.iterfind(f"devices/{path}")]
        assert [each.attrib for each in root.iterfind(f"devices/{path}")] == wanted
    slots = [tuple(sorted(each.attrib.items())) for each in root.iterfind("devices/*/address")]
    assert len(slots) == len(set(slots))


@settings(max_examples=40, deadline=None)
@given(st.lists(KINDS, max_size=6))
async def test_detaching_what_was_attached_leaves_the_rest(kinds: list[str]) -> None:
    fake = FakeHypervisor()
    before = await fake.define_domain(definition(kinds))
    for made in (device("disk", 20), device("interface", 21)):
        xml = ElementTree.tostring(made, encoding="unicode")
        await fake.attach_device("db", xml, live=True)
        await fake.detach_device("db", xml, live=True)
    after = ElementTree.fromstring((await fake.domain("db")).xml)
    for port in after.findall("devices/controller[@model='pcie-root-port']"):  # ports stay, as on a real host
        after.find("devices").remove(port)  # type: ignore[union-attr]
    expected = ElementTree.fromstring(before.xml)
    for port in expected.findall("devices/controller[@model='pcie-root-port']"):
        expected.find("devices").remove(port)  # type: ignore[union-attr]
    assert canonical(ElementTree.tostring(after, "unicode")) == canonical(ElementTree.tostring(expected, "unicode"))


async def test_a_change_of_the_definition_only_reaches_the_guest_at_its_next_boot() -> None:
    fake = FakeHypervisor()
    await fake.define_domain(definition([]))
    await fake.start_domain("db")
    await fake.attach_device("db", ElementTree.tostring(device("disk", 0), "unicode"), live=False)
    assert "vda" in (await fake.domain("db")).xml
    assert "vda" not in fake.live_xml("db")
    await fake.destroy_domain("db")
    await fake.start_domain("db")
    assert "vda" in fake.live_xml("db")


async def test_a_refused_change_changes_neither_layer() -> None:
    fake = FakeHypervisor()
    await fake.define_domain(definition(["disk"]))
    await fake.start_domain("db")
    disk = ElementTree.tostring(device("disk", 0), "unicode")
    await fake.detach_device("db", disk, live=False)
    before = (await fake.domain("db")).xml, fake.live_xml("db")
    with pytest.raises(HypervisorError):
        await fake.attach_device("db", disk, live=True)
    assert ((await fake.domain("db")).xml, fake.live_xml("db")) == before


async def test_a_root_port_without_its_root_is_refused_as_libvirt_does() -> None:
    xml = definition([]).replace("<devices />", '<devices><controller type="pci" model="pcie-root-port"/></devices>')
    with pytest.raises(HypervisorError, match="must be model='pcie-root'") as caught:
        await FakeHypervisor().define_domain(xml)
    assert caught.value.code == "NF-LV-121"


async def test_a_guest_may_disobey_and_an_agent_may_answer() -> None:
    fake = FakeHypervisor(obedient=False)
    await fake.define_domain(definition([]))
    await fake.start_domain("db")
    await fake.shutdown_domain("db")
    assert (await fake.domain("db")).state == "running"
    fake.agents["db"] = lambda request: request.upper()
    assert await fake.agent("db", "ping") == "PING"
    fake.obedient = True
    await fake.shutdown_domain("db")
    assert ((await fake.domain("db")).state, (await fake.domain("db")).reason) == ("shutoff", "shutdown")


async def test_networks_and_pools_can_be_seen_and_hosts_are_apart() -> None:
    fakes = FakeHypervisors()
    hypervisor = await fakes.get(Host("a", "a"))
    await hypervisor.define_network("<network><name>lan</name><forward mode='nat'/></network>")
    await hypervisor.start_network("lan")
    await hypervisor.ensure_pool("images", "/srv")
    seen = fakes.hosts["a"]
    assert seen.networks["lan"].active
    assert "<nat>" in seen.networks["lan"].xml
    assert seen.pools["images"].path == "/srv"
    assert await fakes.get(Host("a", "a")) is hypervisor
    await fakes.get(Host("b", "b"))
    assert fakes.hosts["b"].networks == {}

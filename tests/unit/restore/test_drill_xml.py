"""A drill's networks and console."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from novafleet.capability.backup.drill_xml import drill_network, isolated
from novafleet.capability.backup.restore_xml import fit, memory_of
from tests.unit.restore.test_restore_xml import COPY, DOMAIN

NETWORK = """
<network><name>lan</name><uuid>1c5ba1d6-0000-4000-8000-000000000001</uuid><forward mode='nat'/>
  <bridge name='virbr5'/><mac address='52:54:00:00:00:01'/>
  <ip address='10.20.0.1' netmask='255.255.255.0'><dhcp><range start='10.20.0.2' end='10.20.0.254'/></dhcp></ip>
  <ip family='ipv6' address='fd00::1' prefix='64'/>
</network>
"""


def test_a_drills_network_leads_nowhere() -> None:
    root = ElementTree.fromstring(isolated("nfd-1", NETWORK, ["192.168.0.7/24", "nonsense"]))
    assert [child.tag for child in root] == ["name", "bridge", "ip"]
    assert root.find("ip/dhcp/range") is not None
    assert root.findtext("name") == "nfd-1"


def test_addresses_the_host_has_already_are_left_out() -> None:
    root = ElementTree.fromstring(isolated("nfd-1", NETWORK, ["10.20.0.9/16"]))
    assert root.find("ip") is None
    assert ElementTree.fromstring(isolated("nfd-1", "", [])).find("ip") is None


def test_names_fit_an_interface() -> None:
    assert len(drill_network("a-very-long-domain-name", "and-a-network")) <= 15
    assert drill_network("a", "x") != drill_network("b", "x")


def test_apart_a_copy_keeps_its_macs_and_its_console_is_logged() -> None:
    fitted = fit(
        DOMAIN.replace("<log file='/var/log/libvirt/qemu/web-serial.log' append='off'/>", ""), replace(COPY, apart=True)
    )
    root = ElementTree.fromstring(fitted.xml)
    assert fitted.macs == ("52:54:00:aa:00:01", "52:54:00:aa:00:02")
    assert root.find("devices/serial/log").attrib == {  # type: ignore[union-attr]
        "file": "/var/log/libvirt/qemu/copy-serial.log",
        "append": "off",
    }


def test_memory_in_any_unit() -> None:
    for text, size in (("<memory>1024</memory>", 1 << 20), ("<memory unit='MiB'>3</memory>", 3 << 20), ("", 0)):
        assert memory_of(f"<domain>{text}</domain>") == size

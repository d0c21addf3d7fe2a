"""Leases and names of a network, asked of libvirt's test driver."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import libvirt

from novafleet.hypervisor import networks
from novafleet.hypervisor.session import Handle


def test_one_of_two_addresses_of_a_name_is_deleted() -> None:
    connection = libvirt.open("test:///default")
    known = {name: getattr(libvirt, name) for name in dir(libvirt) if name.startswith("VIR_NETWORK_")}
    live = {  # the test driver knows no definition beside what runs
        "VIR_NETWORK_XML_INACTIVE": 0,
        "VIR_NETWORK_UPDATE_AFFECT_CONFIG": libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE,
    }
    handle = Handle(SimpleNamespace(**{**known, **live}), connection)
    first, second = (f'<host ip="192.168.122.{last}"><hostname>db</hostname></host>' for last in (5, 6))
    for entry in (first, second):
        networks.update_host(handle, "default", entry, add=True)
    networks.update_host(handle, "default", second, add=False)
    left = ElementTree.fromstring(connection.networkLookupByName("default").XMLDesc()).findall("dns/host")
    assert [each.get("ip") for each in left] == ["192.168.122.5"]

"""Definitions as others write them: what a backup leaves out of them, and what a restore makes of them."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from novafleet.capability.backup import xml
from novafleet.capability.backup.restore_xml import Abilities, NewDisk, Wish, abilities, fit, needs
from novafleet.errors import BackupError
from novafleet.plan.pins import Topology

UUID = "2b1c0e6e-0000-4000-8000-000000000001"
OTHER = "2b1c0e6e-0000-4000-8000-000000000002"
CAN = Abilities(frozenset(("pc-q35-10.0",)), "/usr/bin/qemu", kvm=True)
SAME = Wish("my vm", UUID, False, {"vda": NewDisk("/p/vda.qcow2", "qcow2")}, CAN)
COPY = replace(SAME, name="çopy & co", uuid=OTHER, copy=True, nvram="/nv")
APART = replace(COPY, apart=True, networks={"lan": "nfd-1", "eth0": "nfd-2"})
ROOT = """<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/p/x'/>
<target dev='vda' bus='virtio'/><serial>S1</serial><iotune><total_iops_sec>9</total_iops_sec></iotune></disk>"""


def domain(devices: str = "", head: str = "", root: str = ROOT) -> str:
    return f"""<domain type='kvm'><name>my vm</name><uuid>{UUID}</uuid>{head}
<os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os><devices>{root}{devices}</devices></domain>"""


def made(text: str, wish: Wish) -> tuple[Element, str]:
    fitted = fit(text, wish)
    return ElementTree.fromstring(fitted.xml), "\n".join(fitted.notes)


def attributes(root: Element, path: str) -> list[dict[str, str]]:
    return [each.attrib for each in root.findall(path)]


def disk(words: str, kind: str = "file", inside: str = "", device: str = "disk") -> str:
    return f"<disk type='{kind}' device='{device}'><source {words}/><target dev='vdb'/>{inside}</disk>"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (disk("file='/p/big'"), False),
        (disk("protocol='rbd' name='p/big'", "network"), False),
        (disk("pool='p' volume='big'", "volume"), False),
        (disk("dir='/srv/fat'", "dir", "<readonly/>"), True),
        (disk("file='/p/big'", inside="<transient/>"), True),
        (disk("file='/p/a.iso'", device="cdrom"), True),
        (disk("protocol='https' name='a.iso'", "network", device="cdrom"), True),
    ],
)
def test_a_copy_does_not_write_to_what_its_original_writes_to(given: str, kept: bool) -> None:
    for wish, stays in ((COPY, kept), (SAME, True)):
        root, notes = made(domain(given), wish)
        assert ([each.get("dev") for each in root.findall("devices/disk/target")] == ["vda", "vdb"]) is stays
        assert ("left out" in notes) is not stays


def test_what_is_not_changed_by_a_restore() -> None:
    more = "<watchdog model='i6300esb' action='reset'/><sound model='ich9'/><panic model='isa'/><shmem name='s'/>"
    head = "<metadata><l:os xmlns:l='http://libosinfo.org/'>x</l:os></metadata><iothreads>2</iothreads>"
    for wish in (SAME, COPY):
        root, notes = made(domain(more, head), wish)
        assert root.find("metadata/{http://libosinfo.org/}os") is not None
        assert [each.tag for each in root.findall("devices/*")] == ["disk", "watchdog", "sound", "panic", "shmem"]
        assert (root.findtext("devices/disk/serial"), root.findtext("iothreads"), notes) == ("S1", "2", "")
        assert attributes(root, "devices/disk/driver") == [{"name": "qemu", "type": "qcow2", "cache": "none"}]
        assert root.findtext("name") == wish.name


@pytest.mark.parametrize("place", ["disk", "source"])
def test_an_encrypted_disk_does_not_claim_to_be_one_afterwards(place: str) -> None:
    secret = "<encryption format='luks'><secret type='passphrase' uuid='s'/></encryption>"
    inside = secret if place == "disk" else ""
    text = ROOT.replace("<source file='/p/x'/>", f"<source file='/p/x'>{secret if not inside else ''}</source>{inside}")
    [found] = xml.disks_of(domain(root=text))
    root, notes = made(domain(root=text), SAME)
    assert found.encrypted
    assert root.find(".//encryption") is None
    assert "not encrypted" in notes


def test_a_lun_comes_back_as_a_disk() -> None:
    text = (
        "<disk type='block' device='lun' sgio='filtered' rawio='yes'><source dev='/dev/sdb'/><target dev='vda'/></disk>"
    )
    [found], _ = made(domain(root=text), SAME)[0].findall("devices/disk"), 0
    assert found.attrib == {"type": "file", "device": "disk"}


def test_a_copy_has_sockets_ports_and_addresses_of_its_own() -> None:
    given = """<serial type='unix'><source mode='bind' path='/run/vm/my vm.sock'/></serial>
<serial type='unix'><source mode='bind' path='/run/vm/com2'/></serial>
<serial type='tcp'><source mode='bind' host='0.0.0.0' service='4555'/><protocol type='telnet'/></serial>
<channel type='unix'><source mode='connect' path='/run/other'/></channel>
<graphics type='vnc' socket='/run/vnc'><listen type='socket' socket='/run/vnc'/></graphics>
<vsock model='virtio'><cid auto='no' address='3'/></vsock>
<memory model='nvdimm'><source><path>/srv/nv</path></source></memory>
<filesystem type='mount'><source dir='/srv/share'/><target dir='s'/></filesystem>"""
    root, notes = made(domain(given), COPY)
    assert [each.get("path") for each in root.findall("devices/serial/source")] == [
        "/run/vm/çopy & co.sock",
        "/run/vm/çopy & co-com2",
    ]
    assert [each.get("type") for each in root.findall("devices/serial")] == ["unix", "unix", "pty"]
    assert attributes(root, "devices/channel/source") == [{"mode": "connect", "path": "/run/other"}]
    assert attributes(root, "devices/graphics") == [{"type": "vnc"}]
    assert attributes(root, "devices/graphics/listen") == [{"type": "socket"}]
    assert attributes(root, "devices/vsock/cid") == [{"auto": "yes"}]
    assert root.find("devices/memory") is None
    assert all(word in notes for word in ("4555", "/srv/nv", "/srv/share"))
    root, notes = made(domain(given), SAME)
    assert (attributes(root, "devices/vsock/cid"), notes) == ([{"auto": "no", "address": "3"}], "")


def test_a_drill_reaches_nothing_beyond_its_networks() -> None:
    given = """<interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='eth0' mode='bridge'/></interface>
<interface type='network'><source network='lan'/><virtualport type='openvswitch'/><vlan><tag id='4'/></vlan></interface>
<interface type='user'/><interface type='ethernet'/><interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>
<filesystem><source dir='/srv/share'/></filesystem><hostdev mode='subsystem' type='usb'/><shmem name='s'/>"""
    assert needs(domain(given)).devices == {"eth0"}
    root, notes = made(domain(given), APART)
    assert attributes(root, "devices/interface/source") == [{"bridge": "nfd-2"}, {"network": "nfd-1"}]
    assert attributes(root, "devices/interface") == [{"type": "bridge"}, {"type": "network"}]
    assert [each.tag for each in root.findall("devices/*")] == ["disk", "interface", "interface", "serial"]
    assert root.find("devices/interface/vlan") is None
    assert notes.count("left out") == 6


def test_a_macvtap_card_goes_to_the_interface_asked_for() -> None:
    given = "<interface type='direct'><source dev='eth0' mode='bridge'/></interface>"
    root, _ = made(domain(given), replace(SAME, networks={"eth0": "eno1"}))
    assert attributes(root, "devices/interface/source") == [{"dev": "eno1", "mode": "bridge"}]


def test_pins_the_host_cannot_keep_are_dropped() -> None:
    head = """<vcpu cpuset='0-3'>2</vcpu><cputune>
<vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='1' cpuset='30'/></cputune>
<numatune><memory mode='strict' nodeset='1'/></numatune>"""
    can = replace(CAN, topology=Topology(frozenset(range(4)), frozenset((0,))))
    root, notes = made(domain(head=head), replace(SAME, abilities=can))
    assert attributes(root, "cputune/vcpupin") == [{"vcpu": "0", "cpuset": "1"}]
    assert (root.find("numatune/memory"), attributes(root, "vcpu")) == (None, [{"cpuset": "0-3"}])
    assert notes.count("not pinned") == 2
    capabilities = """<capabilities><host><topology><cells><cell id='0'><cpus><cpu id='7'/></cpus></cell></cells>
</topology></host><guest><arch name='x86_64'/></guest></capabilities>"""
    assert abilities(capabilities, domain()).topology == Topology(frozenset((7,)), frozenset((0,)))


def test_a_display_does_not_listen_on_an_address_of_the_old_host() -> None:
    given = """<graphics type='vnc' listen='10.0.0.1'><listen type='address' address='10.0.0.1'/></graphics>
<graphics type='spice' listen='10.0.0.2'/><graphics type='vnc' listen='::'/>
<graphics type='vnc' listen='10.0.0.1'><listen type='network' network='lan' address='10.0.0.1'/></graphics>
<serial type='udp'><source mode='bind' host='10.0.0.1' service='1'/></serial>"""
    root, notes = made(domain(given), replace(SAME, addresses=frozenset(("10.0.0.2",))))
    assert [each.get("listen") for each in root.findall("devices/graphics")] == [
        "127.0.0.1",
        "10.0.0.2",
        "::",
        "10.0.0.1",
    ]
    assert root.find("devices/graphics/listen[@address='127.0.0.1']") is not None
    assert attributes(root, "devices/serial/source")[0]["host"] == "127.0.0.1"
    assert notes == "the host has no 10.0.0.1: it listens on 127.0.0.1"
    assert made(domain(given), SAME)[1] == ""


def test_a_guest_is_told_that_it_goes_on_from_a_backup() -> None:
    root, _ = made(domain(head="<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>"), SAME)
    assert root.findtext("genid") == ""


def test_a_file_it_starts_with_is_missed_beforehand() -> None:
    head = "<sysinfo type='fwcfg'><entry name='opt/com.coreos/config' file='/srv/a.ign'/></sysinfo>"
    with pytest.raises(BackupError, match=r"/srv/a\.ign"):
        fit(domain(head=head), replace(SAME, missing=frozenset(("/srv/a.ign",))))


def test_what_a_backup_does_not_contain() -> None:
    given = """<filesystem><source dir='/srv/share'/></filesystem><filesystem><source socket='/run/fs'/></filesystem>
<memory model='nvdimm'><source><path>/srv/nv</path></source></memory><memory model='dimm'/>"""
    kinds = ("vhostuser", "dir", "nvme", "network")
    text = domain(given, root="".join(disk("type='x'", kind) for kind in kinds))
    assert {each.kind: bool(each.skip) for each in xml.disks_of(text)} == dict(zip(kinds, (1, 1, 0, 0), strict=True))
    assert set(xml.beside(text)) == {"/srv/share", "/run/fs", "/srv/nv"}


def test_media_of_a_pool_the_host_does_not_have_are_ejected() -> None:
    given = disk("pool='iso' volume='a.iso'", "volume", device="cdrom")
    assert "pool iso" in needs(domain(given)).files
    root, notes = made(domain(given), replace(SAME, missing=frozenset(("pool iso",))))
    assert root.find("devices/disk[@device='cdrom']/source") is None
    assert "pool iso is not on the host" in notes
    assert made(domain(given), SAME)[1] == ""

"""Definitions as others write them: virt-manager, Terraform, hands. What is said of each, and what arrives."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

import pytest

from novafleet.capability.migration.definition import arriving
from novafleet.capability.migration.observed import Image, Observed, Seen
from novafleet.model.facts import Domain, PoolFact
from novafleet.model.migration import Mode, Severity
from novafleet.plan.pins import Topology
from tests.unit.migration.dossiers import (
    CPU,
    DATA,
    DISKS,
    EMULATOR,
    GIB,
    NIC,
    POOL,
    ROOT,
    UUID,
    codes,
    dossier,
    here,
    observed,
    there,
    xml,
)

TPM = '<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>'
NVRAM_FILE, TPM_FOLDER = "/var/lib/libvirt/qemu/nvram/lab-db_VARS.fd", f"/var/lib/libvirt/swtpm/{UUID}"


def test_a_pool_that_is_asked_for_is_no_place_for_what_libvirt_looks_for_elsewhere() -> None:
    definition = xml(DISKS + NIC + TPM).replace("<os>", '<os firmware="efi">')
    seen = observed(definition)
    seen = here(seen, files={**seen.source.files, NVRAM_FILE: Seen(9, inode=8), TPM_FOLDER: Seen(9, inode=9)})
    pools = {**seen.destination.pools, "fast": PoolFact("fast", True, "/srv/fast", GIB, GIB)}
    found = dossier(there(seen, pools=pools, room={POOL: GIB, "/srv/fast": 50 * GIB}), pool="fast")
    assert {(each.kind, each.path) for each in found.move.files if each.kind != "image"} == {
        ("nvram", NVRAM_FILE),
        ("tpm", TPM_FOLDER),
    }


ALL = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM, Mode.COLD)
RUNNING, STARTED = ALL[:2], ALL[2:]
VDC = '<target dev="vdc" bus="virtio"/></disk>'
ADDRESSES = frozenset(("10.0.0.2",))
TOPOLOGY = Topology(frozenset(range(8)), frozenset((0,)))


@dataclass(frozen=True)
class Definition:
    """``devices`` are added to a VM that could move by every mode; ``left`` are the modes that are still possible."""

    name: str
    devices: str = ""
    left: tuple[Mode, ...] = ALL
    code: str = ""
    says: str = ""
    cpu: str = CPU
    system: str = ""
    head: str = ""


def disk(words: str, inside: str = "", kind: str = "network", device: str = "disk") -> str:
    return f'<disk type="{kind}" device="{device}"><driver type="raw"/><source {words}>{inside}</source>{VDC}'


def nic(kind: str, inside: str = "") -> str:
    return f'<interface type="{kind}"><mac address="52:54:00:00:00:09"/>{inside}</interface>'


FIRST = '<cpu mode="host-passthrough" migratable="{}"/>'
DEFINITIONS = [
    Definition("pci passthrough", '<hostdev mode="subsystem" type="pci"/>', (), "NF-MIG-340", "pci"),
    Definition("mdev", '<hostdev mode="subsystem" type="mdev" model="vfio-pci"/>', (), "NF-MIG-340", "mdev"),
    Definition("sr-iov card", nic("hostdev"), (), "NF-MIG-340", "hostdev interface"),
    Definition(
        "vhost-user card", nic("vhostuser", '<source type="unix" path="/run/v" mode="server"/>'), (), "NF-MIG-340"
    ),
    Definition("vdpa card", nic("vdpa", '<source dev="/dev/vhost-vdpa-0"/>'), (), "NF-MIG-340"),
    Definition("macvtap", nic("direct", '<source dev="eth9" mode="bridge"/>'), (), "NF-MIG-331", "interface eth9"),
    Definition("ovs", nic("bridge", '<source bridge="br0"/><virtualport type="openvswitch"/>')),
    Definition("user", nic("user")),
    Definition("passt", nic("user", '<backend type="passt"/>')),
    Definition("a tap", nic("ethernet", '<script path="/etc/up"/>'), ALL, "NF-MIG-346", "tap"),
    Definition("their tap", nic("ethernet", '<target dev="tap9" managed="no"/>'), (), "NF-MIG-331", "tap tap9"),
    Definition("a bridged network that runs", nic("bridge", '<source network="lan" portid="u" bridge="br7"/>')),
    Definition("a macvtap network that runs", nic("direct", '<source network="lan" dev="eth9" mode="bridge"/>')),
    Definition("rbd", disk('protocol="rbd" name="p/x"', '<host name="mon1"/>')),
    Definition(
        "rbd auth", disk('protocol="rbd" name="p/x"', '<auth><secret uuid="s1"/></auth>'), ALL, "NF-MIG-346", "s1"
    ),
    Definition("nbd", disk('protocol="nbd" name="x"', '<host name="nbd.lan" port="10809"/>')),
    Definition("nbd of the host", disk('protocol="nbd"', '<host transport="unix" socket="/s"/>'), (), "NF-MIG-340"),
    Definition("iscsi lun", disk('protocol="iscsi" name="iqn/1"', '<host name="san"/>', device="lun")),
    Definition("a lun of the host", disk('dev="/dev/sdb"', "", "block", "lun"), (), "NF-MIG-340"),
    Definition("nvme", disk('type="pci"', '<address type="pci"/>', "nvme"), (), "NF-MIG-340"),
    Definition("vhost-user disk", disk('type="unix" path="/s"', "", "vhostuser"), (), "NF-MIG-340"),
    Definition("a directory", disk('dir="/srv/fat"', "", "dir"), (), "NF-MIG-340"),
    Definition("a volume of ceph", disk('pool="rbd" volume="x"', "", "volume"), (), "NF-MIG-322"),
    Definition("a device called a file", disk('file="/dev/vg/x"', "", "file"), (), "NF-MIG-322", "device"),
    Definition("optical drive", disk('dev="/dev/sr0"', "", "block", "cdrom"), (), "NF-MIG-340", "/dev/sr0"),
    Definition("an empty drive", f'<disk type="file" device="cdrom"><readonly/>{VDC}'),
    Definition("a CD over http", disk('protocol="https" name="x.iso"', '<host name="mirror"/>', device="cdrom")),
    Definition("a CD that is gone", disk('file="/iso/gone.iso"', "", "file", "cdrom"), (), "NF-MIG-313", "gone.iso"),
    Definition(
        "a CD that must be there at a start",
        disk('file="/iso/gone.iso" startupPolicy="requisite"', "", "file", "cdrom"),
        RUNNING,
        "NF-MIG-313",
    ),
    Definition("a CD that may be gone", disk('file="/gone.iso" startupPolicy="optional"', "", "file", "cdrom")),
    Definition(
        "9p", '<filesystem><source dir="/srv/a"/><target dir="a"/></filesystem>', STARTED, "NF-MIG-346", "/srv/a"
    ),
    Definition("nvdimm", '<memory model="nvdimm"><source><path>/nv</path></source></memory>', (), "NF-MIG-340", "/nv"),
    Definition("dimm", '<memory model="dimm"><target><size unit="MiB">512</size></target></memory>'),
    Definition("shmem", '<shmem name="s"><model type="ivshmem-plain"/></shmem>', STARTED, "NF-MIG-341"),
    Definition("host tpm", '<tpm><backend type="passthrough"/></tpm>', (), "NF-MIG-340"),
    Definition("another tpm", '<tpm><backend type="external"><source/></backend></tpm>', (), "NF-MIG-340"),
    Definition(
        "tpm with a secret",
        '<tpm><backend type="emulator"><encryption secret="s2"/></backend></tpm>',
        ALL,
        "NF-MIG-346",
        "s2",
    ),
    Definition("sev", head='<launchSecurity type="sev"/>', left=STARTED, code="NF-MIG-341", says="sev"),
    Definition("not migratable", cpu=FIRST.format("off"), left=STARTED, code="NF-MIG-341"),
    Definition("migratable", cpu=FIRST.format("on")),
    Definition("huge pages", head="<memoryBacking><hugepages/></memoryBacking>", code="NF-MIG-315"),
    Definition("cpu 30", head='<cputune><vcpupin vcpu="0" cpuset="30"/></cputune>', left=(), code="NF-MIG-310"),
    Definition("cpu 3 or 30", head='<vcpu cpuset="3,30">1</vcpu>'),
    Definition("node 1", head='<numatune><memory mode="strict" nodeset="1"/></numatune>', left=(), code="NF-MIG-310"),
    Definition("its own address", '<graphics type="vnc" listen="10.0.0.1"/>', (), "NF-MIG-340", "10.0.0.1"),
    Definition(
        "all addresses", '<graphics type="spice" listen="0.0.0.0"><listen type="address" address="0.0.0.0"/></graphics>'
    ),
    Definition(
        "of a network", '<graphics type="vnc"><listen type="network" network="lan" address="10.0.0.1"/></graphics>'
    ),
    Definition("a display's socket", '<graphics type="vnc"><listen type="socket" socket="/run/v.sock"/></graphics>'),
    Definition(
        "console on tcp",
        '<serial type="tcp"><source mode="bind" host="10.0.0.1" service="1"/></serial>',
        (),
        "NF-MIG-340",
    ),
    Definition("serial line", '<serial type="dev"><source path="/dev/ttyS0"/></serial>', (), "NF-MIG-340", "ttyS0"),
    Definition("serial file", '<serial type="file"><source path="/var/log/x"/></serial>'),
    Definition(
        "a socket", '<channel type="unix"><source mode="connect" path="/run/x"/></channel>', ALL, "NF-MIG-346", "/run/x"
    ),
    Definition("agent", '<channel type="unix"><source mode="bind"/><target name="org.qemu.guest_agent.0"/></channel>'),
    Definition("keyboard of the host", '<input type="evdev"><source dev="/dev/input/e1"/></input>', (), "NF-MIG-340"),
    Definition("smartcard", '<smartcard mode="host"/>', (), "NF-MIG-340"),
    Definition("smartcard by spice", '<smartcard mode="passthrough" type="spicevmc"/>'),
    Definition(
        "hwrng", '<rng model="virtio"><backend model="random">/dev/hwrng</backend></rng>', (), "NF-MIG-313", "hwrng"
    ),
    Definition("watchdog and panic", '<watchdog model="i6300esb" action="reset"/><panic model="isa"/>'),
    Definition(
        "usb by spice", '<redirdev bus="usb" type="spicevmc"/><sound model="ich9"/><audio id="1" type="spice"/>'
    ),
    Definition("a free vsock", '<vsock model="virtio"><cid auto="no" address="4"/></vsock>'),
    Definition(
        "a taken vsock", '<vsock model="virtio"><cid auto="no" address="3"/></vsock>', (), "NF-MIG-305", "CID 3"
    ),
    Definition("any vsock", '<vsock model="virtio"><cid auto="yes" address="3"/></vsock>'),
    Definition("a kernel that is gone", system="<kernel>/boot/gone</kernel>", left=(), code="NF-MIG-313"),
    Definition("a table that is gone", system='<acpi><table type="slic">/x</table></acpi>', left=(), code="NF-MIG-313"),
]


@pytest.mark.parametrize("given", DEFINITIONS, ids=lambda each: each.name)
def test_what_is_said_of_a_definition(given: Definition) -> None:
    definition = xml(DISKS + NIC + given.devices, given.cpu, given.system, given.head)
    other = Domain(
        "other", "u", "running", '<domain><devices><vsock><cid auto="no" address="3"/></vsock></devices></domain>'
    )
    seen = there(observed(definition), domains={"other": other}, topology=TOPOLOGY, addresses=ADDRESSES)
    found = dossier(seen)
    assert found.move.ladder == given.left
    said = [each.what for each in found.findings if each.code == given.code]
    assert any(given.says in each for each in said) or not given.code


def test_a_card_of_a_networks_pool_is_in_the_way_of_a_running_guest_only() -> None:
    seen = observed(xml(DISKS + NIC + nic("hostdev")))
    defined = replace(seen.domain, xml=xml(DISKS + NIC + nic("network", '<source network="lan"/>')))
    assert dossier(replace(seen, domain=defined)).move.ladder == STARTED


def with_data(changed: str, image: Image | None = None) -> Observed:
    """The second disk otherwise."""
    first, second, seed = DISKS.split("</disk>")[:3]
    seen = observed(xml(f"{first}</disk>{second}{changed}</disk>{seed}</disk>" + NIC))
    chain = (image or seen.source.chains[DATA][0], Image("/dev/vg/base", "raw"))
    return here(seen, chains={**seen.source.chains, DATA: chain}) if image else seen


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (with_data("<shareable/>"), ()),
        (with_data('<encryption format="luks"><secret type="passphrase" uuid="s3"/></encryption>'), (Mode.COLD,)),
        (with_data("<transient/>"), ()),
        (with_data("", Image(DATA, "qcow2", backing="/dev/vg/base")), ALL[:3]),
    ],
    ids=["shareable", "encrypted", "transient", "over a device"],
)
def test_disks_of_which_not_every_copy_is_the_same(seen: Observed, left: tuple[Mode, ...]) -> None:
    assert dossier(seen).move.ladder == left


def test_an_overlay_that_does_not_tell_the_format_below_is_not_carried_as_it_is() -> None:
    seen = observed()
    root, base = seen.source.chains[ROOT]
    seen = here(seen, chains={**seen.source.chains, ROOT: (replace(root, untold=True), base)})
    [found] = [each for each in dossier(seen).findings if each.severity is Severity.BLOCKER]
    assert (found.code, found.modes) == ("NF-MIG-322", (Mode.COLD,))
    assert "-F qcow2" in found.fix


def test_a_disk_that_comes_with_the_next_start_is_not_left_behind() -> None:
    seen = observed()
    more = f'<disk type="file" device="disk"><source file="{POOL}/new.img"/>{VDC}'
    seen = replace(seen, domain=replace(seen.domain, xml=xml(DISKS + NIC + more)))
    found = dossier(seen)
    assert (codes(found), found.move.ladder) == (["NF-MIG-322"], ())


def arrived(seen: Observed, **wanted: Any) -> ElementTree.Element:
    found = dossier(seen, **wanted)
    return ElementTree.fromstring(arriving(found.move, seen.active_xml))


def test_files_a_guest_is_shown_as_firmware_come_along() -> None:
    system = '<acpi><table type="slic">/srv/slic.bin</table></acpi>'
    head = '<sysinfo type="fwcfg"><entry name="opt/com.coreos/config" file="/srv/a.ign"/></sysinfo>'
    seen = observed(xml(DISKS + NIC, system=system, head=head))
    seen = here(seen, files={**seen.source.files, "/srv/slic.bin": Seen(3), "/srv/a.ign": Seen(4)})
    assert codes(dossier(seen)) == ["NF-MIG-320"]  # there is no /srv
    pools = {**seen.destination.pools, "fast": PoolFact("fast", True, "/srv/fast", GIB, GIB)}
    root = arrived(there(seen, pools=pools, room={POOL: GIB, "/srv/fast": 50 * GIB}), pool="fast")
    assert root.findtext("os/acpi/table") == "/srv/fast/slic.bin"
    assert root.find("sysinfo/entry[@file='/srv/fast/a.ign']") is not None


def test_cards_are_connected_to_what_was_asked_for() -> None:
    cards = nic("direct", '<source dev="eth0" mode="bridge"/>') + nic("bridge", '<source network="lan" bridge="br7"/>')
    root = arrived(observed(xml(DISKS + cards)), networks={"eth0": "eno1", "lan": "lan2"})
    assert [(each.get("type"), each.find("source").attrib) for each in root.iterfind("devices/interface")] == [  # type: ignore[union-attr]
        ("direct", {"dev": "eno1", "mode": "bridge"}),
        ("network", {"network": "lan2"}),
    ]


def test_volumes_become_the_files_they_are_where_the_pool_may_be_another() -> None:
    pooled = '<disk type="volume" device="cdrom"><source pool="iso" volume="a.iso"/><target dev="sda"/></disk>'
    seen = observed(xml(DISKS + NIC + pooled))
    pools = {**seen.source.pools, "iso": PoolFact("iso", True, "/iso", GIB, GIB)}
    seen = here(seen, pools=pools, files={**seen.source.files, "/iso/a.iso": Seen(4)})
    found = arrived(seen).find("devices/disk[@device='cdrom']")
    assert found is not None
    assert (found.get("type"), found.find("source").attrib) == ("file", {"file": f"{POOL}/a.iso"})  # type: ignore[union-attr]


def test_an_equal_read_only_disk_elsewhere_is_the_one_it_gets() -> None:
    seen = observed()
    pools = {"default": PoolFact("default", True, "/srv/vm", GIB, GIB)}
    files = {EMULATOR: Seen(1), "/srv/vm/lab.db.seed.iso": Seen(57344, "5e" * 32, 77)}
    root = arrived(there(seen, pools=pools, files=files, room={"/srv/vm": 50 * GIB}))
    assert root.find("devices/disk/source[@file='/srv/vm/lab.db.seed.iso']") is not None


@pytest.mark.parametrize("name", ["my vm", 'the "new" one', "büro's"])
def test_lines_that_fix_something_can_be_run_whatever_the_vm_is_called(name: str) -> None:
    definition = xml(DISKS + NIC + '<hostdev mode="subsystem" type="usb"/>', head="")
    seen = observed(definition.replace("<name>lab-db</name>", f"<name>{name}</name>"))
    [found] = [each for each in dossier(seen).findings if each.severity is Severity.BLOCKER]
    assert name in shlex.split(found.fix.rpartition(": ")[2])

"""What libvirt is told and asked."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from novafleet.capability.backup import xml
from novafleet.capability.backup.xml import Around
from novafleet.errors import BackupError
from novafleet.nbd.pulljob import JobDisk, backup_xml, checkpoint_xml

DOMAIN = """
<domain type='kvm' id='7'><uuid>u-1</uuid><os><nvram>/nv/a.fd</nvram></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/p/top'/>
  <backingStore type='file'><source file='/p/mid'/><backingStore type='file'><source file='/p/base'/><backingStore/>
  </backingStore></backingStore><target dev='vda'/><alias name='ua-disk-root'/></disk>
<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/x'/><target dev='vdb'/></disk>
<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' name='x'/><target dev='vdc'/></disk>
<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
<disk type='file' device='disk'><source file='/seed'/><target dev='vdz'/><readonly/></disk>
<interface type='network'><source network='lab'/></interface>
<interface type='bridge'><source bridge='br0'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
</devices></domain>"""


def test_disks() -> None:
    found = {disk.target: disk for disk in xml.disks_of(DOMAIN)}
    assert (found["vda"].name, found["vda"].path, found["vda"].chain) == ("root", "/p/top", ("/p/mid", "/p/base"))
    assert (found["vdb"].name, found["vdb"].kind, found["vdb"].path) == ("vdb", "block", "/dev/vg/x")
    assert (found["vdc"].kind, found["vdc"].path, found["vdc"].skip) == ("network", "", "")
    assert (found["sda"].skip, found["vdz"].skip) == ("a cdrom", "read-only")


def test_around() -> None:
    assert xml.around(DOMAIN) == Around("/nv/a.fd", "/var/lib/libvirt/swtpm/u-1", agent=True, networks=("lab",))
    assert xml.around("<domain/>") == Around()
    assert (xml.domain_id(DOMAIN), xml.domain_id("<domain/>")) == ("7", "")


def test_a_job() -> None:
    disks = [JobDisk("vda", "/p/s", since="c1"), JobDisk("vdb", "/p/t", mark=False)]
    made = backup_xml(disks, ["sda"], "/run/s")
    assert xml.job_socket(made) == "/run/s"
    listed = {disk.get("name"): disk for disk in ElementTree.fromstring(made).findall("disks/disk")}
    assert {name: disk.get("backupmode") for name, disk in listed.items()} == {
        "vda": "incremental",
        "vdb": "full",
        "sda": None,
    }
    assert (listed["vda"].get("incremental"), listed["vda"].get("exportbitmap")) == ("c1", "changes")
    assert listed["sda"].get("backup") == "no"


def test_a_checkpoint() -> None:
    assert xml.covered(checkpoint_xml("c", ["vda"], ["vdb"])) == {"vda"}
    known = ElementTree.fromstring(xml.known_checkpoint_xml("c", 5, ["vda"], ["vdb"]))
    assert known.findtext("creationTime") == "5"
    assert [disk.get("bitmap") for disk in known.findall("disks/disk")] == ["c", None]


def test_what_is_no_xml() -> None:
    with pytest.raises(BackupError):
        xml.disks_of("<domain")


def test_variables_wherever_the_definition_tells_them() -> None:
    source = "<domain><os><nvram type='file'><source file='/srv/nv.fd'/></nvram></os></domain>"
    chosen = "<domain><name>my vm</name><os firmware='efi'/></domain>"
    assert xml.around(source).nvram == "/srv/nv.fd"
    assert xml.around(chosen).nvram == "/var/lib/libvirt/qemu/nvram/my vm_VARS.fd"

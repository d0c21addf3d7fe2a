"""Definitions made to fit: data in, tree out."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from novafleet.capability.backup.restore_xml import Abilities, NewDisk, Wish, abilities, fit, needs, new_mac
from novafleet.errors import BackupError

UUID = "2b1c0e6e-0000-4000-8000-000000000001"
OTHER = "2b1c0e6e-0000-4000-8000-000000000002"
DOMAIN = f"""
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name><uuid>{UUID}</uuid><genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
  <metadata>
    <novafleet:resource xmlns:novafleet='https://novafleet.dev/xmlns/1' environment='e' name='web' uuid='{UUID}'/>
    <other:thing xmlns:other='urn:other'>kept</other:thing>
  </metadata>
  <sysinfo type='smbios'><system><entry name='uuid'>{UUID}</entry></system></sysinfo>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/OVMF/VARS.fd'>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>
  </os>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <devices>
    <emulator>/usr/bin/qemu-kvm</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/pool/web.qcow2' index='2'/><backingStore type='file'><source file='/pool/base'/></backingStore>
      <target dev='vda' bus='virtio'/><alias name='ua-disk-root'/><address type='pci' slot='0x04'/></disk>
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/web'/>
      <target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/debian.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='file' device='disk'><source file='/shared/tools.img'/><target dev='vdc'/><readonly/></disk>
    <interface type='network'><mac address='52:54:00:aa:00:01'/><source network='lan'/><target dev='vnet3'/>
      <model type='virtio'/></interface>
    <interface type='bridge'><mac address='52:54:00:aa:00:02'/><source bridge='br0'/></interface>
    <serial type='pty'><log file='/var/log/libvirt/qemu/web-serial.log' append='off'/></serial>
    <console type='file'><source path='/srv/console'/></console>
    <channel type='unix'><source mode='bind' path='/run/web.agent'/><target name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' port='5901' autoport='no'/>
    <hostdev mode='subsystem' type='pci'/>
  </devices>
  <qemu:commandline><qemu:arg value='-nodefaults'/></qemu:commandline>
</domain>
"""
CAN = Abilities(frozenset({"q35", "pc-q35-7.2"}), "/usr/bin/qemu-system-x86_64", kvm=False)
DISKS = {"vda": NewDisk("/new/copy.vda.qcow2", "qcow2"), "vdb": NewDisk("/new/copy.vdb.img", "raw")}
ALL = frozenset(needs(DOMAIN).files)
COPY = Wish("copy", OTHER, True, DISKS, CAN, {"lan": "lab", "br0": "br9"}, ALL, "/nvram/copy_VARS.fd")
SAME = Wish("web", UUID, False, DISKS, Abilities(frozenset({"pc-q35-10.0"}), "/usr/bin/qemu-kvm", kvm=True))


def tree(wish: Wish) -> ElementTree.Element:
    return ElementTree.fromstring(fit(DOMAIN, wish).xml)


def texts(root: ElementTree.Element, *paths: str) -> list[str | None]:
    return [root.findtext(path) for path in paths]


def found(root: ElementTree.Element, path: str, attribute: str) -> list[str | None]:
    return [each.get(attribute) for each in root.findall(path)]


def test_what_a_definition_needs() -> None:
    need = needs(DOMAIN)
    assert need.networks == {"lan"}
    assert need.bridges == {"br0"}
    assert need.macs == {"52:54:00:aa:00:01", "52:54:00:aa:00:02"}
    assert {"/usr/share/OVMF/OVMF_CODE.fd", "/iso/debian.iso", "/shared/tools.img"} <= set(need.files)


def test_a_copy_shares_nothing_with_its_original() -> None:
    fitted = fit(DOMAIN, COPY)
    root = ElementTree.fromstring(fitted.xml)
    assert texts(root, "name", "uuid", "genid") == ["copy", OTHER, ""]
    assert root.findtext("sysinfo/system/entry") == OTHER
    assert [each.tag for each in root.findall("metadata/*")] == ["{urn:other}thing"]
    assert fitted.macs == (new_mac(OTHER, 0), new_mac(OTHER, 1))
    assert found(root, "devices/interface/mac", "address") == list(fitted.macs)
    assert found(root, "devices/serial/log", "file") == ["/var/log/libvirt/qemu/copy-serial.log"]
    assert found(root, "devices/console/source", "path") == ["/var/log/libvirt/qemu/copy-console0.log"]
    assert root.find("devices/channel/source") is None
    assert root.find("devices/graphics").attrib == {"type": "vnc", "autoport": "yes"}  # type: ignore[union-attr]
    assert root.findtext("os/nvram") == "/nvram/copy_VARS.fd"
    assert any("passed through" in note for note in fitted.notes)


def test_disks_are_where_they_are_now() -> None:
    root = tree(COPY)
    first, second, cdrom = root.findall("devices/disk")
    assert [each.get("type") for each in (first, second)] == ["file", "file"]
    assert found(first, "source", "file") == ["/new/copy.vda.qcow2"]
    assert first.find("backingStore") is None
    assert found(first, "driver", "discard") == ["unmap"]
    assert found(first, "alias", "name") == ["ua-disk-root"]
    assert found(second, "driver", "type") == ["raw"]
    assert cdrom.find("source") is None


def test_what_the_host_has_stays() -> None:
    root = tree(SAME)
    assert texts(root, "name", "uuid", "os/loader") == ["web", UUID, "/usr/share/OVMF/OVMF_CODE.fd"]
    assert root.get("type") == "kvm"
    assert found(root, "devices/interface/mac", "address") == ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
    assert found(root, "devices/disk/source", "file")[2:] == ["/iso/debian.iso", "/shared/tools.img"]
    assert len(root.findall("metadata/*")) == 2
    assert fit(DOMAIN, SAME).notes == ()
    assert "qemu:commandline" in fit(DOMAIN, SAME).xml


def test_another_host_runs_it_its_own_way() -> None:
    fitted = fit(DOMAIN, COPY)
    root = ElementTree.fromstring(fitted.xml)
    assert (root.get("type"), found(root, "cpu", "mode")) == ("qemu", ["maximum"])
    assert found(root, "os/type", "machine") == ["q35"]
    assert root.findtext("devices/emulator") == CAN.emulator
    assert (root.find("os").get("firmware"), root.find("os/loader")) == ("efi", None)  # type: ignore[union-attr]
    assert found(root, "os/firmware/feature", "enabled") == ["yes"]
    assert found(root, "os/nvram", "template") == [None]
    assert found(root, "devices/interface/source", "network")[0] == "lab"
    assert found(root, "devices/interface/source", "bridge")[1] == "br9"
    assert root.find("devices/interface/target") is None
    assert len(fitted.notes) == 7


def test_what_no_host_could_do_is_said() -> None:
    with pytest.raises(BackupError, match=r"no machine type pc-q35-10\.0") as caught:
        fit(DOMAIN, Wish("web", UUID, False, DISKS, Abilities(frozenset({"pc"}), "", kvm=True)))
    assert caught.value.code == "NF-BAK-034"
    kernel = DOMAIN.replace("<os>", "<os><kernel>/boot/k</kernel>")
    with pytest.raises(BackupError, match="no /boot/k"):
        fit(kernel, Wish("web", UUID, False, DISKS, CAN, missing=frozenset({"/boot/k"})))


CAPABILITIES = """
<capabilities><host>
  <secmodel><model>dac</model><baselabel type='kvm'>+64055:+108</baselabel></secmodel></host>
  <guest><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <machine canonical='pc-q35-7.2'>q35</machine><machine>pc-i440fx-7.2</machine>
    <domain type='qemu'/><domain type='kvm'/></arch></guest></capabilities>
"""


def test_abilities_of_a_host() -> None:
    found = abilities(CAPABILITIES, DOMAIN)
    assert found.machines == {"q35", "pc-q35-7.2", "pc-i440fx-7.2"}
    assert (found.kvm, found.owner) == (True, "64055:108")
    with pytest.raises(BackupError, match="no QEMU for aarch64"):
        abilities(CAPABILITIES, DOMAIN.replace("x86_64", "aarch64"))


def test_variables_and_tpm_state_are_not_those_of_the_original() -> None:
    told = "<nvram type='file' format='qcow2'><source file='/srv/web.fd'/></nvram>"
    before = "<nvram template='/usr/share/OVMF/VARS.fd'>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>"
    text = DOMAIN.replace(before, told)
    tpm = "<tpm><backend type='emulator'><source type='dir' path='/srv/tpm'/></backend></tpm></devices>"
    root = ElementTree.fromstring(fit(text.replace("</devices>", tpm), COPY).xml)
    nvram = root.find("os/nvram")
    assert nvram is not None
    assert (nvram.attrib, nvram.text, len(nvram)) == ({"format": "qcow2"}, "/nvram/copy_VARS.fd", 0)
    assert root.find("devices/tpm/backend/source") is None

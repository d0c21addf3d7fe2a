"""What a VM is beside its disks: UEFI variables, the state of its TPM, memory that was saved, network filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.lab.movebench import VIRSH
from tests.lab.test_migrate import Fleet, Pinned, made
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.thorough, pytest.mark.timeout(3600)]
HERE, THERE = "kvm1", "kvm2"
BOOT = 900.0
"""Seconds a guest with UEFI may take to boot without KVM on a busy machine."""
SUMS = """\
for file in /var/lib/libvirt/qemu/nvram/"$1"_VARS*.fd /var/lib/libvirt/swtpm/"$2"/tpm2/*; do
  case $file in *.lock) continue ;; esac
  [ ! -f "$file" ] || sha256sum "$file"
done
"""
LEFT = """\
ls /var/lib/libvirt/qemu/nvram/ 2>/dev/null | grep "^$1"
ls -d "/var/lib/libvirt/swtpm/$2" "/var/lib/libvirt/qemu/save/$1.save" 2>/dev/null
exit 0
"""
CLEAN = """\
rm -f /var/lib/libvirt/qemu/nvram/"$1"_VARS* /var/lib/libvirt/qemu/save/"$1".save
[ -z "$2" ] || rm -rf /var/lib/libvirt/swtpm/"$2"
virsh -q -c qemu:///system net-destroy gf-net 2>/dev/null
virsh -q -c qemu:///system net-undefine gf-net 2>/dev/null
virsh -q -c qemu:///system nwfilter-undefine gf-guard 2>/dev/null
virsh -q -c qemu:///system nwfilter-undefine gf-mac 2>/dev/null
exit 0
"""
FILTERS = (
    "<filter name='gf-mac' chain='root'><rule action='accept' direction='inout' priority='500'><all/></rule></filter>",
    "<filter name='gf-guard' chain='root'><filterref filter='gf-mac'/></filter>",
)


class Firm(Pinned):
    """With UEFI, and a TPM if it is asked for."""

    tpm = False
    uuid = "7d3f6a52-1f8e-4b57-9a57-6b3f2f0e2a11"

    def _xml(self) -> Element:
        root = super()._xml()
        SubElement(root, "uuid").text = self.uuid
        system, machine, memory = root.find("os"), root.find("os/type"), root.find("memory")
        assert system is not None
        assert machine is not None
        assert memory is not None
        machine.set("machine", "pc-q35-7.2")
        memory.text = "256"
        system.set("firmware", "efi")
        SubElement(SubElement(system, "firmware"), "feature", enabled="no", name="secure-boot")
        devices = root.find("devices")
        assert devices is not None
        if self.tpm:
            tpm = SubElement(devices, "tpm", model="tpm-crb")
            SubElement(tpm, "backend", type="emulator", version="2.0")
        return root

    def start(self, host: str) -> None:
        self.lab.on(host, *VIRSH, "start", self.name)
        self.counts(host, seconds=BOOT)

    def remove(self, host: str) -> None:
        self.lab.on(host, *VIRSH, "destroy", self.name, check=False)
        self.lab.on(host, *VIRSH, "undefine", self.name, "--nvram", "--managed-save", check=False)
        super().remove(host)
        self.lab.on(host, "sh", "-c", CLEAN, "sh", self.name, self.uuid)

    def sums(self, host: str) -> str:
        """Digests of its variables and of the TPM's state."""
        return self.lab.on(host, "sh", "-c", SUMS, "sh", self.name, self.uuid)

    def left(self, host: str) -> str:
        """What there is of it beside its disks."""
        return self.lab.on(host, "sh", "-c", LEFT, "sh", self.name, self.uuid).strip()


class WithTpm(Firm):
    """And a TPM."""

    tpm = True
    uuid = "7d3f6a52-1f8e-4b57-9a57-6b3f2f0e2a12"


class Filtered(Pinned):
    """Its card refers to a network filter that only the first host has."""

    def _xml(self) -> Element:
        root = super()._xml()
        devices = root.find("devices")
        assert devices is not None
        card = SubElement(devices, "interface", type="network")
        SubElement(card, "mac", address="52:54:00:0f:11:01")
        SubElement(card, "source", network="gf-net")
        SubElement(card, "model", type="virtio")
        SubElement(card, "filterref", filter="gf-guard")
        return root

    def remove(self, host: str) -> None:
        super().remove(host)
        self.lab.on(host, "sh", "-c", CLEAN, "sh", self.name, "")


@pytest.fixture(params=[Firm, WithTpm], ids=["uefi", "uefi-tpm"])
def firm(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """It runs on the first host."""
    yield from made(lab, fleet_home, request.param(lab, f"gf-{request.param.__name__.lower()}"), HERE, THERE)


@pytest.fixture
def plain(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """Without either."""
    yield from made(lab, fleet_home, Pinned(lab, "gf-saved"), HERE, THERE)


def firm_guest(fleet: Fleet) -> Firm:
    assert isinstance(fleet.guest, Firm)
    return fleet.guest


def test_a_vm_that_is_off_takes_its_variables_and_its_tpm_along(firm: Fleet) -> None:
    guest, lab = firm_guest(firm), firm.lab
    last = guest.said(HERE)
    lab.on(HERE, *VIRSH, "destroy", guest.name)
    before = guest.sums(HERE)
    assert len(before.splitlines()) >= (2 if guest.tpm else 1), before
    told = firm.run(f"{HERE}/{guest.name}", "--to", THERE, "--mode", "cold", "--yes")
    assert (told["state"], told["mode"]) == ("done", "cold")
    assert guest.sums(THERE) == before
    assert guest.left(HERE) == ""
    guest.start(THERE)
    assert guest.went_on_at(THERE) >= last
    back = firm.run("undo", f"{THERE}/{guest.name}", "--yes")
    assert (back["destination"], guest.left(THERE)) == (HERE, "")
    guest.counts(HERE, seconds=BOOT)


def test_a_running_one_goes_live_and_back(firm: Fleet) -> None:
    guest = firm_guest(firm)
    for here, there in ((HERE, THERE), (THERE, HERE)):
        firm.move(here, there, "--mode", "live")
        assert "goes on" not in guest.lab.on(there, "cat", guest.log), "it was booted, not moved"
        assert guest.left(here) == ""
        assert guest.left(there) != ""


def test_memory_that_was_saved_goes_on_on_the_other_host(plain: Fleet) -> None:
    guest, lab = plain.guest, plain.lab
    lab.on(HERE, *VIRSH, "managedsave", guest.name, timeout=300)
    last = guest.said(HERE)
    told = plain.run(f"{HERE}/{guest.name}", "--to", THERE, "--yes")
    assert (told["state"], told["mode"]) == ("done", "cold")
    assert "with saved" in lab.on(THERE, *VIRSH, "list", "--all", "--managed-save") or lab.answers(
        THERE, "test", "-f", f"/var/lib/libvirt/qemu/save/{guest.name}.save"
    )
    assert not lab.answers(HERE, "test", "-e", f"/var/lib/libvirt/qemu/save/{guest.name}.save")
    lab.on(THERE, *VIRSH, "start", guest.name, timeout=300)
    guest.counts(THERE, beyond=last, seconds=BOOT)
    assert "goes on" not in lab.on(THERE, "cat", guest.log), "it was booted: its memory was lost"


def test_a_network_filter_comes_along_and_goes_again(lab: Lab, fleet_home: Path) -> None:
    """The guest is off: what counts is that libvirt there knows the filter, and that nothing of it stays."""
    guest = Filtered(lab, "gf-filtered")
    for host in (HERE, THERE):
        guest.remove(host)
    for number, xml in enumerate(FILTERS):
        lab.on(HERE, "sh", "-c", 'cat >"$1"', "sh", f"/tmp/gf-{number}.xml", stdin=xml)
        lab.on(HERE, *VIRSH, "nwfilter-define", f"/tmp/gf-{number}.xml")
    for host in (HERE, THERE):
        lab.on(host, "sh", "-c", 'cat >"$1"', "sh", "/tmp/gf-net.xml", stdin="<network><name>gf-net</name></network>")
        lab.on(host, *VIRSH, "net-define", "/tmp/gf-net.xml")
        lab.on(host, *VIRSH, "net-start", "gf-net")
    guest.create(HERE)
    fleet = Fleet(lab, fleet_home, guest, (HERE, THERE))
    try:
        plan = fleet.run(f"{HERE}/{guest.name}", "--to", THERE, "--plan")
        assert [each["code"] for each in plan["findings"]].count("NF-MIG-336") == 2
        told = fleet.run(f"{HERE}/{guest.name}", "--to", THERE, "--yes")
        assert told["state"] == "done"
        assert "gf-mac" in lab.on(THERE, *VIRSH, "nwfilter-dumpxml", "gf-guard")
        again = fleet.run(f"{THERE}/{guest.name}", "--to", HERE, "--plan")
        assert not {"NF-MIG-335", "NF-MIG-336", "NF-MIG-337"} & {each["code"] for each in again["findings"]}
    finally:
        for host in (HERE, THERE):
            guest.remove(host)

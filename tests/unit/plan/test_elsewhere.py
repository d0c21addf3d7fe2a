"""A definition that is to boot on another host."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from novafleet.plan.elsewhere import fit_machine, for_older_libvirt

KNOWN = ("q35", "pc-q35-7.2", "pc")


@pytest.mark.parametrize(
    ("machine", "fitted"),
    [("pc-q35-7.2", "pc-q35-7.2"), ("pc-q35-10.0", "q35"), ("pc-i440fx-10.0", "pc"), ("", "")],
)
def test_the_newest_machine_of_its_kind(machine: str, fitted: str) -> None:
    root = ElementTree.fromstring(f"<domain><os><type machine='{machine}'/></os></domain>")
    assert fit_machine(root, KNOWN) == (machine, fitted)
    assert root.find(f"os/type[@machine='{fitted}']") is not None


@pytest.mark.parametrize("machine", ["virt-10.0", "somebodys-own"])
def test_no_machine_of_its_kind(machine: str) -> None:
    root = ElementTree.fromstring(f"<domain><os><type machine='{machine}'/></os></domain>")
    with pytest.raises(LookupError, match=machine):
        fit_machine(root, KNOWN)


@pytest.mark.parametrize(("action", "stays"), [("reset", 0), ("poweroff", 1)])
def test_an_older_libvirt_is_not_told_of_the_watchdog_every_q35_has(action: str, stays: int) -> None:
    root = ElementTree.fromstring(
        f"<domain><devices><watchdog model='itco' action='{action}'/><disk/></devices></domain>"
    )
    for_older_libvirt(root)
    assert len(root.findall("devices/watchdog")) == stays
    assert root.find("devices/disk") is not None


@pytest.mark.parametrize(("form", "stays"), [("raw", {}), ("qcow2", {"format": "qcow2", "templateFormat": "qcow2"})])
def test_an_older_libvirt_is_not_told_that_firmware_is_raw(form: str, stays: dict[str, str]) -> None:
    root = ElementTree.fromstring(
        f"<domain><os><loader type='pflash' format='{form}'>/l</loader>"
        f"<nvram template='/t' templateFormat='{form}' format='{form}'>/n</nvram></os></domain>"
    )
    for_older_libvirt(root)
    loader, nvram = root.find("os/loader"), root.find("os/nvram")
    assert loader is not None
    assert nvram is not None
    assert (loader.attrib, loader.text) == ({"type": "pflash"} | ({"format": form} if stays else {}), "/l")
    assert (nvram.attrib, nvram.text) == ({"template": "/t"} | stays, "/n")


@pytest.mark.parametrize(("file", "chosen"), [("/usr/share/OVMF/OVMF_CODE_4M.fd", False), ("", True)])
def test_an_older_libvirt_takes_a_firmware_or_a_choice(file: str, chosen: bool) -> None:
    root = ElementTree.fromstring(
        f"<domain><os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware>"
        f"<loader>{file}</loader></os></domain>"
    )
    for_older_libvirt(root)
    system = root.find("os")
    assert system is not None
    assert (system.get("firmware") == "efi", system.find("firmware") is not None) == (chosen, chosen)

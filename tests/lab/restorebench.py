"""VMs that boot a real guest, backed up and restored on the lab's hosts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import yaml

from novafleet.objectstore.open import open_store
from novafleet.repository import KeySource, Repository
from tests.lab.backupbench import QUIET, Machine, Shop, until
from tests.labfixture import Lab

POOL = "/var/lib/libvirt/images"
NETWORK = "d-net"
COPY = 'curl -sf -o "$2" "$1" && qemu-img resize -q "$2" 96M'
DIGEST = """\
copy=$(mktemp) && qemu-img convert -U -O raw "$1" "$copy" && sha256sum <"$copy" | cut -d' ' -f1
rm -f "$copy"
"""
BOOTED = "mini: init"


async def new_shop(lab: Lab, host: str, home: Path, folder: Path) -> Shop:
    """A host and an empty repository."""
    key, place = folder / "key", str(folder / "repository")
    key.write_bytes(os.urandom(32))
    store = open_store(place)
    await Repository.create(store, KeySource(key, ""), at=time.time())
    await store.close()
    return Shop(lab, host, home, key, folder / "repository")


class Guest(Machine):
    """A VM with the practice guest on ``vda``, data on ``vdb``, a NIC, a CD-ROM and a serial log."""

    def make(self, mac: str) -> None:
        """Define it."""
        known = yaml.safe_load(self.shop.lab.images.read_text())["images"]["mini-disk"]
        self.create(("vda", "qcow2", "96M"), ("vdb", "raw", "24M"), extra=lambda root: self._devices(root, mac))
        self.shop.on("sh", "-c", COPY, "sh", known["url"], self.disks["vda"])
        self.shop.on("qemu-io", "-f", "raw", "-c", "write -P 7 3M 300k", self.disks["vdb"])

    def _devices(self, root: ElementTree.Element, mac: str) -> None:
        memory = root.find("memory")
        assert memory is not None
        memory.text = "160"
        devices = root.find("devices")
        assert devices is not None
        nic = SubElement(devices, "interface", type="network")
        SubElement(nic, "mac", address=mac)
        SubElement(nic, "source", network=NETWORK)
        SubElement(nic, "model", type="virtio")
        serial = SubElement(devices, "serial", type="pty")
        SubElement(serial, "log", file=log_of(self.name), append="off")
        SubElement(serial, "target", port="0")

    def boot(self) -> None:
        """Start it and wait for its guest."""
        self.shop.virsh("start", self.name)
        until_booted(self.shop.lab, self.shop.host, self.name)


def log_of(name: str) -> str:
    """Where a VM's serial console goes."""
    return f"/var/log/libvirt/qemu/{name}-serial.log"


def until_booted(lab: Lab, host: str, name: str, seconds: float = 300.0) -> None:
    """Wait for the guest's own words."""
    until(lambda: BOOTED in lab.on(host, "cat", log_of(name), check=False), seconds)


def network(lab: Lab, host: str, name: str = NETWORK) -> None:
    """An isolated network, started."""
    if lab.answers(host, *QUIET, "net-info", name):
        return
    root = ElementTree.Element("network")
    SubElement(root, "name").text = name
    SubElement(root, "bridge", name=f"nf{name}"[:15])
    lab.on(host, "sh", "-c", 'cat >"/tmp/$1.xml"', "sh", name, stdin=ElementTree.tostring(root, encoding="unicode"))
    lab.on(host, *QUIET, "net-define", f"/tmp/{name}.xml")
    lab.on(host, *QUIET, "net-start", name)


def no_network(lab: Lab, host: str, name: str = NETWORK) -> None:
    """Remove it."""
    lab.on(host, *QUIET, "net-destroy", name, check=False)
    lab.on(host, *QUIET, "net-undefine", name, check=False)


def digest(lab: Lab, host: str, path: str) -> str:
    """SHA-256 of a disk's content."""
    return lab.on(host, "sh", "-c", DIGEST, "sh", path).strip()


def definition(lab: Lab, host: str, name: str) -> ElementTree.Element:
    """A domain's inactive XML."""
    return ElementTree.fromstring(lab.on(host, *QUIET, "dumpxml", "--inactive", name))


def remove(lab: Lab, host: str, name: str) -> None:
    """A restored VM and its disks, and what an instant restore that failed left."""
    lab.on(host, *QUIET, "destroy", name, check=False)
    lab.on(host, *QUIET, "undefine", name, "--checkpoints-metadata", "--nvram", check=False)
    lab.on(host, "sh", "-c", CLEAN, "sh", POOL, name)


CLEAN = """\
systemctl stop "nf-instant-*"
rm -rf "$1/$2".* "$1"/"$2"-* "$1"/.nf-restore-* /run/novafleet/instant/*
"""


def left_over(lab: Lab, host: str) -> str:
    """What a restore should have taken away again."""
    units = lab.on(host, "systemctl", "list-units", "--all", "--plain", "--no-legend", "nf-restore-*", "nf-instant-*")
    files = lab.on(
        host,
        "sh",
        "-c",
        'ls -A "$1" | grep "^.nf-restore"; ls -A /run/novafleet/restore; ls -A /run/novafleet/instant',
        "sh",
        POOL,
        check=False,
    )
    return (units + files).strip()


def restored(shop: Shop, snapshot: str, *words: str, status: int = 0) -> Any:
    """What ``restore`` says."""
    return shop.run("restore", snapshot, "--yes", *words, status=status)

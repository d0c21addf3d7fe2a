"""What in a definition is of its host: devices that cannot follow, state QEMU cannot carry, things nobody looks for.

Pure. Format: https://libvirt.org/formatdomain.html. Refusals are of libvirt's ``qemuMigrationSrcIsAllowed`` (9.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from novafleet.plan.listening import CHARACTER

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
MEDIA = ("cdrom", "floppy")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def attribute(element: Element, path: str, *names: str) -> str:
    """The first of these attributes that an element below has; "" for none."""
    found = element.find(path)
    return next((found.get(name, "") for name in names if found.get(name)), "") if found is not None else ""


def tied(root: Element) -> tuple[str, ...]:
    """Devices of this very host."""
    found = (*_passed(root), *_drives(root), *_memory(root), *_wires(root))
    return tuple(dict.fromkeys(found))


def _passed(root: Element) -> Iterator[str]:
    for device in root.iterfind("devices/hostdev"):
        yield f"host device ({device.get('type', device.get('mode', ''))})"
    for nic in root.iterfind("devices/interface"):
        if nic.get("type") in ("hostdev", "vdpa", "vhostuser"):
            yield f"{nic.get('type')} interface {attribute(nic, 'mac', 'address')}"
    backend = attribute(root, "devices/tpm/backend", "type")
    if backend in ("passthrough", "external"):
        yield "the host's TPM" if backend == "passthrough" else "a TPM emulated by another program of the host"
    for card in root.iterfind("devices/smartcard"):
        if card.get("mode") in ("host", "host-certificates"):
            yield f"smartcard ({card.get('mode')})"
    for device in root.iterfind("devices/input"):
        if device.get("type") in ("evdev", "passthrough"):
            yield f"input device {attribute(device, 'source', 'dev', 'evdev')}"


def _drives(root: Element) -> Iterator[str]:
    for disk in root.iterfind("devices/disk"):
        kind, device = disk.get("type", ""), disk.get("device", "disk")
        path = attribute(disk, "source", "file", "dev")
        passed = device == "lun" and kind != "network"
        if passed or kind in ("nvme", "vhostuser", "vhostvdpa", "dir") or _local(disk):
            yield f"disk {attribute(disk, 'target', 'dev')} ({kind}, {device})"
        elif device in MEDIA and path.startswith("/dev/"):
            yield f"{device} {attribute(disk, 'target', 'dev')} ({path})"


def _local(disk: Element) -> bool:
    """A network disk that a program of the host serves to it alone."""
    hosts = disk.findall("source/host")
    return any(host.get("transport") == "unix" or host.get("name") in LOOPBACK for host in hosts)


def _memory(root: Element) -> Iterator[str]:
    """What the guest writes there is in a file."""
    for memory in root.iterfind("devices/memory"):
        if path := (memory.findtext("source/path") or "").strip():
            yield f"{memory.get('model', 'memory')} {path}"


def _wires(root: Element) -> Iterator[str]:
    for tag in CHARACTER:
        for device in root.iterfind(f"devices/{tag}[@type='dev']"):
            yield f"serial line {attribute(device, 'source', 'path')}"


def frozen(root: Element) -> Iterator[str]:
    """Devices whose state QEMU cannot carry over while it runs."""
    for share in root.iterfind("devices/filesystem"):
        yield f"shared folder {attribute(share, 'target', 'dir')}"
    for memory in root.iterfind("devices/shmem"):
        if attribute(memory, "model", "type") != "ivshmem-doorbell" or memory.get("role") != "master":
            yield f"shared memory {memory.get('name', '')}"
    for disk in root.iterfind("devices/disk"):
        if disk.find("transient") is not None:
            yield f"transient disk {attribute(disk, 'target', 'dev')}"
    if root.find("launchSecurity") is not None:
        yield f"encrypted memory ({attribute(root, 'launchSecurity', 'type')})"
    if root.find("clock/timer[@name='tsc'][@frequency]") is None:
        if root.find("cpu/feature[@name='invtsc'][@policy='require']") is not None:
            yield "CPU feature invtsc without a fixed TSC frequency"
        if root.find("cpu[@migratable='off']") is not None:
            yield "CPU with migratable='off'"


def unlooked(root: Element) -> tuple[str, ...]:
    """What it needs of its host that neither comes along nor is looked for on another."""
    return tuple(dict.fromkeys((*_secrets(root), *_folders(root), *_plumbing(root))))


def _secrets(root: Element) -> Iterator[str]:
    for secret in root.iterfind("devices/disk//secret"):
        yield f"libvirt secret {secret.get('uuid') or secret.get('usage', '')}"
    if uuid := attribute(root, "devices/tpm/backend/encryption", "secret"):
        yield f"libvirt secret {uuid}"


def _folders(root: Element) -> Iterator[str]:
    for share in root.iterfind("devices/filesystem"):
        yield f"shared folder {attribute(share, 'source', 'dir', 'socket', 'file', 'name')}"


def _plumbing(root: Element) -> Iterator[str]:
    for nic in root.iterfind("devices/interface[@type='ethernet']"):
        if attribute(nic, "target", "managed") != "no":
            yield f"what connects the tap of card {attribute(nic, 'mac', 'address')}"
    for tag in CHARACTER:
        for device in root.iterfind(f"devices/{tag}[@type='unix']"):
            if attribute(device, "source", "mode") == "connect":
                yield f"socket {attribute(device, 'source', 'path')}"
    if root.find(f"{QEMU}commandline") is not None:
        yield "what QEMU's own arguments (qemu:commandline) name"

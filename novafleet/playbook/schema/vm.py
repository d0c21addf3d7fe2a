"""``vms``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import CloudInit, Disk, Nic, Vm
from novafleet.playbook.schema.depend import DependsOn
from novafleet.playbook.schema.gate import READY
from novafleet.playbook.schema.image import LINE
from novafleet.playbook.schema.policy import OF_VM
from novafleet.playbook.spec import Located, Origins, Place, VmSpec
from novafleet.source.schema import (
    Choice,
    Duration,
    Field,
    Flag,
    Free,
    Integer,
    Ip,
    Mac,
    MapOf,
    OneOrMany,
    Record,
    Size,
    Text,
)

MIB = 1024**2
MOST_COPIES = 500
MOST_DISKS = 24
"""Targets ``vda`` to ``vdx``: the seed takes the last letter."""
LONGEST_SERIAL = 20
"""A virtio disk's serial is its name, and QEMU keeps 20 bytes of it (VIRTIO_BLK_ID_BYTES)."""

WORD = Text(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}", "a word of letters, digits, '.', '_', '+' and '-'")
REFERENCE = Text(empty=False)


def _disk(source: Location, origins: Origins, **values: Any) -> Located:
    if not values["image"] and not values["size"]:
        raise _wrong("an empty disk needs a size", source, "add size: 2GiB, or image: NAME")
    if not values["image"] and "copy" in origins:
        raise _wrong("copy says how an image is used, and there is none", origins["copy"], "add image: NAME")
    if values["image"] and values["copy"] == "overlay" and values["format"] == "raw":
        raise _wrong("a raw disk cannot be an overlay", origins["format"], "add copy: full", "or use format: qcow2")
    return Located(Disk(name="", path="", source=source, **values), origins)


DISK = Record(
    "disk",
    "A volume `ENV.VM.DISK.qcow2` of a pool on the VM's host. The first disk is booted from.",
    (
        Field("image", REFERENCE, "", "The image it starts as.", "mini", shown="empty"),
        Field(
            "size",
            Size(MIB, 2**60, step=512),
            0,
            "Its size; it may grow later, never shrink.",
            "20GiB",
            shown="the image's",
        ),
        Field("format", Choice("qcow2", "raw"), "qcow2", "How it is stored.", "raw", shown="qcow2"),
        Field(
            "copy",
            Choice("overlay", "full"),
            "overlay",
            "`overlay` writes only differences from the image, `full` copies it.",
            "full",
            shown="overlay",
        ),
        Field("pool", WORD, "default", "The storage pool on the host.", "fast", shown="default"),
        Field(
            "bus", Choice("virtio", "scsi", "sata", "usb"), "virtio", "How the guest sees it.", "scsi", shown="virtio"
        ),
        Field("protect", Flag(), False, "Survives `down --volumes` and every replacement.", "true"),
    ),
    into=_disk,
)


def _nic(source: Location, origins: Origins, **values: Any) -> Located:
    return Located(Nic(name="", source=source, **values), origins)


NIC = Record(
    "NIC",
    "A network card.",
    (
        Field("network", REFERENCE, doc="The network it is in.", example="lab"),
        Field(
            "ip",
            Ip(),
            "",
            "Its address: a static DHCP lease, a DNS name, and cloud-init's configuration. With `count` the next VM "
            "gets the next address.",
            "10.20.0.10",
            shown="from DHCP",
        ),
        Field("mac", Mac(), "", "Its MAC address.", '"52:54:00:12:34:56"', shown="made from the names"),
        Field(
            "model",
            Choice("virtio", "e1000e", "e1000", "rtl8139"),
            "virtio",
            "The emulated card.",
            "e1000e",
            shown="virtio",
        ),
    ),
    into=_nic,
)


def _cloud_init(source: Location, origins: Origins, **values: Any) -> CloudInit:  # noqa: ARG001 - every record passes them
    network = values["network_config"]
    user = values["user_data"]
    return CloudInit(
        user_data=user.plain() if user is not None else {},
        network_config=network.plain() if network is not None else None,
        rerun=values["rerun"],
        source=source,
    )


CLOUD_INIT = Record(
    "cloud-init",
    "A NoCloud seed. Empty (`cloud_init: {}`) it still gives the guest its host name and addresses.",
    (
        Field(
            "user_data",
            Free(),
            None,
            "cloud-config. `${env:NAME}` and `${file:PATH}` put secrets in; they never reach a plan or a log.",
            "{runcmd: [[touch, /run/done]]}",
            shown="empty",
        ),
        Field(
            "network_config",
            Free(),
            None,
            "Network configuration, version 2.",
            "{version: 2}",
            shown="made from the NICs",
        ),
        Field(
            "rerun",
            Choice("never", "on-change"),
            "never",
            "`on-change`: when the content changes, it runs again at the next boot (a new instance-id).",
            "on-change",
            shown="never",
        ),
    ),
    into=_cloud_init,
)

PLACE = Record(
    "place",
    "Lets NovaFleet choose the host. A VM that already exists stays where it is.",
    (
        Field("group", REFERENCE, "all", "The inventory group to choose from.", "kvm", shown="all"),
        Field(
            "spread",
            Choice("host", "none"),
            "host",
            "`host`: as few VMs of the same name as possible on one host; `none`: the host with the most memory.",
            "none",
            shown="host",
        ),
        Field(
            "anti_affinity", OneOrMany(REFERENCE), (), "VMs that must be on other hosts, in either order.", "[db, web]"
        ),
        Field("prefer", OneOrMany(REFERENCE), (), "Hosts to take first.", "[kvm2, kvm1]"),
    ),
    into=Place,
)


def _vm(source: Location, origins: Origins, **values: Any) -> VmSpec:
    host, place, count = values.pop("host"), values.pop("place"), values.pop("count")
    wanted = values.pop("depends_on")
    del count
    if host and place is not None:
        raise _wrong("host and place exclude each other", origins["place"], "keep one of them")
    if values["firmware"] == "uefi-secure" and values["machine"] and "q35" not in values["machine"]:
        raise _wrong("firmware uefi-secure needs machine q35", origins["machine"], "remove machine")
    if values["cmdline"] and not values["boot"]:
        raise _wrong("cmdline means nothing without boot", origins["cmdline"], "add boot: IMAGE, or remove cmdline")
    disks, nics = values.pop("disks"), values.pop("nics")
    _check_disks(disks)
    placed = {**origins, **_inner("disks", disks), **_inner("nics", nics)}
    vm = Vm(
        name="",
        base="",
        domain="",
        uuid="",
        host=host,
        disks={name: each.value for name, each in disks.items()},
        nics={name: each.value for name, each in nics.items()},
        source=source,
        origins=placed,
        **values,
    )
    return VmSpec(vm, None if host else place or Place(source=source), wanted)


def _check_disks(disks: Mapping[str, Located]) -> None:
    if len(disks) > MOST_DISKS:
        name = list(disks)[MOST_DISKS]
        raise _wrong(f"{len(disks)} disks are more than {MOST_DISKS}", disks[name].value.source)
    for name, disk in disks.items():
        if len(name) > LONGEST_SERIAL:
            what = f"the disk name {name!r} is longer than {LONGEST_SERIAL} characters"
            raise _wrong(what, disk.value.source, "guests find a disk by its serial, which holds no more")


def _inner(key: str, parts: Mapping[str, Located]) -> dict[str, Location]:
    found = {f"{key}.{name}": each.value.source for name, each in parts.items()}
    for name, each in parts.items():
        found |= {f"{key}.{name}.{inner}": where for inner, where in each.origins.items()}
    return found


def _wrong(what: str, where: Location, *hints: str) -> ConfigError:
    return ConfigError(what, code="NF-ENV-022", where=where, hints=hints)


VM = Record(
    "VM",
    "A virtual machine. Its libvirt name is `ENV-NAME`; UUID and MAC addresses are made from the names, the same from "
    "any controller.",
    (
        Field("host", REFERENCE, "", "The host it is on.", "kvm1", shown="chosen by `place`"),
        Field("place", PLACE, None, "How its host is chosen, instead of `host`.", "{group: kvm}", shown="any host"),
        Field(
            "count",
            Integer(1, MOST_COPIES),
            0,
            "Makes `NAME-1`, `NAME-2` … of it. `${index}` is the number of each.",
            "2",
            shown="a single VM `NAME`",
        ),
        Field("memory", Size(16 * MIB, 2**44, step=MIB), 512 * MIB, "Memory.", "2GiB", shown="512MiB"),
        Field("vcpus", Integer(1, 4096), 1, "Virtual CPUs.", "2"),
        Field(
            "cpu",
            WORD,
            "",
            "`host-model`, `host-passthrough`, `maximum`, or a model of libvirt.",
            "host-passthrough",
            shown="host-model, or qemu64 where there is no KVM",
        ),
        Field("firmware", Choice("bios", "uefi", "uefi-secure"), "bios", "What starts it.", "uefi", shown="bios"),
        Field("tpm", Flag(), False, "An emulated TPM 2.0; the host needs swtpm.", "true"),
        Field("machine", WORD, "", "The QEMU machine type.", "pc", shown="q35"),
        Field("disks", MapOf(DISK), {}, "Disks by name.", "{root: {image: mini, size: 2GiB}}", shown="none"),
        Field("nics", MapOf(NIC), {}, "Network cards by name.", "{lan: {network: lab}}", shown="none"),
        Field(
            "boot", REFERENCE, "", "The image whose kernel is started directly.", "mini", shown="from the first disk"
        ),
        Field("cmdline", LINE, "", "That kernel's command line.", '"console=ttyS0"', shown="the image's"),
        Field("cloud_init", CLOUD_INIT, None, "First-boot configuration.", "{}", shown="no seed"),
        Field("ready", READY, (), "Gates that prove it is up.", "[{tcp: 22, timeout: 2m}]", shown="none"),
        Field("depends_on", DependsOn(), (), "What must be up before it starts.", "[db]", shown="nothing"),
        Field(
            "backup",
            OF_VM,
            None,
            "Its own backup policy, over the environment's; `false`: no backups.",
            "{exclude: [scratch]}",
            shown="the environment's",
        ),
        Field("autostart", Flag(), False, "Start with the host.", "true"),
        Field("agent", Flag(), True, "A channel for the QEMU guest agent.", "false"),
        Field(
            "serial_log",
            Text(r"/(?!.*\.\.)[A-Za-z0-9._/-]+", "an absolute path on the host"),
            "",
            "The host's file that the serial console is written to.",
            "/var/log/libvirt/qemu/db.log",
            shown="/var/log/libvirt/qemu/DOMAIN-serial.log",
        ),
        Field(
            "stop_timeout",
            Duration(),
            30.0,
            "How long it may take to shut down before it is cut off.",
            "2m",
            shown="30s",
        ),
        Field(
            "xml",
            Text(),
            "",
            "Domain XML merged over what NovaFleet makes, for what the schema lacks.",
            "\"<domain><devices><watchdog model='i6300esb'/></devices></domain>\"",
        ),
    ),
    into=_vm,
)

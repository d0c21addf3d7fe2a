"""The desired domain as XML, built as a tree. Format: https://libvirt.org/formatdomain.html."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.capability.vm import devices, overlay
from novafleet.errors import ConfigError
from novafleet.model.environment import Artifact, Environment, Vm
from novafleet.model.facts import HostFacts
from novafleet.model.migration import Mode, Phase
from novafleet.plan import moving, record
from novafleet.plan.moving import Moving
from novafleet.plan.storage import image_path, on_overlay, volume_of

DEFAULT_MACHINE = "q35"
EMULATED_CPU = "qemu64"
CPU_MODES = frozenset(("host-passthrough", "host-model", "maximum"))
MEMORY_STEP = 1 << 20
"""libvirt rounds an x86 guest's memory up to whole MiB; so do we, or it would differ for ever."""
SPARE_PORTS = 4
"""Free PCIe root ports for hot-plugging disks and NICs."""


def domain_xml(
    vm: Vm,
    environment: Environment,
    facts: HostFacts,
    *,
    applied: Mapping[str, str] | None = None,
    run: str = "",
    live: str = "",
) -> str:
    """The definition of one VM on the host of ``facts``, its overlay merged.

    ``applied`` is what its metadata records. From ``live``, the definition libvirt holds now, devices keep their
    addresses, disks their targets and the machine its version: a redefinition must not move a NIC to another slot.
    Raises ConfigError NF-VM-004 (overlay), NF-VM-005 (kernel boot), NF-VOL-003 (pool).
    """
    before = _same_machine(vm, live)
    domain = merged_tree(vm, environment, facts, before)
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = SubElement(domain, "metadata")
    metadata.append(record.element(record.of_vm(environment.name, vm, applied or {}, run)))
    if vm.moved_from:  # what says that it is at home here outlives the definition it was written into
        home = Moving("", Phase.COMMITTED, Mode.AUTO, vm.moved_from, vm.host, run)
        metadata.append(moving.element(home))
    if before is not None:
        _keep_addresses(domain, before)
    if live:
        _keep_overlays(domain, ElementTree.fromstring(live))
    ElementTree.indent(domain)
    return ElementTree.tostring(domain, encoding="unicode")


def merged_tree(vm: Vm, environment: Environment, facts: HostFacts, live: Element | None = None) -> Element:
    """The domain with its overlay, without our metadata. Raises as ``domain_xml`` does."""
    domain = domain_tree(vm, environment, facts, live)
    if vm.xml.strip():
        overlay.merge(domain, overlay.parse(vm.xml, vm.origins.get("xml", vm.source)))
    return domain


def machine(vm: Vm) -> str:
    """The machine type asked for: an alias (q35, pc) or a versioned name."""
    return vm.machine or DEFAULT_MACHINE


def machine_matches(wanted: str, actual: str) -> bool:
    """libvirt replaces an alias by the newest versioned name, ``q35`` by ``pc-q35-10.0``."""
    prefix = {"q35": "pc-q35-", "pc": "pc-i440fx-"}.get(wanted)
    return wanted == actual or (prefix is not None and actual.startswith(prefix))


def _same_machine(vm: Vm, live: str) -> Element | None:
    if not live:
        return None
    domain = ElementTree.fromstring(live)
    return domain if machine_matches(machine(vm), machine_of(domain)) else None


def machine_of(domain: Element) -> str:
    """The machine type of a definition."""
    kind = domain.find("os/type")
    return kind.get("machine", "") if kind is not None else ""


def domain_tree(vm: Vm, environment: Environment, facts: HostFacts, live: Element | None = None) -> Element:
    """The domain without metadata and overlay."""
    domain = Element("domain", type="kvm" if facts.kvm else "qemu")
    SubElement(domain, "name").text = vm.domain
    SubElement(domain, "uuid").text = vm.uuid
    SubElement(domain, "memory", unit="KiB").text = str(-(-vm.memory // MEMORY_STEP) * (MEMORY_STEP >> 10))
    SubElement(domain, "vcpu", placement="static").text = str(vm.vcpus)
    domain.append(_os(vm, environment, facts, machine(vm) if live is None else machine_of(live)))
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if vm.firmware == "uefi-secure":
        SubElement(features, "smm", state="on")
    domain.append(_cpu(vm.cpu, kvm=facts.kvm))
    SubElement(domain, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        SubElement(domain, f"on_{event}").text = action
    domain.append(_devices(vm, environment, facts, live))
    return domain


def cpu(wanted: str, *, kvm: bool) -> str:
    """The CPU mode or model used: the host's model by default, and what TCG can do where there is no KVM."""
    if kvm:
        return wanted or "host-model"
    return "maximum" if wanted == "host-passthrough" else wanted or EMULATED_CPU


def _cpu(wanted: str, *, kvm: bool) -> Element:
    name = cpu(wanted, kvm=kvm)
    if name in CPU_MODES:
        return Element("cpu", mode=name, check="none" if name != "host-model" else "partial")
    element = Element("cpu", mode="custom", match="exact", check="none")
    SubElement(element, "model", fallback="forbid").text = name
    return element


def _os(vm: Vm, environment: Environment, facts: HostFacts, machine_type: str) -> Element:
    element = Element("os", firmware="efi") if vm.firmware != "bios" else Element("os")
    SubElement(element, "type", arch="x86_64", machine=machine_type).text = "hvm"
    if vm.firmware != "bios":
        secure = "yes" if vm.firmware == "uefi-secure" else "no"
        firmware = SubElement(element, "firmware")
        SubElement(firmware, "feature", enabled=secure, name="secure-boot")
    if vm.boot:
        _kernel(element, vm, environment, facts)
    return element


def _kernel(element: Element, vm: Vm, environment: Environment, facts: HostFacts) -> None:
    image = environment.images[vm.boot]
    if image.kernel is None:
        where = vm.origins.get("boot", vm.source)
        hints = (f"images: {{{image.name}: {{kernel: {{…}}, initrd: {{…}}}}}}",)
        raise ConfigError(f"image {image.name!r} has no kernel to boot", code="NF-VM-005", where=where, hints=hints)
    SubElement(element, "kernel").text = _artifact(facts, image.kernel)
    if image.initrd is not None:
        SubElement(element, "initrd").text = _artifact(facts, image.initrd)
    if cmdline := vm.cmdline or image.cmdline:
        SubElement(element, "cmdline").text = cmdline


def _artifact(facts: HostFacts, artifact: Artifact) -> str:
    return image_path(facts, artifact.sha256)


def _devices(vm: Vm, environment: Environment, facts: HostFacts, live: Element | None) -> Element:
    element = Element("devices")
    element.extend(disk_elements(vm, facts, live))
    if vm.cloud_init is not None:
        element.append(devices.seed_device(environment, vm, facts))
    element.extend(devices.nic_device(nic, environment) for nic in vm.nics.values())
    element.append(devices.serial_device(vm))
    if vm.agent:
        element.append(devices.agent_channel())
    element.append(devices.rng_device())
    element.append(devices.balloon_device())
    if vm.tpm:
        element.append(devices.tpm_device())
    element.extend(_controllers(vm, live))
    return element


def disk_elements(vm: Vm, facts: HostFacts, live: Element | None = None) -> tuple[Element, ...]:
    """``<disk>`` of each volume in the file's order; the first is booted from, unless a kernel is."""
    targets = devices.disk_targets(vm.disks, disk_targets_of(live))
    first = None if vm.boot else next(iter(vm.disks), None)
    return tuple(
        devices.disk_device(disk, facts, targets[name], boot=int(name == first)) for name, disk in vm.disks.items()
    )


def disk_targets_of(domain: Element | None) -> Mapping[str, str]:
    """Target (``vda``) by disk name in a definition, for the disks that are ours."""
    disks = domain.findall("devices/disk") if domain is not None else ()
    return {
        alias.removeprefix(devices.DISK_ALIAS): target.get("dev", "")
        for disk in disks
        if (target := disk.find("target")) is not None and (alias := _alias(disk)).startswith(devices.DISK_ALIAS)
    }


def _alias(device: Element) -> str:
    alias = device.find("alias")
    return alias.get("name", "") if alias is not None else ""


def _controllers(vm: Vm, live: Element | None) -> tuple[Element, ...]:
    """The controllers that exist, with what is plugged into them, and those that lack: on q35 spare root ports too."""
    kept = live.findall("devices/controller") if live is not None else []
    added: list[Element] = []
    if "q35" in machine(vm):
        fixed = 5  # USB, the agent's serial bus, balloon, rng, scsi: a port each
        wanted = fixed + len(vm.disks) + len(vm.nics) + int(vm.cloud_init is not None) + SPARE_PORTS
        present = sum(each.get("model") == "pcie-root-port" for each in kept)
        if not any(each.get("model") == "pcie-root" for each in kept):
            added.append(Element("controller", type="pci", index="0", model="pcie-root"))
        added.extend(devices.root_ports(max(0, wanted - present)))
    if any(disk.bus == "scsi" for disk in vm.disks.values()) and not any(each.get("type") == "scsi" for each in kept):
        added.append(Element("controller", type="scsi", index="0", model="virtio-scsi"))
    return (*kept, *added)


def _keep_addresses(domain: Element, live: Element) -> None:
    known = {_key(device): address for device in live.findall("devices/*") if (address := _address(device)) is not None}
    for device in domain.findall("devices/*"):
        address = known.get(_key(device))
        if address is not None and _address(device) is None:
            device.append(address)


def _keep_overlays(domain: Element, live: Element) -> None:
    """A disk with snapshots stays on its overlay: what was written since the last of them is there and nowhere else."""
    known = {_alias(disk): path for disk in live.findall("devices/disk") if on_overlay(path := _file(disk))}
    for disk in domain.findall("devices/disk"):
        path = known.get(_alias(disk), "")
        source, driver = disk.find("source"), disk.find("driver")
        if source is not None and driver is not None and volume_of(path) == _file(disk) != "":
            source.set("file", path)
            driver.set("type", "qcow2")


def _file(disk: Element) -> str:
    source = disk.find("source")
    return source.get("file", "") if source is not None else ""


def overlaid(xml: str) -> bool:
    """Has a domain disks with snapshots?"""
    return any(on_overlay(_file(disk)) for disk in ElementTree.fromstring(xml).findall("devices/disk"))


def _address(device: Element) -> Element | None:
    return device.find("address")


def _key(device: Element) -> tuple[str, ...]:
    """What a device is called across redefinitions: its alias, or its kind where there is one of a kind."""
    if alias := _alias(device):  # on another bus a disk needs another address
        target = device.find("target")
        return (device.tag, alias, target.get("bus", "") if target is not None else "")
    if device.tag == "controller":
        return (device.tag, device.get("type", ""), device.get("index", "0"))
    target = device.find("target")
    return (device.tag, target.get("name", "") if target is not None else "")

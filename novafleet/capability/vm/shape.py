"""The fields of a domain that NovaFleet manages, read from any XML: ours, or libvirt's rewriting of it.

What libvirt adds by itself (addresses, controllers, consoles, defaults) is not looked at, so it is never a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from novafleet.capability.vm import devices, overlay, xml
from novafleet.model.environment import Environment, Vm
from novafleet.model.facts import Domain, HostFacts
from novafleet.plan import record
from novafleet.plan.storage import on_overlay, seed_path, volume_of
from novafleet.render import cloudinit

Shape = Mapping[str, str]
"""Text by dotted field: ``memory`` (bytes), ``vcpus``, ``disks.root.path``, ``nics.lan.network``, …"""

_KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1 << 10, "M": 1 << 10, "GiB": 1 << 20, "G": 1 << 20}


def desired(vm: Vm, environment: Environment, facts: HostFacts) -> Shape:
    """What the file asks for. Raises ConfigError as ``domain_xml`` does."""
    described = of_tree(xml.merged_tree(vm, environment, facts))
    return _present(
        {
            **described,
            **_addresses(vm, environment),
            "autostart": _yes(vm.autostart),
            "seed.digest": cloudinit.digest(cloudinit.seed(environment, vm)),
            "xml": overlay.digest(vm.xml),
        }
    )


def live(domain: Domain, environment: Environment, vm: Vm, facts: HostFacts) -> Shape:
    """What the host has: the inactive definition, the seed's recorded digest, and from our record the overlay's and
    the addresses the guest was started with."""
    seed = facts.digests.get(seed_path(facts, environment.name, vm.name), "") if vm.cloud_init else ""
    applied = recorded(domain)
    leased = {field: applied.get(field, wanted) for field, wanted in _addresses(vm, environment).items()}
    told = {"autostart": _yes(domain.autostart), "seed.digest": seed, "xml": applied.get("xml", "")}
    return _present({**of_xml(domain.xml), **leased, **told})


def _addresses(vm: Vm, environment: Environment) -> Shape:
    """What networks lease its NICs, unless the seed tells it: a guest asks when it boots, and keeps what it got."""
    if vm.cloud_init is not None and vm.cloud_init.network_config is None:
        return {}
    served = (nic for nic in vm.nics.values() if environment.networks[nic.network].dhcp)
    return {f"nics.{nic.name}.ip": nic.ip for nic in served if nic.ip}


def recorded(domain: Domain) -> Shape:
    """What was last applied, as the domain's metadata tells; empty when it has none."""
    found = record.read(domain)
    return found.applied if found is not None else {}


def of_xml(text: str) -> Shape:
    """The managed fields of one definition."""
    return of_tree(ElementTree.fromstring(text))


def of_tree(domain: Element) -> Shape:
    """The same of a parsed definition."""
    fields = {
        "accelerator": domain.get("type", ""),
        "memory": _bytes(domain.find("memory")),
        "vcpus": domain.findtext("vcpu", "").strip(),
        "cpu": _cpu(domain.find("cpu")),
        "machine": xml.machine_of(domain),
        "firmware": _firmware(domain),
        "tpm": _yes(domain.find("devices/tpm") is not None),
        "agent": _yes(domain.find("devices/channel/target[@name='org.qemu.guest_agent.0']") is not None),
        "serial_log": _attribute(domain, "devices/serial/log", "file"),
    }
    fields.update((name, domain.findtext(f"os/{name}", "").strip()) for name in ("kernel", "initrd", "cmdline"))
    fields["boot_disk"] = _boot_disk(domain)
    fields.update(_disks(domain))
    fields.update(_nics(domain))
    return _present(fields)


def _present(fields: Mapping[str, str]) -> Shape:
    return {field: text for field, text in fields.items() if text}


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _bytes(memory: Element | None) -> str:
    if memory is None or not (memory.text or "").strip().isdecimal():
        return ""
    return str(int(int((memory.text or "").strip()) * _KIB.get(memory.get("unit", "KiB"), 1) * 1024))


def _attribute(element: Element, path: str, name: str) -> str:
    found = element.find(path)
    return found.get(name, "") if found is not None else ""


def _cpu(cpu: Element | None) -> str:
    if cpu is None:
        return ""
    mode = cpu.get("mode", "custom")
    return cpu.findtext("model", "").strip() if mode == "custom" else mode


def _firmware(domain: Element) -> str:
    system = domain.find("os")
    if system is None or (system.get("firmware") != "efi" and system.find("loader[@type='pflash']") is None):
        return "bios"
    secure = system.find("firmware/feature[@name='secure-boot'][@enabled='yes']") is not None
    return "uefi-secure" if secure or system.find("loader[@secure='yes']") is not None else "uefi"


def _boot_disk(domain: Element) -> str:
    """The disk that is booted from first; "" where a kernel is."""
    orders = {disk_name(disk): _attribute(disk, "boot", "order") for disk in domain.findall("devices/disk")}
    return min((int(order), name) for name, order in orders.items() if order)[1] if any(orders.values()) else ""


def _disks(domain: Element) -> Iterator[tuple[str, str]]:
    for disk in domain.findall("devices/disk"):
        if disk.get("device", "disk") != "disk":
            continue
        name = disk_name(disk)
        if name == devices.SEED_ALIAS:
            yield "seed.path", _attribute(disk, "source", "file")
            continue
        path = _attribute(disk, "source", "file")
        yield f"disks.{name}.path", volume_of(path)
        yield f"disks.{name}.bus", _attribute(disk, "target", "bus")
        # An overlay is always qcow2; the name of a volume of ours ends with its format.
        told = volume_of(path).rpartition(".")[2] if on_overlay(path) else _attribute(disk, "driver", "type")
        yield f"disks.{name}.format", told


def disk_name(disk: Element) -> str:
    """Its name in the file, or for a disk that is not ours ``@TARGET``."""
    alias = _attribute(disk, "alias", "name")
    if alias == devices.SEED_ALIAS:
        return alias
    if alias.startswith(devices.DISK_ALIAS):
        return alias.removeprefix(devices.DISK_ALIAS)
    return "@" + _attribute(disk, "target", "dev")


def _nics(domain: Element) -> Iterator[tuple[str, str]]:
    for nic in domain.findall("devices/interface"):
        name, kind = nic_name(nic), nic.get("type", "")
        source = _attribute(nic, "source", kind)
        yield f"nics.{name}.network", source if kind == "network" else f"{kind}:{source}"
        yield f"nics.{name}.vlan", _attribute(nic, "vlan/tag", "id")
        yield f"nics.{name}.mac", _attribute(nic, "mac", "address").lower()
        yield f"nics.{name}.model", _attribute(nic, "model", "type")


def nic_name(nic: Element) -> str:
    """Its name in the file, or for a NIC that is not ours ``@MAC``."""
    alias = _attribute(nic, "alias", "name")
    if alias.startswith(devices.NIC_ALIAS):
        return alias.removeprefix(devices.NIC_ALIAS)
    return "@" + _attribute(nic, "mac", "address").lower()

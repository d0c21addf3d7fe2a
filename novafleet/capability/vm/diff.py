"""What differs between the file and a host, and what closing the gap costs (docs/concepts/changes.md).

Pure: two shapes in, reasons with their impact out. A difference is known by its field's name, never by a position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from novafleet.capability.vm.shape import Shape
from novafleet.capability.vm.xml import machine_matches
from novafleet.errors import Location
from novafleet.model.environment import Vm
from novafleet.model.plan import Impact, Reason
from novafleet.plan.storage import size_text

LIVE_BUSES = frozenset(("virtio", "scsi"))
"""Buses a running guest takes a disk on and off."""

_LIVE_FIELDS = frozenset(("autostart", "boot_disk", "nics.network"))
_COSTS = {"firmware": Impact.RECREATE, "disks.path": Impact.DATA_LOSS}
_WRITTEN_AS = {"kernel": "boot", "initrd": "boot", "cmdline": "boot", "boot_disk": "disks", "accelerator": "host"}
_ORDER = (Impact.LIVE, Impact.REBOOT, Impact.RECREATE, Impact.DATA_LOSS)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field: what the file wants, what the host has (either "" when absent), and the price of changing it."""

    field: str
    desired: str
    live: str
    impact: Impact


def differences(vm: Vm, desired: Shape, live: Shape) -> tuple[Difference, ...]:
    """Every field in which the host is not as the file says; empty after the file was applied."""
    return tuple(
        Difference(field, desired.get(field, ""), live.get(field, ""), _impact(vm, field, desired, live))
        for field in sorted(desired.keys() | live.keys())
        if not same(field, desired.get(field, ""), live.get(field, ""))
    )


def same(field: str, desired: str, live: str) -> bool:
    """Is a field as desired? A machine alias matches its versions; which disk is first is all one to a kernel."""
    if field == "boot_disk" and not desired:
        return True
    return machine_matches(desired, live) if field == "machine" else desired == live


def _impact(vm: Vm, field: str, desired: Shape, live: Shape) -> Impact:
    kind, name, attribute = split(field)
    if field == "seed.digest":
        return Impact.REBOOT if vm.cloud_init is not None and vm.cloud_init.rerun != "never" else Impact.LIVE
    if kind == "disks" and not _both(field, desired, live):
        bus = desired.get(f"disks.{name}.bus") or live.get(f"disks.{name}.bus", "")
        return Impact.LIVE if _pluggable(bus, live) else Impact.REBOOT
    if kind == "nics" and not _both(field, desired, live):
        return Impact.LIVE
    general = f"{kind}.{attribute}" if attribute else field
    return Impact.LIVE if general in _LIVE_FIELDS else _COSTS.get(general, Impact.REBOOT)


def _both(field: str, desired: Shape, live: Shape) -> bool:
    """Does the disk or NIC exist on both sides?"""
    kind, name, _ = split(field)
    probe = f"{kind}.{name}.{'path' if kind == 'disks' else 'mac'}"
    return probe in desired and probe in live


def _pluggable(bus: str, live: Shape) -> bool:
    if bus == "scsi":
        return any(field.endswith(".bus") and text == "scsi" for field, text in live.items())
    return bus in LIVE_BUSES


def split(field: str) -> tuple[str, str, str]:
    """``disks.root.path`` as (disks, root, path); a plain field as (field, "", "")."""
    kind, _, rest = field.partition(".")
    if kind not in ("disks", "nics"):
        return field, "", ""
    name, _, attribute = rest.rpartition(".")
    return kind, name, attribute


def worst(impacts: Iterable[Impact]) -> Impact:
    """The dearest of them; live for none."""
    return max(impacts, key=_ORDER.index, default=Impact.LIVE)


def reasons(vm: Vm, found: tuple[Difference, ...]) -> tuple[Reason, ...]:
    """The differences as a person reads them: a disk or NIC that comes or goes is one reason, not one a field."""
    told: dict[str, Reason] = {}
    for difference in found:
        kind, name, attribute = split(difference.field)
        key = f"{kind}.{name}"
        optional = attribute == "vlan" and key not in told  # a NIC that stays may have none on either side
        whole = bool(name) and not optional and not (difference.desired and difference.live)
        key = key if whole else difference.field
        told.setdefault(key, _whole(vm, kind, name, difference) if whole else _field(vm, difference))
    return tuple(told.values())


def _whole(vm: Vm, kind: str, name: str, difference: Difference) -> Reason:
    noun = {"disks": "disk", "nics": "NIC"}[kind]
    field = f"{kind}.{name}"
    if difference.desired:
        return Reason(f"{noun} {name} is added", source=origin(vm, field))
    if name.startswith("@"):
        return Reason(f"{noun} {name[1:]} was attached on the host and is not in the file", source=vm.source)
    return Reason(f"{noun} {name} is no longer in the file", source=vm.source)


def _field(vm: Vm, difference: Difference) -> Reason:
    field, source = difference.field, origin(vm, difference.field)
    if field == "seed.digest":
        return Reason(_seed_text(vm, difference), source=source)
    if field == "xml":
        return Reason("the xml overlay changed", source=source)
    before, after = readable(field, difference.live), readable(field, difference.desired)
    return Reason(f"{field}: {before or '(none)'} -> {after or '(none)'}", field, before, after, source)


def _seed_text(vm: Vm, difference: Difference) -> str:
    if not difference.live:
        return "the cloud-init seed is missing on the host"
    if vm.cloud_init is not None and vm.cloud_init.rerun != "never":
        return "cloud-init content changed: the guest runs it again at its next boot"
    return "cloud-init content changed: the seed is rewritten, the guest keeps what it has (rerun: never)"


def origin(vm: Vm, field: str) -> Location:
    """Where the file says it: the field's own line, else its disk's or NIC's, else the VM's."""
    kind, name, attribute = split(field)
    head = _WRITTEN_AS.get(field, "cloud_init" if field.startswith("seed.") else field)
    for key in (f"{kind}.{name}.{attribute}", f"{kind}.{name}", field, head):
        if key in vm.origins:
            return vm.origins[key]
    parts: Mapping[str, Mapping[str, object]] = {"disks": vm.disks, "nics": vm.nics}
    part = parts.get(kind, {}).get(name)
    return getattr(part, "source", vm.source)


def readable(field: str, text: str) -> str:
    """A value as the file would write it: memory with its unit."""
    return size_text(int(text)) if field == "memory" and text.isdecimal() else text

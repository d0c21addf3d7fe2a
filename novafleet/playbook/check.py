"""What entries say of one another: every name must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from novafleet.errors import ConfigError, Location
from novafleet.model.environment import Gate, GateKind
from novafleet.model.fleet import Fleet
from novafleet.playbook.spec import Sheet, VmSpec
from novafleet.source.suggest import did_you_mean

ON_VMS_ONLY = (GateKind.AGENT, GateKind.CLOUD_INIT, GateKind.SERIAL)
ON_STACKS_ONLY = (GateKind.COMPOSE,)


def check_references(sheet: Sheet, fleet: Fleet) -> Iterator[ConfigError]:
    """NF-ENV-001 for names that lead nowhere, NF-ENV-022 for images that cannot be used so, NF-ENV-023 for gates."""
    for spec in sheet.vms.values():
        yield from _check_host(spec, sheet, fleet)
        yield from _check_parts(spec, sheet)
        refused = ON_STACKS_ONLY if spec.vm.agent else (*ON_STACKS_ONLY, GateKind.AGENT)
        yield from _check_gates(spec.vm.ready, refused, "a VM" if spec.vm.agent else "a VM with agent: false")
    for network in sheet.networks.values():
        where = network.origins.get("hosts", network.network.source)
        for name in network.network.hosts:
            if name not in fleet.groups:
                yield from unknown("host or group", name, {**fleet.hosts, **fleet.groups}, where)
    for stack in sheet.stacks.values():
        yield from unknown("host", stack.host, fleet.hosts, stack.origins["host"])
        yield from _check_gates(stack.ready, ON_VMS_ONLY, "a stack")


def unknown(what: str, name: str, known: Iterable[str], where: Location) -> Iterator[ConfigError]:
    """NF-ENV-001 unless ``name`` is among the ``known``."""
    names = frozenset(known)
    if name not in names:
        hints = did_you_mean(name, names, f"{what}s") or (f"none is defined: add {what} {name}",)
        yield ConfigError(f"there is no {what} {name!r}", code="NF-ENV-001", where=where, hints=hints)


def _check_host(spec: VmSpec, sheet: Sheet, fleet: Fleet) -> Iterator[ConfigError]:
    if spec.place is None:
        yield from unknown("host", spec.vm.host, fleet.hosts, spec.vm.origins["host"])
        return
    origins, source = spec.place.origins, spec.place.source
    yield from unknown("group", spec.place.group, fleet.groups, origins.get("group", source))
    for name in spec.place.prefer:
        yield from unknown("host", name, fleet.hosts, origins["prefer"])
    for name in spec.place.anti_affinity:
        yield from unknown("VM", name, {*sheet.bases, *sheet.bases.values()}, origins["anti_affinity"])


def _check_parts(spec: VmSpec, sheet: Sheet) -> Iterator[ConfigError]:
    origins = spec.vm.origins
    for name, disk in spec.vm.disks.items():
        if disk.image:
            yield from _check_image(disk.image, "disk", sheet, origins[f"disks.{name}.image"])
    if spec.vm.boot:
        yield from _check_image(spec.vm.boot, "kernel", sheet, origins["boot"])
    for name, nic in spec.vm.nics.items():
        yield from unknown("network", nic.network, sheet.declared["networks"], origins[f"nics.{name}.network"])


def _check_image(name: str, part: str, sheet: Sheet, where: Location) -> Iterator[ConfigError]:
    yield from unknown("image", name, sheet.declared["images"], where)
    image = sheet.images.get(name)
    if image is not None and getattr(image, part) is None:
        what = f"image {name!r} has no {part}"
        yield ConfigError(what, code="NF-ENV-022", where=where, hints=(f"it is defined at {image.source}",))


def _check_gates(gates: Iterable[Gate], refused: tuple[GateKind, ...], whose: str) -> Iterator[ConfigError]:
    for gate in gates:
        if gate.kind in refused:
            what = f"the gate {gate.kind} cannot look at {whose}"
            yield ConfigError(what, code="NF-ENV-023", where=gate.source, hints=("use tcp, http, exec or stopped",))

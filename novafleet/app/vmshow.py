"""``vm show``: what a VM is made of, where its disks are, and where it can be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from novafleet.app.party import Party, Selected, party
from novafleet.app.vm import VmRow, row
from novafleet.capability.migration.downtime import addresses
from novafleet.capability.migration.guest import Guest, GuestDisk, GuestNic, read
from novafleet.capability.vm.owned import RUNNING
from novafleet.errors import HypervisorError, NovaFleetError
from novafleet.model.facts import NO_ANSWER
from novafleet.plan import moving
from novafleet.together import together

if TYPE_CHECKING:
    from novafleet.app.vmselect import Chosen
    from novafleet.ports import Hypervisor


@dataclass(frozen=True, slots=True)
class VmDisk:
    """A disk or drive, ``path`` on the host. Bytes: its size as the guest sees it, and what it takes on the host; -1
    where libvirt cannot tell."""

    target: str
    device: str
    format: str
    path: str
    capacity: int = -1
    allocation: int = -1


@dataclass(frozen=True, slots=True)
class VmDetail:
    """``row`` as in the list; ``vm`` its name in its environment; ``move`` its migration that has not ended."""

    row: VmRow
    vm: str
    autostart: bool
    machine: str
    firmware: str
    cpu: str
    disks: tuple[VmDisk, ...]
    nics: tuple[GuestNic, ...]
    addresses: tuple[str, ...]
    move: str = ""


@dataclass(frozen=True, slots=True)
class Details:
    """What was found, and why VMs (``HOST/DOMAIN``) or hosts could not be looked at."""

    vms: tuple[VmDetail, ...]
    failed: Mapping[str, NovaFleetError]


async def show(asked: Selected) -> Details:
    """The VMs meant. Raises ConfigError NF-VM-006, -007."""
    async with party(asked) as crew:
        found = await together(*(_detail(crew, each) for each in crew.chosen))
    details = tuple(each for each in found if isinstance(each, VmDetail))
    labels = [each.label for each in crew.chosen]
    failed = {label: each for label, each in zip(labels, found, strict=True) if isinstance(each, NovaFleetError)}
    return Details(details, {**failed, **crew.unseen})


async def _detail(crew: Party, chosen: Chosen) -> VmDetail | NovaFleetError:
    host = crew.reached.get(chosen.host.name)
    if host is None:
        return crew.failed[chosen.host.name]
    domain, move = chosen.domain, moving.read(chosen.domain.xml)
    answers = domain.reason != NO_ANSWER
    try:
        guest = read(domain.xml)
        asked = domain.state in RUNNING and answers
        return VmDetail(
            row=row(chosen.host.name, domain),
            vm=chosen.vm,
            autostart=domain.autostart,
            machine=guest.machine,
            firmware="uefi" if guest.loader or guest.nvram or guest.firmware == "efi" else "bios",
            cpu=guest.cpu_mode,
            disks=await together(*(_disk(host.hypervisor, guest, each, answers=answers) for each in guest.disks)),
            nics=guest.nics,
            addresses=await addresses(host.session, domain.name) if asked else (),
            move=moving.unfinished(move) if move is not None and move.open else "",
        )
    except NovaFleetError as error:
        return error.at(chosen.host.name)


async def _disk(hypervisor: Hypervisor, guest: Guest, disk: GuestDisk, *, answers: bool) -> VmDisk:
    shown = VmDisk(disk.target, disk.device, disk.format, disk.path or "/".join(filter(None, disk.volume)))
    if not answers or not shown.path:
        return shown
    try:
        size = await hypervisor.block_info(guest.name, disk.target)
    except HypervisorError:  # its image is gone, or of a kind libvirt cannot measure
        return shown
    return VmDisk(shown.target, shown.device, shown.format, shown.path, size.capacity, size.physical)

"""One VM and the two hosts it is to move between, looked at before anything is decided."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from posixpath import dirname
from typing import Any
from xml.etree import ElementTree

from novafleet.capability.migration import place
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.filters import filters
from novafleet.capability.migration.guest import Guest, GuestDisk, read, whole
from novafleet.capability.migration.observed import Image, Observed, Seen, Side
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.survey import Surveys
from novafleet.model.facts import HostFacts, PoolFact
from novafleet.model.migration import Wanted
from novafleet.plan.elsewhere import machine_for
from novafleet.plan.pins import topology
from novafleet.ports import Hypervisor
from novafleet.together import together

OFF = frozenset(("shutoff", "crashed"))
"""States without a QEMU process."""
TIMEOUT = 120.0
Kind = tuple[tuple[int, int], str]
"""Versions of libvirt and QEMU, and libvirt's capabilities."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one host: ``disks`` are (format, path)."""

    domain: str
    directories: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    disks: tuple[tuple[str, str], ...] = ()

    def words(self, mark: str) -> tuple[str, ...]:
        """The arguments of ``look.sh``."""
        counts = (str(len(self.directories)), str(len(self.files)))
        return (
            mark,
            self.domain,
            *counts,
            *self.directories,
            *self.files,
            *(word for disk in self.disks for word in disk),
        )


@dataclass(slots=True)
class Answer:
    """What a host said."""

    values: dict[str, str] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    room: dict[str, int] = field(default_factory=dict)
    files: dict[str, Seen] = field(default_factory=dict)
    chains: dict[str, tuple[Image, ...]] = field(default_factory=dict)


async def look(
    ends: tuple[End, End],
    facts: Mapping[str, HostFacts],
    name: str,
    wanted: Wanted,
    surveys: Surveys,
    *,
    job: str,
    vm: str,
    environment: str,
) -> Observed:
    """Everything but rates and paths. ``ends`` are source and destination, ``facts`` what their collectors ``system``
    and ``libvirt`` told. Raises NotFoundError for a domain that is gone, and what keeps a host from answering."""
    source, destination = ends
    here, there = facts[source.host.name], facts[destination.host.name]
    observed = await _vm(source.hypervisor, name, Side(here.host), Side(there.host), (job, vm, environment))
    guest = whole(observed.active_xml, observed.domain.xml, here.pools)
    own = [disk for disk in guest.disks if not disk.medium and disk.path]
    files = (*(disk.path for disk in own), *extras(guest))
    homes = sorted({dirname(disk.path) for disk in own if disk.kind == "file"})
    running = guest.name if observed.running else ""
    mine, found, shared, one, (other, cpu, boot_cpu), busy = await together(
        ask(source, Question(running, (), files, tuple((disk.format, disk.path) for disk in own))),
        ask(destination, arrivals(guest, files, here.pools, there.pools, wanted)),
        surveys.shared(source, destination, homes),
        _kind(source.hypervisor),
        _receiver(destination.hypervisor, guest if observed.running else None, read(observed.domain.xml)),
        _busy(source.hypervisor, observed, own),
    )
    lower = tuple(dict.fromkeys(image.path for chain in mine.chains.values() for image in chain[1:]))
    if lower:
        await _below(ends, (mine, found), lower, arrivals(guest, lower, here.pools, there.pools, wanted))
    resident = int(mine.values.get("resident") or 0) << 10
    sides = (_side(here, one, mine, guest.arch), _side(there, other, found, guest.arch))
    seen = replace(observed, source=sides[0], destination=sides[1], resident=resident, shared=shared)
    seen = await _filtered(seen, ends, guest)
    return replace(seen, cpu=cpu, boot_cpu=boot_cpu, busy=busy)


async def _filtered(seen: Observed, ends: tuple[End, End], guest: Guest) -> Observed:
    """With its network filters; most VMs have none."""
    names = {nic.filter for nic in guest.nics if nic.filter}
    if not names:
        return seen
    here = await filters(ends[0], names)
    return replace(seen, filters=here, filters_there=await filters(ends[1], names | here.keys()))


async def _vm(hypervisor: Hypervisor, name: str, here: Side, there: Side, named: tuple[str, str, str]) -> Observed:
    domain, snapshots, checkpoints = await together(
        hypervisor.domain(name), hypervisor.snapshots(name), hypervisor.checkpoints(name)
    )
    running = await hypervisor.running_xml(name) if domain.state not in OFF else ""
    return Observed(*named, domain, here, there, running, snapshots, checkpoints)


def extras(guest: Guest) -> tuple[str, ...]:
    """Files the guest needs beside its disks."""
    media = [disk.path for disk in guest.disks if disk.medium and disk.kind == "file"]
    named = (*media, guest.kernel, guest.initrd, guest.dtb, *guest.tables, guest.nvram, guest.tpm)
    return tuple(dict.fromkeys(path for path in named if path))


def arrivals(
    guest: Guest,
    files: tuple[str, ...],
    here: Mapping[str, PoolFact],
    there: Mapping[str, PoolFact],
    wanted: Wanted,
) -> Question:
    """What to ask of the destination: is there room, and is something there already?"""
    paths = [place.arrival(path, here, there, wanted) for path in files]
    programs = [path for path in (guest.loader, guest.emulator, *guest.random) if path]
    rooms = tuple(sorted({dirname(path) for path in paths}))
    return Question("", rooms, tuple(dict.fromkeys((*files, *paths, *programs))))


async def _below(
    ends: tuple[End, End], answers: tuple[Answer, Answer], lower: tuple[str, ...], landing: Question
) -> None:
    """The same of the images that disks stand on."""
    here, there = await together(ask(ends[0], Question("", (), lower)), ask(ends[1], landing))
    answers[0].files.update(here.files)
    answers[1].files.update(there.files)
    answers[1].room.update(there.room)


async def _kind(hypervisor: Hypervisor) -> Kind:
    """What a host's libvirt and QEMU are, and what they can do."""
    return await together(hypervisor.version(), hypervisor.capabilities())


async def _receiver(hypervisor: Hypervisor, running: Guest | None, definition: Guest) -> tuple[Kind, str, str]:
    """The same of the destination, and why it cannot run this CPU, now and when it boots."""
    kind = await _kind(hypervisor)
    _, machines = host_of(kind[1], definition.arch)
    return kind, *await together(_cpu(hypervisor, running, machines), _cpu(hypervisor, definition, machines))


def _side(facts: HostFacts, kind: Kind, answer: Answer, arch: str) -> Side:
    versions, capabilities = kind
    uuid, machines = host_of(capabilities, arch)
    return Side(
        host=facts.host,
        versions=versions,
        uuid=uuid,
        memory_available=facts.memory_available,
        kvm=answer.values.get("kvm") == "yes",
        cpu_flags=frozenset(answer.values.get("flags", "").split()),
        machines=machines,
        lock_manager=answer.values.get("lock", ""),
        swtpm=answer.values.get("swtpm") == "yes",
        topology=topology(capabilities),
        addresses=frozenset(each.partition("/")[0] for found in facts.subnets.values() for each in found),
        domains=facts.domains,
        networks=facts.networks,
        pools=facts.pools,
        devices=answer.devices,
        chains=answer.chains,
        files=answer.files,
        room=answer.room,
    )


async def ask(end: End, asked: Question) -> Answer:
    """Run ``look.sh`` on one host."""
    mark = f"@@{secrets.token_hex(8)}"
    completed = await end.session.run(script("look.sh", *asked.words(mark)), timeout=TIMEOUT)
    return answer_of(completed.text, mark, asked)


def answer_of(text: str, mark: str, asked: Question) -> Answer:
    """Pure: what the script printed."""
    answer = Answer()
    for each in text.split(f"{mark} ")[1:]:
        head, _, body = each.partition("\n")
        kind, _, rest = head.partition(" ")
        _take(answer, asked, kind, rest, body)
    return answer


def _take(answer: Answer, asked: Question, kind: str, rest: str, body: str) -> None:
    words = rest.split()
    if kind == "mtu" and len(words) == 2:
        answer.devices[words[1]] = int(words[0])
    elif kind == "room":
        answer.room[asked.directories[int(words[0])]] = int(words[1])
    elif kind == "file":
        number, inode, size, digest = words
        answer.files[asked.files[int(number)]] = Seen(int(size), digest.strip("-"), int(inode))
    elif kind == "disk":
        form, path = asked.disks[int(words[0])]
        answer.chains[path] = chain_of(path, form, int(words[1]), body)
    else:
        answer.values[kind] = rest.strip()


def chain_of(path: str, form: str, status: int, said: str) -> tuple[Image, ...]:
    """The images of a disk, the active one first, from ``qemu-img info --backing-chain``."""
    if status:
        return (Image(path, form, error=said.strip().splitlines()[-1] if said.strip() else "no answer"),)
    try:
        listed: Sequence[Mapping[str, Any]] = json.loads(said)
    except ValueError:
        return (Image(path, form, error="qemu-img's answer cannot be read"),)
    return tuple(_image(each) for each in listed)


def _image(info: Mapping[str, Any]) -> Image:
    return Image(
        path=str(info.get("filename", "")),
        format=str(info.get("format", "")),
        size=int(info.get("virtual-size", 0)),
        allocated=int(info.get("actual-size", 0)),
        backing=str(info.get("full-backing-filename") or info.get("backing-filename", "")),
        internal=tuple(str(each.get("name", "")) for each in info.get("snapshots", ())),
        untold="backing-filename" in info and "backing-filename-format" not in info,
    )


def host_of(capabilities: str, arch: str) -> tuple[str, frozenset[str]]:
    """A host's UUID and the machine types its emulators know for an architecture."""
    root = ElementTree.fromstring(capabilities)
    machines = {
        name
        for machine in root.iterfind(f"guest/arch[@name='{arch}']//machine")
        for name in (machine.text or "", machine.get("canonical", ""))
        if name
    }
    return root.findtext("host/uuid", ""), frozenset(machines)


async def _cpu(hypervisor: Hypervisor, guest: Guest | None, machines: Collection[str]) -> str:
    """Why the destination cannot run this CPU; those that take what the host has are compared by their flags. libvirt
    compares for a machine type it knows; where none would do, the VM does not get so far (NF-MIG-311)."""
    if guest is None or not guest.cpu or guest.cpu_mode != "custom":
        return ""
    machine = machine_for(guest.machine, machines) if machines else guest.machine
    if guest.machine and not machine:
        return ""
    return await hypervisor.compare_cpu(guest.cpu, arch=guest.arch, machine=machine, kind=guest.kind)


async def _busy(hypervisor: Hypervisor, observed: Observed, disks: Sequence[GuestDisk]) -> str:
    """The job that holds the VM, in words."""
    name = observed.domain.name
    if not observed.running:
        return ""
    if await hypervisor.backup_job(name) is not None:
        return "a backup"
    for disk in disks:
        job = await hypervisor.block_job(name, disk.target)
        if job is not None:
            return f"a block job ({job.kind}) on disk {disk.target}"
    return ""

"""One VM and the two hosts it is to move between, looked at before anything is decided."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from posixpath import basename, dirname
from typing import Any
from xml.etree import ElementTree

from novafleet.capability.migration import place
from novafleet.capability.migration.ends import End
from novafleet.capability.migration.guest import Guest, GuestDisk, read
from novafleet.capability.migration.observed import Image, Observed, Seen, Side
from novafleet.capability.migration.proof import proven
from novafleet.capability.migration.scripts import script
from novafleet.model.facts import HostFacts, PoolFact
from novafleet.model.migration import Wanted
from novafleet.ports import Hypervisor
from novafleet.together import together

OFF = frozenset(("shutoff", "crashed"))
"""States without a QEMU process."""
TIMEOUT = 120.0


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
    guest = _located(read(observed.active_xml), here.pools)
    asked = questions(guest, observed.running, here.pools, there.pools, wanted)
    homes = sorted({dirname(disk.path) for disk in guest.disks if disk.kind == "file" and disk.path})
    (mine, resident), (other, _), shared, cpu, busy = await together(
        _side(source, here, asked[0], guest),
        _side(destination, there, asked[1], guest),
        proven(source, destination, homes),
        _cpu(destination.hypervisor, guest),
        _busy(source.hypervisor, observed, guest),
    )
    seen = replace(observed, source=mine, destination=other, resident=resident)
    return replace(seen, shared=shared, cpu=cpu, busy=busy)


async def _vm(hypervisor: Hypervisor, name: str, here: Side, there: Side, named: tuple[str, str, str]) -> Observed:
    domain = await hypervisor.domain(name)
    running = await hypervisor.running_xml(name) if domain.state not in OFF else ""
    snapshots, checkpoints = await hypervisor.snapshots(name), await hypervisor.checkpoints(name)
    return Observed(*named, domain, here, there, running, snapshots, checkpoints)


def _located(guest: Guest, pools: Mapping[str, PoolFact]) -> Guest:
    """Volumes of directory pools are files like any other."""
    return replace(guest, disks=tuple(_file_of(disk, pools) for disk in guest.disks))


def _file_of(disk: GuestDisk, pools: Mapping[str, PoolFact]) -> GuestDisk:
    pool = pools.get(disk.volume[0])
    if disk.kind != "volume" or pool is None or not pool.path:
        return disk
    path = f"{pool.path.rstrip('/')}/{disk.volume[1]}"
    return replace(disk, path=path, kind="block" if path.startswith("/dev/") else "file")


def questions(
    guest: Guest, running: bool, here: Mapping[str, PoolFact], there: Mapping[str, PoolFact], wanted: Wanted
) -> tuple[Question, Question]:
    """What to ask of source and destination."""
    disks = tuple((disk.format, disk.path) for disk in guest.disks if not disk.medium and disk.path)
    media = [disk.path for disk in guest.disks if disk.medium and disk.kind == "file" and disk.path]
    extras = [path for path in (guest.kernel, guest.initrd, guest.dtb, guest.nvram, guest.tpm) if path]
    files = tuple(dict.fromkeys((*(path for _, path in disks), *media, *extras)))
    arriving = {path: f"{place.directory(path, here, there, wanted)}/{basename(path)}" for path in files}
    programs = tuple(path for path in (guest.loader, guest.emulator) if path)
    landing = tuple(dict.fromkeys((*files, *arriving.values(), *programs)))
    rooms = tuple(sorted({dirname(path) for path in arriving.values()}))
    return Question(guest.name if running else "", (), files, disks), Question("", rooms, landing)


async def _side(end: End, facts: HostFacts, asked: Question, guest: Guest) -> tuple[Side, int]:
    """One host, and the bytes of memory that QEMU holds for the guest there."""
    versions, capabilities = await end.hypervisor.version(), await end.hypervisor.capabilities()
    answer = await ask(end, asked)
    if not asked.directories:  # the source: the images under its disks are files of it too
        lower = [image.path for chain in answer.chains.values() for image in chain[1:]]
        answer.files.update((await ask(end, Question("", (), tuple(dict.fromkeys(lower))))).files if lower else {})
    uuid, machines = host_of(capabilities, guest.arch)
    side = Side(
        host=facts.host,
        versions=versions,
        uuid=uuid,
        memory_available=facts.memory_available,
        kvm=answer.values.get("kvm") == "yes",
        cpu_flags=frozenset(answer.values.get("flags", "").split()),
        machines=machines,
        lock_manager=answer.values.get("lock", ""),
        swtpm=answer.values.get("swtpm") == "yes",
        domains=facts.domains,
        networks=facts.networks,
        pools=facts.pools,
        devices=answer.devices,
        chains=answer.chains,
        files=answer.files,
        room=answer.room,
    )
    return side, int(answer.values.get("resident") or 0) << 10


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


async def _cpu(hypervisor: Hypervisor, guest: Guest) -> str:
    """Why the destination cannot run this guest's CPU; the definition of one that is off may leave it open."""
    if not guest.cpu or guest.cpu_mode in ("host-passthrough", "maximum", "host-model"):
        return ""
    return await hypervisor.compare_cpu(guest.cpu, emulator="", arch=guest.arch, machine=guest.machine, kind=guest.kind)


async def _busy(hypervisor: Hypervisor, observed: Observed, guest: Guest) -> str:
    """The job that holds the VM, in words."""
    if not observed.running:
        return ""
    if await hypervisor.backup_job(guest.name) is not None:
        return "a backup"
    for disk in guest.disks:
        if not disk.medium and disk.path:
            job = await hypervisor.block_job(guest.name, disk.target)
            if job is not None:
                return f"a block job ({job.kind}) on disk {disk.target}"
    return ""

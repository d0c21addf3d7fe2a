"""One VM as its host has it: definition, snapshots, images. Observed anew before every decision."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from novafleet.capability.snapshot import note, xml
from novafleet.capability.snapshot.images import Family, Image
from novafleet.capability.snapshot.note import Note
from novafleet.capability.snapshot.xml import Disk
from novafleet.errors import SnapshotError
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.model.snapshot import DomainSnapshot
from novafleet.plan.storage import volume_of
from novafleet.ports import ActionContext, HostSession, Hypervisor

OFF = ("shutoff",)
"""Not crashed: QEMU of a guest that panicked (``<on_crash>preserve``) goes on holding its disks, and can be reset."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot. ``kind``: external | internal | none; ``contents`` the disk images that hold it, by target, or
    ``inside`` those it is a part of; ``memory`` is a file of its own. ``note`` is None for one made by other means."""

    fact: DomainSnapshot
    kind: str
    contents: Mapping[str, Disk]
    note: Note | None = None
    memory: str = ""
    inside: Mapping[str, Disk] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in libvirt."""
        return self.fact.name

    @property
    def files(self) -> tuple[str, ...]:
        """What it keeps beside the disks."""
        saved = (self.memory, *(self.note.copies.values() if self.note else ()))
        return tuple(path for path in saved if path)


@dataclass(frozen=True, slots=True)
class Survey:
    """A VM at one moment. ``disks`` by target are those it runs on, else those of its definition; ``beside`` are
    files by path and bytes, ``free`` bytes by directory, ``extras`` the paths of UEFI variables and TPM state;
    ``others`` are the targets of drives a snapshot does not hold."""

    domain: Domain
    disks: Mapping[str, Disk]
    snapshots: tuple[Taken, ...]
    images: Mapping[str, Image] = field(default_factory=dict)
    beside: Mapping[str, int] = field(default_factory=dict)
    free: Mapping[str, int] = field(default_factory=dict)
    configured: Mapping[str, str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def off(self) -> bool:
        """Does no QEMU have its disks open?"""
        return self.domain.state in OFF

    @property
    def current(self) -> str:
        """The snapshot it is based on; empty without one."""
        return next((each.name for each in self.snapshots if each.fact.current), "")

    def find(self, name: str) -> Taken | None:
        """A snapshot by name."""
        return next((each for each in self.snapshots if each.name == name), None)

    def families(self) -> tuple[Family, ...]:
        """The images of each disk that is a file."""
        return tuple(self._family(disk) for disk in self.disks.values() if disk.path)

    def _family(self, disk: Disk) -> Family:
        root = volume_of(disk.path)
        pinned = {content.path for each in self.snapshots for content in each.contents.values()}
        return Family(
            target=disk.target,
            images={path: image for path, image in self.images.items() if volume_of(path) == root},
            active=disk.path,
            running=() if self.off else (disk.path, *disk.chain),
            pinned=pinned | {self.configured.get(disk.target, disk.path)} - {disk.path},
        )

    def at_hand(self, taken: Taken) -> bool:
        """Are the images that a snapshot lies inside of those the VM writes to, with no overlay over them?"""
        below = {image.backing for image in self.images.values()}
        active = {disk.path for disk in self.disks.values()}
        return all(disk.path in active and disk.path not in below for disk in taken.inside.values())

    def changed_since(self, taken: Taken) -> int:
        """Bytes kept because of a snapshot: what was written after it, its memory and copied variables."""
        held = {content.path for content in taken.contents.values()}
        above = sum(image.allocated for image in self.images.values() if image.backing in held)
        return above + sum(self.beside.get(path, 0) for path in taken.files)


async def survey(ctx: ActionContext, name: str) -> Survey:
    """Look at a VM. Raises NotFoundError, CommandError, SnapshotError NF-SNAP-001."""
    return await observe(ctx.session, ctx.hypervisor, name)


async def observe(session: HostSession, hypervisor: Hypervisor, name: str) -> Survey:
    """The same without a step."""
    domain = await hypervisor.domain(name)
    running = await hypervisor.running_xml(name) if domain.state not in OFF else ""
    taken = tuple(_taken(each) for each in await hypervisor.snapshots(name))
    definition = xml.parse(domain.xml)
    active = xml.parse(running) if running else definition
    disks = {each.target: each for each in xml.disks(active)}
    configured = {each.target: each.path for each in xml.disks(definition) if each.path}
    extras = xml.extras(active)
    seen = await _files(session, disks, extras)
    formats = _formats(definition, taken)
    images = {path: _with_format(image, formats) for path, image in seen.images.items()}
    return Survey(domain, disks, taken, images, seen.beside, seen.free, configured, extras, xml.others(active))


def _taken(fact: DomainSnapshot) -> Taken:
    tree, known = xml.parse(fact.xml), note.read(fact.description)
    contents = xml.contents(tree)
    if known is not None:
        contents = {name: replace(disk, path=known.images.get(name, disk.path)) for name, disk in contents.items()}
    inside = xml.inside(tree) if not contents else {}
    return Taken(fact, xml.kind(tree), contents, known, xml.memory(tree), inside)


def _formats(definition: Element, taken: tuple[Taken, ...]) -> Mapping[str, str]:
    """What definitions say of images: a raw disk's own first bytes are the guest's choice."""
    told = {disk.path: disk.format for each in taken for disk in each.contents.values()}
    return {**told, **{disk.path: disk.format for disk in xml.disks(definition)}}


def _with_format(image: Image, formats: Mapping[str, str]) -> Image:
    form = formats.get(image.path, image.format)
    return replace(image, format=form)


@dataclass(slots=True)
class _Seen:
    images: dict[str, Image] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)
    free: dict[str, int] = field(default_factory=dict)


async def _files(session: HostSession, disks: Mapping[str, Disk], extras: tuple[str, ...]) -> _Seen:
    stems = sorted({volume_of(disk.path) for disk in disks.values() if disk.path})
    seen, mark = _Seen(), f"novafleet-{secrets.token_hex(8)}"
    if not stems:
        return seen
    words = (mark, str(len(extras)), *extras, *stems)
    done = await session.run(Command.script(script("look.sh"), *words, become=True))
    for head, body in _answers(done.text, mark):
        _note(seen, head, body)
    _name_formats(seen)
    return seen


def _answers(text: str, mark: str) -> Iterator[tuple[str, str]]:
    for answer in text.split(f"{mark} ")[1:]:
        head, _, body = answer.partition("\n")
        yield head, body


def _note(seen: _Seen, head: str, body: str) -> None:
    kind, _, rest = head.partition(" ")
    if kind == "free":
        room, _, directory = rest.partition(" ")
        seen.free[directory] = int(room)
    elif kind == "beside":
        size, _, path = rest.partition(" ")
        seen.beside[path] = int(size)
    elif kind == "stem":
        size, allocated, path = rest.split(" ", 2)
        seen.images[path] = Image(path, format="", size=int(size), allocated=int(allocated))
    elif kind == "overlay":
        allocated, _, path = rest.partition(" ")
        seen.images[path] = _overlay(path, int(allocated), body)


def _overlay(path: str, allocated: int, body: str) -> Image:
    merge, _, told = body.partition("\n")
    try:
        info: Mapping[str, Any] = json.loads(told)
    except ValueError as exc:
        raise SnapshotError("qemu-img does not describe an image", where=path, cause=told[:200]) from exc
    return Image(
        path=path,
        backing=str(info.get("full-backing-filename") or info.get("backing-filename", "")),
        format=str(info.get("backing-filename-format", "")),
        size=int(info.get("virtual-size", 0)),
        allocated=allocated,
        internal=tuple(str(each.get("name", "")) for each in info.get("snapshots", ())),
        merge=merge.strip(),
    )


def _name_formats(seen: _Seen) -> None:
    """An image's format is told by the overlay on it; ours are qcow2."""
    told = {image.backing: image.format for image in seen.images.values() if image.backing}
    for path, image in list(seen.images.items()):
        form = "qcow2" if image.backing else told.get(path, "qcow2")
        seen.images[path] = replace(image, format=form)


@cache
def script(name: str) -> str:
    """The text of a script."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")

"""The domains of the libvirt in memory, and what it keeps of their disks: the fake's. Every job is done at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from novafleet.hypervisor import plug, translate
from novafleet.hypervisor.plug import Refusal
from novafleet.model.migration import Progress
from novafleet.model.snapshot import BackupJob, BlockInfo, BlockJob, Checkpoint, DomainSnapshot, SnapshotFlag

GIB = 1 << 30
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Leaving:
    """A migration under way. ``over`` is set when it ends, ``called_off`` says that somebody asked it to."""

    postcopy: bool
    over: asyncio.Event = field(default_factory=asyncio.Event)
    called_off: bool = False
    max_downtime: int = 300
    switched: bool = False


@dataclass(slots=True, eq=False)
class Guest:
    """A domain: its definition (None: transient), what runs of it (None: off)."""

    config: Element | None
    live: Element | None = None
    state: str = "shutoff"
    reason: str = "unknown"
    autostart: bool = False
    saved: bool = False
    frozen: int = 0
    backup: str = ""
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    snapshots: dict[str, DomainSnapshot] = field(default_factory=dict)
    jobs: dict[str, tuple[BlockJob, str]] = field(default_factory=dict)
    leaving: Leaving | None = None
    left: Progress = field(default_factory=Progress)

    @property
    def tree(self) -> Element:
        """The inactive definition, or of a transient domain the only one."""
        tree = self.config if self.config is not None else self.live
        assert tree is not None
        return tree

    def layers(self, *, live: bool) -> tuple[Element, ...]:
        """The trees a change must reach."""
        return tuple(each for each in (self.config, self.live if live else None) if each is not None)

    def disks(self, target: str) -> list[Element]:
        """A disk in the definition and in what runs."""
        wanted = f"devices/disk/target[@dev='{target}']/.."
        found = [tree.find(wanted) for tree in self.layers(live=True)]
        if None in found or not found:
            raise Refusal(translate.INVALID_ARG, f"invalid argument: invalid path {target} not assigned to domain")
        return [disk for disk in found if disk is not None]

    def forget(self) -> None:
        """What an undefinition drops beside the definition."""
        self.checkpoints, self.snapshots = {}, {}


class FakeGuests:
    """``ports.jobs`` in memory. ``backing`` says which image lies under which."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.agents: dict[str, Callable[[str], str]] = {}
        self.backing: dict[str, str] = {}
        self._formats: dict[str, str] = {}
        self._guests: dict[str, Guest] = {}

    async def begin_backup(self, name: str, backup_xml: str, checkpoint_xml: str = "") -> None:
        """A job that never ends by itself, with a checkpoint if asked."""
        with self._asked(f"begin a backup of domain {name}"):
            guest = self._active(name)
            if guest.backup:
                raise _invalid("another backup job is already running")
            for parent in {each.text or "" for each in plug.parse(backup_xml, "domainbackup").iterfind("incremental")}:
                _need(guest.checkpoints, parent, translate.NO_CHECKPOINT, "domain checkpoint")
            if checkpoint_xml:
                _record(guest, plug.parse(checkpoint_xml, "domaincheckpoint"))
            guest.backup = backup_xml

    async def backup_job(self, name: str) -> BackupJob | None:
        """The backup under way."""
        with self._asked(f"read the backup job of domain {name}"):
            xml = self._guest(name).backup
            return BackupJob(xml, 0, GIB) if xml else None

    async def abort_job(self, name: str) -> None:
        """End it."""
        with self._asked(f"end the backup job of domain {name}"):
            self._guest(name).backup = ""

    async def checkpoints(self, name: str) -> tuple[Checkpoint, ...]:
        """All checkpoints."""
        with self._asked(f"list checkpoints of domain {name}"):
            return tuple(self._guest(name).checkpoints.values())

    async def redefine_checkpoint(self, name: str, xml: str, *, validate: bool = False) -> None:  # noqa: ARG002
        """Know a checkpoint again."""
        with self._asked(f"redefine a checkpoint of domain {name}"):
            root = plug.parse(xml, "domaincheckpoint")
            checkpoint = _checkpoint(root, root.findtext("parent/name", ""), int(root.findtext("creationTime", "0")))
            self._guest(name).checkpoints[checkpoint.name] = checkpoint

    async def delete_checkpoint(self, name: str, checkpoint: str, *, metadata_only: bool = False) -> None:
        """Remove it; its child gets its parent."""
        with self._asked(f"delete checkpoint {checkpoint} of domain {name}"):
            guest = self._guest(name)
            if checkpoint in guest.checkpoints:
                if not metadata_only:
                    self._active(name)
                gone = guest.checkpoints.pop(checkpoint)
                for child in [each for each in guest.checkpoints.values() if each.parent == checkpoint]:
                    guest.checkpoints[child.name] = replace(child, parent=gone.parent)

    async def freeze(self, name: str, mountpoints: Sequence[str] = ()) -> int:
        """What the agent answers."""
        with self._asked(f"freeze domain {name}"):
            request = {"execute": "guest-fsfreeze-freeze", "arguments": {"mountpoints": list(mountpoints)}}
            guest, answer = self._active(name), self._ask(name, json.dumps(request), 5.0)
            guest.frozen = int(json.loads(answer)["return"])
            return guest.frozen

    async def thaw(self, name: str) -> int:
        """Thaw what was frozen."""
        with self._asked(f"thaw domain {name}"):
            guest = self._active(name)
            self._ask(name, '{"execute": "guest-fsfreeze-thaw"}', 5.0)
            count, guest.frozen = guest.frozen, 0
            return count

    async def running_xml(self, name: str) -> str:
        """What runs, each disk with its chain."""
        with self._asked(f"read domain {name}"):
            live = deepcopy(self._guest(name).live)
        if live is None:
            return ""
        for disk in live.iterfind("devices/disk"):
            self._unroll(disk)
        return xml_of(live)

    def _unroll(self, disk: Element) -> None:
        element, image = disk, source(disk)
        while image in self.backing:
            image = self.backing[image]
            element = SubElement(element, "backingStore", type="file")
            SubElement(element, "format", type="qcow2")
            SubElement(element, "source", file=image)
        SubElement(element, "backingStore")

    async def snapshots(self, name: str) -> tuple[DomainSnapshot, ...]:
        """All snapshots."""
        with self._asked(f"list snapshots of domain {name}"):
            return tuple(self._guest(name).snapshots.values())

    async def create_snapshot(self, name: str, xml: str, flags: SnapshotFlag = SnapshotFlag.NONE) -> DomainSnapshot:
        """Make one; disks with ``snapshot='external'`` get their overlay at once."""
        with self._asked(f"snapshot domain {name}"):
            guest, root = self._guest(name), plug.parse(xml, "domainsnapshot")
            title = root.findtext("name") or str(int(time.time()))
            if SnapshotFlag.REDEFINE in flags:
                return _keep(guest, _snapshot(root, title), current=SnapshotFlag.CURRENT in flags)
            if title in guest.snapshots:
                raise Refusal(translate.OPERATION_FAILED, f"operation failed: domain moment {title} already exists")
            made = self._complete(guest, root, title, disk_only=SnapshotFlag.DISK_ONLY in flags)
            for disk in root.iterfind("disks/disk[@snapshot='external']"):
                self._overlay(guest, disk)
            return _keep(guest, made, current=True)

    def _complete(self, guest: Guest, root: Element, title: str, *, disk_only: bool) -> DomainSnapshot:
        state = guest.state if guest.live is None or not disk_only else "disk-snapshot"
        current = next((each.name for each in guest.snapshots.values() if each.current), "")
        for tag in ("name", "parent", "state", "creationTime", "domain"):
            for old in root.findall(tag):
                root.remove(old)
        SubElement(root, "name").text = title
        if current:
            SubElement(SubElement(root, "parent"), "name").text = current
        SubElement(root, "state").text = state
        SubElement(root, "creationTime").text = str(int(time.time()))
        root.append(deepcopy(guest.tree))
        return _snapshot(root, title)

    def _overlay(self, guest: Guest, wanted: Element) -> None:
        image = source(wanted)
        for disk in guest.disks(wanted.get("name", "")):
            if source(disk) != image:
                self.backing[image], self._formats[source(disk)] = source(disk), _format(disk)
            _put(disk, image, "qcow2")

    async def revert_snapshot(
        self, name: str, snapshot: str, *, running: bool = False, paused: bool = False, force: bool = False
    ) -> None:
        """The definition of then; it runs if it did, or if said."""
        del paused, force
        with self._asked(f"revert domain {name} to snapshot {snapshot}"):
            guest = self._guest(name)
            taken = _need(guest.snapshots, snapshot, translate.NO_SNAPSHOT, "domain snapshot")
            if plug.parse(taken.xml).find("disks/disk[@snapshot='external']") is not None:
                raise Refusal(
                    translate.CONFIG_UNSUPPORTED, "unsupported configuration: revert to external snapshot not supported"
                )
            guest.config = deepcopy(plug.parse(taken.xml).find("domain"))
            on = running or taken.state == "running"
            guest.live, guest.state = (deepcopy(guest.config), "running") if on else (None, "shutoff")
            _keep(guest, taken, current=True)

    async def delete_snapshot(
        self, name: str, snapshot: str, *, children: bool = False, metadata_only: bool = False
    ) -> None:
        """Remove it; its children get its parent, or go with it. Images stay."""
        del metadata_only
        with self._asked(f"delete snapshot {snapshot} of domain {name}"):
            kept = self._guest(name).snapshots
            if snapshot in kept:
                _drop(kept, snapshot, children)

    async def block_info(self, name: str, disk: str) -> BlockInfo:
        """A disk of 1 GiB."""
        with self._asked(f"read the size of disk {disk} of domain {name}"):
            self._guest(name).disks(disk)
            return BlockInfo(GIB, GIB, GIB)

    async def block_pull(self, name: str, disk: str, *, base: str = "", bandwidth: int = 0) -> None:
        """Nothing lies between the active image and the base any more."""
        del bandwidth
        with self._asked(f"pull disk {disk} of domain {name}"):
            image = source(self._active(name).disks(disk)[0])
            self.backing.pop(image, None)
            if base:
                self.backing[image] = base

    async def block_commit(
        self, name: str, disk: str, *, top: str = "", base: str = "", active: bool = False, bandwidth: int = 0
    ) -> None:
        """The image above ``top`` lies on ``base``; an active commit waits for its pivot."""
        del bandwidth
        with self._asked(f"commit disk {disk} of domain {name}"):
            guest = self._active(name)
            chain = self.chain(source(guest.disks(disk)[0]))
            top, base = top or chain[0], base or chain[-1]
            if top not in chain or base not in chain:
                raise Refusal(translate.INVALID_ARG, f"invalid argument: no such image in the chain for {disk}")
            if active:
                guest.jobs[disk] = BlockJob("active-commit", GIB, GIB, 0, ready=True), base
            else:
                self.backing[chain[chain.index(top) - 1]] = base

    def chain(self, image: str) -> list[str]:
        """An image and what lies under it."""
        images = [image]
        while images[-1] in self.backing:
            images.append(self.backing[images[-1]])
        return images

    async def block_job(self, name: str, disk: str) -> BlockJob | None:
        """The job on a disk."""
        with self._asked(f"read the job on disk {disk} of domain {name}"):
            self._active(name).disks(disk)
            return self._guest(name).jobs.get(disk, (None,))[0]

    async def pivot_block_job(self, name: str, disk: str) -> None:
        """The disk is on the base."""
        with self._asked(f"pivot disk {disk} of domain {name}"):
            guest = self._active(name)
            if disk not in guest.jobs:
                raise _invalid(f"disk {disk} does not have an active block job")
            _, base = guest.jobs.pop(disk)
            for each in guest.disks(disk):
                _put(each, base, self._formats.get(base, "qcow2"))

    async def abort_block_job(self, name: str, disk: str) -> None:
        """The disk as it was."""
        with self._asked(f"end the job on disk {disk} of domain {name}"):
            self._active(name).jobs.pop(disk, None)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            raise translate.translate(refusal.failure, what=what, host=self.host) from refusal

    def _guest(self, name: str) -> Guest:
        if name not in self._guests:
            raise Refusal(translate.NO_DOMAIN, f"Domain not found: no domain with matching name '{name}'")
        return self._guests[name]

    def _active(self, name: str) -> Guest:
        guest = self._guest(name)
        if guest.live is None:
            raise _invalid("domain is not running")
        return guest

    def _ask(self, name: str, request: str, timeout: float) -> str:
        if name not in self.agents:
            text = f"Guest agent is not responding: QEMU guest agent is not connected after {timeout:g} s"
            raise Refusal(translate.AGENT_UNRESPONSIVE, text)
        return self.agents[name](request)


def source(disk: Element) -> str:
    """The file a disk is on."""
    found = disk.find("source")
    return found.get("file", "") if found is not None else ""


def xml_of(tree: Element) -> str:
    """As text, indented."""
    copy = deepcopy(tree)
    ElementTree.indent(copy)
    return ElementTree.tostring(copy, encoding="unicode")


def _format(disk: Element) -> str:
    driver = disk.find("driver")
    return driver.get("type", "raw") if driver is not None else "raw"


def _put(disk: Element, image: str, form: str) -> None:
    found, driver = disk.find("source"), disk.find("driver")
    assert found is not None
    found.set("file", image)
    if driver is not None:
        driver.set("type", form)


def _invalid(text: str) -> Refusal:
    return Refusal(translate.OPERATION_INVALID, f"Requested operation is not valid: {text}")


def _need(known: dict[str, T], name: str, number: int, kind: str) -> T:
    if name not in known:
        raise Refusal(number, f"{kind.capitalize()} not found: no {kind} with matching name '{name}'")
    return known[name]


def _record(guest: Guest, root: Element) -> None:
    leaf = next(reversed(guest.checkpoints), "")
    checkpoint = _checkpoint(root, leaf, int(time.time()))
    if checkpoint.name in guest.checkpoints:
        raise Refusal(translate.OPERATION_FAILED, f"operation failed: domain moment {checkpoint.name} already exists")
    guest.checkpoints[checkpoint.name] = checkpoint


def _checkpoint(root: Element, parent: str, created: int) -> Checkpoint:
    return Checkpoint(root.findtext("name") or str(created), parent, created, xml_of(root))


def _snapshot(root: Element, title: str) -> DomainSnapshot:
    return DomainSnapshot(
        name=title,
        parent=root.findtext("parent/name", ""),
        state=root.findtext("state", ""),
        created=int(root.findtext("creationTime", "0")),
        xml=xml_of(root),
        description=root.findtext("description", ""),
    )


def _keep(guest: Guest, made: DomainSnapshot, *, current: bool) -> DomainSnapshot:
    if current:
        guest.snapshots = {name: replace(each, current=False) for name, each in guest.snapshots.items()}
    guest.snapshots[made.name] = replace(made, current=current)
    return guest.snapshots[made.name]


def _drop(kept: dict[str, DomainSnapshot], name: str, children: bool) -> None:
    gone = kept.pop(name)
    for child in [each for each in kept.values() if each.parent == name]:
        if children:
            _drop(kept, child.name, children)
        else:
            kept[child.name] = replace(child, parent=gone.parent)
    if gone.current and gone.parent in kept:
        kept[gone.parent] = replace(kept[gone.parent], current=True)

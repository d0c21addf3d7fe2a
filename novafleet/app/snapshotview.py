"""``snapshot ls|tree|show``: what the hosts themselves know; nothing is kept elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from novafleet.app.party import Selected, party
from novafleet.app.snapshotrun import shelves_of, surveys
from novafleet.app.vmselect import Chosen, ChosenStack
from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.plan import nearest
from novafleet.capability.snapshot.tidy import pending
from novafleet.capability.snapshot.volumes import Kept, Shelf, folder_of
from novafleet.errors import NovaFleetError


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot, of a VM or (``kind`` volumes) of a stack. ``made`` and ``expires`` are seconds since the epoch;
    ``size`` bytes kept because of it; ``mode`` crash | fs | live | offline (of a stack paused | stopped), empty for one
    made by other means; ``kind`` internal | external because of ``choice``; ``images`` by disk or volume."""

    name: str
    parent: str
    made: float
    mode: str
    kind: str
    size: int
    current: bool = False
    text: str = ""
    tags: tuple[str, ...] = ()
    expires: float = 0.0
    hold: bool = False
    group: str = ""
    asked: str = ""
    why: str = ""
    choice: str = ""
    state: str = ""
    memory: str = ""
    images: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class VmSnapshots:
    """A VM with its snapshots, parents first. ``unfinished``: an earlier removal was cut off."""

    vm: str
    domain: str
    host: str
    environment: str
    state: str
    snapshots: tuple[SnapshotRow, ...] = ()
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found, and why VMs (``HOST/DOMAIN``) or hosts could not be looked at."""

    vms: tuple[VmSnapshots, ...]
    failed: Mapping[str, NovaFleetError]


async def ls(asked: Selected) -> Listing:
    """The snapshots of every VM meant, of an environment's stacks too. Raises ConfigError NF-VM-006, -007."""
    async with party(asked) as crew:
        seen, failed = await surveys(crew)
        vms = tuple(_vm(each, seen[each.label]) for each in crew.chosen if each.label in seen)
        kept, unkept = await shelves_of(crew)
        stacks = tuple(_stack(each, kept[each.label]) for each in crew.stacks if each.label in kept)
        return Listing((*vms, *stacks), {**failed, **unkept, **crew.unseen})


async def show(asked: Selected, name: str) -> Listing:
    """One snapshot of each VM meant. Raises SnapshotError NF-SNAP-002 where a VM has none of that name."""
    async with party(asked) as crew:
        seen, failed = await surveys(crew)
        for survey in seen.values():
            nearest(survey, name)
        vms = tuple(_vm(each, seen[each.label], name) for each in crew.chosen if each.label in seen)
        kept, unkept = await shelves_of(crew)
        stacks = tuple(_stack(each, kept[each.label], name) for each in crew.stacks if each.label in kept)
        return Listing((*vms, *stacks), {**failed, **unkept, **crew.unseen})


def _vm(chosen: Chosen, seen: Survey, name: str = "") -> VmSnapshots:
    rows = tuple(_row(seen, each) for each in seen.snapshots if name in ("", each.name))
    domain = seen.domain
    return VmSnapshots(chosen.vm, domain.name, chosen.host.name, chosen.environment, domain.state, rows, pending(seen))


def _stack(chosen: ChosenStack, shelf: Shelf, name: str = "") -> VmSnapshots:
    rows = tuple(_kept_row(each) for each in shelf.kept if name in ("", each.name))
    domain = chosen.domain
    return VmSnapshots(
        chosen.vm, domain.name, chosen.host.name, chosen.environment, domain.state, rows, bool(shelf.parts)
    )


def _kept_row(kept: Kept) -> SnapshotRow:
    """Of a stack ``images`` are the archives of its volumes."""
    note = kept.note
    return SnapshotRow(
        name=kept.name,
        parent="",
        made=kept.made,
        mode=note.mode,
        kind="volumes",
        size=sum(kept.volumes.values()),
        text=note.text,
        tags=note.tags,
        expires=note.expires,
        hold=note.hold,
        group=note.group,
        images={volume: f"{folder_of(kept.project, kept.name)}/{volume}.tar" for volume in kept.volumes},
    )


def _row(seen: Survey, taken: Taken) -> SnapshotRow:
    fact, note = taken.fact, taken.note
    plain = SnapshotRow(
        name=fact.name,
        parent=fact.parent,
        made=float(fact.created),
        mode=note.mode if note else "",
        kind=taken.kind,
        size=seen.changed_since(taken),
        current=fact.current,
        text=note.text if note else fact.description,
        state=fact.state,
        memory=taken.memory,
        images={disk.name: disk.path for disk in (taken.contents or taken.inside).values()},
    )
    return _annotated(plain, taken)


def _annotated(row: SnapshotRow, taken: Taken) -> SnapshotRow:
    note = taken.note
    if note is None:
        return row
    return replace(
        row,
        tags=note.tags,
        expires=note.expires,
        hold=note.hold,
        group=note.group,
        asked=note.asked,
        why=note.why,
        choice=note.choice,
    )

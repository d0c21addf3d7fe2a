"""``snapshot ls|tree|show``: what the hosts themselves know; nothing is kept elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from novafleet.app.snapshotrun import Selected, party, surveys
from novafleet.app.vmselect import Chosen
from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.plan import nearest
from novafleet.capability.snapshot.tidy import pending
from novafleet.errors import NovaFleetError


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot. ``made`` and ``expires`` are seconds since the epoch; ``size`` bytes kept because of it; ``mode``
    crash | fs | live | offline, empty for one made by other means; ``kind`` internal | external because of ``choice``;
    ``images`` by disk."""

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
    """The snapshots of every VM meant. Raises ConfigError NF-VM-006, -007."""
    async with party(asked) as crew:
        seen, failed = await surveys(crew)
        vms = tuple(_vm(each, seen[each.label]) for each in crew.chosen if each.label in seen)
        return Listing(vms, {**failed, **crew.unseen})


async def show(asked: Selected, name: str) -> Listing:
    """One snapshot of each VM meant. Raises SnapshotError NF-SNAP-002 where a VM has none of that name."""
    async with party(asked) as crew:
        seen, failed = await surveys(crew)
        for survey in seen.values():
            nearest(survey, name)
        vms = tuple(_vm(each, seen[each.label], name) for each in crew.chosen if each.label in seen)
        return Listing(vms, {**failed, **crew.unseen})


def _vm(chosen: Chosen, seen: Survey, name: str = "") -> VmSnapshots:
    rows = tuple(_row(seen, each) for each in seen.snapshots if name in ("", each.name))
    domain = seen.domain
    return VmSnapshots(chosen.vm, domain.name, chosen.host.name, chosen.environment, domain.state, rows, pending(seen))


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

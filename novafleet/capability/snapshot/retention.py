"""Which snapshots of a VM may go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from novafleet.capability.snapshot.look import Survey
from novafleet.capability.snapshot.note import SAFETY, Note
from novafleet.model.backup import Consistency, Snapshot
from novafleet.model.policy import Keep
from novafleet.repository.retention import Protection, decide


@dataclass(frozen=True, slots=True)
class Due:
    """A snapshot as far as keeping it goes. ``made`` seconds since the epoch; ``note`` None for one not ours."""

    name: str
    made: float
    note: Note | None


def expired(seen: Survey, keep: Keep, now: float) -> list[str]:
    """Names of a VM's snapshots that may go."""
    dues = [Due(each.name, float(each.fact.created), each.note) for each in seen.snapshots]
    return due(dues, seen.domain.name, keep, now)


def due(all_of_it: Sequence[Due], owner: str, keep: Keep, now: float) -> list[str]:
    """Names of those past their TTL, and of the rest those the policy does not keep (an empty one keeps all).

    Only NovaFleet's own are touched, and none that is held: what others made is theirs.
    """
    ours = [each for each in all_of_it if each.note is not None and not each.note.hold]
    late = {each.name for each in ours if each.note is not None and 0 < each.note.expires <= now}
    counted = [_as_counted(owner, each) for each in ours if each.name not in late and not _safety(each)]
    verdicts = decide(counted, keep, Protection({}), now=now) if keep != Keep() else ()
    gone = late | {verdict.snapshot.id for verdict in verdicts if not verdict.keep}
    return [each.name for each in all_of_it if each.name in gone]


def _safety(each: Due) -> bool:
    return each.note is not None and SAFETY in each.note.tags and each.note.expires > 0


def _as_counted(owner: str, each: Due) -> Snapshot:
    return Snapshot(each.name, owner, owner, owner, "", each.made, Consistency.CRASH)

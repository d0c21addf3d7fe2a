"""Which snapshots of a VM may go. Pure."""

from __future__ import annotations

from novafleet.capability.snapshot.look import Survey, Taken
from novafleet.capability.snapshot.note import SAFETY
from novafleet.model.backup import Consistency, Snapshot
from novafleet.model.policy import Keep
from novafleet.repository.retention import Protection, decide


def expired(seen: Survey, keep: Keep, now: float) -> list[str]:
    """Names of those past their TTL, and of the rest those the policy does not keep (an empty one keeps all).

    Only NovaFleet's own are touched, and none that is held: what others made is theirs.
    """
    ours = [each for each in seen.snapshots if each.note is not None and not each.note.hold]
    late = {each.name for each in ours if each.note is not None and 0 < each.note.expires <= now}
    counted = [_as_counted(seen, each) for each in ours if each.name not in late and not _safety(each)]
    verdicts = decide(counted, keep, Protection({}), now=now) if keep != Keep() else ()
    gone = late | {verdict.snapshot.id for verdict in verdicts if not verdict.keep}
    return [each.name for each in seen.snapshots if each.name in gone]


def _safety(taken: Taken) -> bool:
    return taken.note is not None and SAFETY in taken.note.tags and taken.note.expires > 0


def _as_counted(seen: Survey, taken: Taken) -> Snapshot:
    domain = seen.domain
    return Snapshot(taken.name, domain.name, domain.name, domain.uuid, "", float(taken.fact.created), Consistency.CRASH)

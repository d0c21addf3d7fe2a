"""``backup forget|prune|hold``: which snapshots stay, and the collection of what nobody needs any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from novafleet.app.repository import open_repository
from novafleet.app.stored import matches
from novafleet.errors import GuardError, MissingObjectError, RepositoryError
from novafleet.model.backup import Snapshot
from novafleet.model.policy import Keep
from novafleet.ports import Clock
from novafleet.repository import KeySource, Repository, records, trash
from novafleet.repository.check import Progress
from novafleet.repository.collected import PATIENT, Collected, Rules
from novafleet.repository.contents import RepositoryContents
from novafleet.repository.gc import collect
from novafleet.repository.records import Hold
from novafleet.repository.reserve import released
from novafleet.repository.retention import Protection, Verdict, decide
from novafleet.repository.trash import Trashed
from novafleet.source import cron

ROUNDS = 5
"""Collections in a row: another one when the trash was emptied, or while there is no grace period to wait for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of VMs that match (names, globs, HOST/DOMAIN, ENV/NAME; none: all of them)."""

    keep: Keep
    vms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Verdicts by VM, newest first. ``dry``: nothing was done. ``unread``: ids that went and could not be read."""

    verdicts: tuple[Verdict, ...]
    dry: bool
    unread: tuple[str, ...] = ()

    @property
    def forgotten(self) -> tuple[Snapshot, ...]:
        """What went, or would go."""
        return tuple(each.snapshot for each in self.verdicts if not each.keep)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was forgotten, and what each round of garbage collection did."""

    forgotten: Forgotten
    rounds: tuple[Collected, ...]

    @property
    def deleted_bytes(self) -> int:
        """Space that was freed."""
        return sum(each.deleted_bytes for each in self.rounds)


async def by_policy(repository: Repository, rules: Sequence[Rule], clock: Clock, *, dry: bool = False) -> Forgotten:
    """Forget by the first rule that matches a VM, by the controller's calendar; a VM none matches keeps everything."""
    held = {name: each.reason for name, each in (await records.holds(repository)).items()}
    verified = await records.verified(repository)
    rest, verdicts = list(await repository.snapshots()), list[Verdict]()
    for rule in rules:
        mine = [each for each in rest if matches(each, rule.vms)]
        rest = [each for each in rest if not matches(each, rule.vms)]
        protection = Protection(held, verified, rule.tags)
        verdicts += decide(mine, rule.keep, protection, now=clock.now(), zone=cron.zone())
    done = Forgotten(tuple(verdicts), dry)
    if not dry:
        await trash.forget(repository.store, clock, [each.id for each in done.forgotten])
    return done


async def prune(
    url: str,
    key: KeySource,
    rules: Sequence[Rule],
    clock: Clock,
    *,
    limits: Rules = PATIENT,
    dry: bool = False,
    progress: Progress = lambda *_: None,
) -> Pruned:
    """Forget by policy (no rules: nothing), then collect garbage. Killed at any point, the next one goes on."""
    async with open_repository(url, key) as repository:
        if dry:
            return Pruned(await by_policy(repository, rules, clock, dry=True), ())
        async with released(repository.store):
            forgotten = await by_policy(repository, rules, clock)
            return Pruned(forgotten, await collect_rounds(repository, clock, limits, progress))


async def collect_rounds(
    repository: Repository, clock: Clock, limits: Rules = PATIENT, progress: Progress = lambda *_: None
) -> tuple[Collected, ...]:
    """Collect garbage; again, while there is no grace period to wait for and something happened."""
    rounds: list[Collected] = []
    while len(rounds) < ROUNDS:
        done = await collect(repository.store, RepositoryContents(repository), clock, limits, progress)
        rounds.append(done)
        if not (done.emptied or (limits.grace == 0 and (done.epoch or done.deleted))):
            break
    trashed = {each.snapshot for each in await trash.trashed(repository.store)}
    await records.forget_records(repository, frozenset(await repository.snapshot_ids()) | trashed)
    return tuple(rounds)


async def forget(
    url: str, key: KeySource, names: Sequence[str], clock: Clock, *, dry: bool = False, last_too: bool = False
) -> Forgotten:
    """Move named snapshots to the trash, damaged ones too.

    Raises RepositoryError NF-REPO-008 for an unknown one, GuardError NF-GUARD-010 for one that is held, and for the
    last one of a VM unless ``last_too``.
    """
    async with open_repository(url, key) as repository:
        ids = [await _id(repository, name) for name in names]
        held = await records.holds(repository)
        for each in ids:
            if each in held:
                raise _kept(each, f"it is held: {held[each].reason or 'no reason given'}", "novafleet backup release")
        readable = await _readable(repository)
        if not last_too:
            _leave_one(readable, ids)
        if not dry:
            async with released(repository.store):
                await trash.forget(repository.store, clock, ids)
        gone = tuple(Verdict(each, keep=False, reasons=()) for each in readable if each.id in ids)
        unread = set(ids) - {each.id for each in readable}
        return Forgotten(gone, dry, tuple(sorted(unread)))


async def _id(repository: Repository, name: str) -> str:
    """The id that begins so, of a snapshot that need not be readable."""
    found = [each for each in await repository.snapshot_ids() if each.startswith(name.lower())]
    return found[0] if len(found) == 1 else (await repository.snapshot(name)).id


async def _readable(repository: Repository) -> list[Snapshot]:
    found = []
    for name in await repository.snapshot_ids():
        try:
            found.append(await repository.read_snapshot(name))
        except (RepositoryError, MissingObjectError):
            continue
    return found


def _leave_one(snapshots: Sequence[Snapshot], ids: Collection[str]) -> None:
    for each in snapshots:
        if each.id in ids and all(other.id in ids for other in snapshots if other.uuid == each.uuid):
            raise _kept(each.id, f"it is the last backup of {each.vm}", "novafleet backup forget --last-too")


def _kept(snapshot: str, why: str, command: str) -> GuardError:
    return GuardError(
        f"snapshot {snapshot} is kept: {why}", code="NF-GUARD-010", hints=(f"{command} {snapshot}   # if you mean it",)
    )


async def in_trash(url: str, key: KeySource) -> tuple[tuple[Trashed, Snapshot | None], ...]:
    """What can be brought back, oldest first; None for what cannot be read."""
    async with open_repository(url, key) as repository:
        found: list[tuple[Trashed, Snapshot | None]] = []
        for each in await trash.trashed(repository.store):
            try:
                found.append((each, await repository.read_snapshot(each.snapshot, each.key)))
            except MissingObjectError:
                continue
            except RepositoryError:
                found.append((each, None))
        return tuple(found)


async def undo(url: str, key: KeySource, names: Sequence[str], clock: Clock) -> tuple[Snapshot, ...]:
    """Bring forgotten snapshots back. Raises RepositoryError NF-REPO-034."""
    async with open_repository(url, key) as repository:
        known = sorted({each.snapshot for each in await trash.trashed(repository.store)})
        ids = [_one([each for each in known if each.startswith(name.lower())], name) for name in names]
        for each in ids:
            await trash.undo(repository.store, clock, each)
        return tuple([await repository.read_snapshot(each) for each in ids])


def _one(found: Sequence[str], name: str) -> str:
    if len(found) != 1:
        many = f"{len(found)} snapshots in the trash begin with {name!r}"
        raise RepositoryError(many if found else f"no snapshot in the trash begins with {name!r}", code="NF-REPO-034")
    return found[0]


async def hold(url: str, key: KeySource, names: Sequence[str], reason: str, clock: Clock) -> tuple[Hold, ...]:
    """Keep snapshots whatever a policy says."""
    async with open_repository(url, key) as repository:
        made = tuple([Hold((await repository.snapshot(name)).id, clock.now(), reason) for name in names])
        for each in made:
            await records.hold(repository, each)
        return made


async def release(url: str, key: KeySource, names: Sequence[str]) -> tuple[str, ...]:
    """End holds."""
    async with open_repository(url, key) as repository:
        ids = tuple([await _id(repository, name) for name in names])
        for each in ids:
            await records.release(repository, each)
        return ids


async def held(url: str, key: KeySource) -> Mapping[str, Hold]:
    """All holds."""
    async with open_repository(url, key) as repository:
        return await records.holds(repository)

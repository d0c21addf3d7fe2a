"""Garbage collection without an exclusive lock, which cannot delete what a snapshot needs.

One call of ``collect`` does what can be done now, in this order:

1. take a collector's lease; read the lists of packs condemned before; *then* read the leases. A list is ripe when it
   lies there for the grace period, by the store's clock, and no writer lives that began before it was published.
   A writer that blocks a ripe list and has not renewed for an hour is fenced (see ``lease``).
2. *then* mark what all snapshots and the trash need, and read the index.
3. decide ripe lists: a pack is spared when a marked chunk is in no pack that stays. The decision is create-only, so all
   collectors act alike. 4. drop doomed packs from the index, delete them, and with no other collector about forget the
   list and empty the trash it had seen: what was in the trash was still needed by that list, and is not by the next.
5. store again what packs with much garbage still hold, and publish the next list.

Why no snapshot loses a chunk: a writer that began after a list was published does not build upon its packs (it stores
such chunks again). One that began before is waited for, or fenced, before the marking in 2, which sees what it
committed. Whoever marks or publishes treats packs of all other lists as gone already. Names of packs are never reused.
What was in a killed writer's or collector's mind does not matter: everything they agreed on is create-only.
``tests/property/test_gc_model.py`` checks this over interleavings, and that each rule is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from novafleet.errors import MissingObjectError, RepositoryError
from novafleet.model.backup import StoredObject
from novafleet.ports import Clock, ObjectStore
from novafleet.repository import epochs, pack
from novafleet.repository.collected import PATIENT, Collected, Contents, Progress, Rules
from novafleet.repository.epochs import CondemnList
from novafleet.repository.index import Packed
from novafleet.repository.lease import (
    COLLECTOR,
    INDEX,
    SEAL,
    SNAPSHOTS,
    TRASH,
    Held,
    Lease,
    fence,
    hold,
    leases,
)
from novafleet.repository.marks import Marks

SMALL_BYTES = 256 << 10
SMALL, AT_MOST = 1 << 12, 1 << 18
"""Entries of an index object that counts as small, and how many are merged at a time: they are in memory meanwhile."""


@dataclass(slots=True)
class Use:
    """How a pack is used: bytes needed and not; the chunks needed, while they are few enough to store again."""

    needed: int = 0
    garbage: int = 0
    chunks: list[bytes] = field(default_factory=list)

    @property
    def share(self) -> float:
        """What part of it is needed."""
        return self.needed / ((self.needed + self.garbage) or 1)


async def collect(
    store: ObjectStore,
    contents: Contents,
    clock: Clock,
    rules: Rules = PATIENT,
    progress: Progress = lambda *_: None,
) -> Collected:
    """Do what can be done now. Raises RepositoryError NF-REPO-033 when a snapshot cannot be read: nothing is deleted
    then; FencedError when this collection stood still for so long that another one shut it out."""
    async with hold(store, clock, snapshot=COLLECTOR) as lease:
        return await Collection(store, contents, lease, rules, progress).run()


class Collection:
    """One run, under one lease."""

    def __init__(self, store: ObjectStore, contents: Contents, lease: Lease, rules: Rules, progress: Progress) -> None:
        self._store = store
        self._contents = contents
        self._lease = lease
        self._rules = rules
        self._progress = progress
        self._waiting: list[str] = []
        self._packs: dict[str, StoredObject] = {}
        self._uses: dict[str, Use] = {}

    async def run(self) -> Collected:
        """All steps."""
        now, seen = await self._now(), await epochs.latest(self._store)
        lists: Sequence[CondemnList] = await epochs.outstanding(self._store)
        ripe = await self._ripe(lists, now)
        trash = [each.key async for each in self._store.list(TRASH)]
        marks = await self._mark()
        self._packs = {pack_name(each.key): each async for each in self._store.list(pack.PREFIX)}
        needed = await self._survey(marks, lists)
        lists = await self._decide(lists, ripe, needed, marks)
        deleted, emptied = await self._sweep(lists)
        await self._merge(frozenset[str]().union(*(each.doomed for each in lists)))
        return await self._condemn(
            Collected(
                deleted=tuple(sorted(deleted)),
                deleted_bytes=self._bytes(deleted),
                emptied=emptied,
                missing=marks.missing,
            ),
            marks,
            seen + 1,
            lists,
            [key for key in trash if all(key not in each.trash for each in lists)],
            now,
        )

    async def _now(self) -> float:
        """The store's clock, read off our own lease."""
        await self._lease.renew()
        return (await self._store.stat(self._lease.key)).modified

    async def _ripe(self, lists: Sequence[CondemnList], now: float) -> frozenset[int]:
        """Epochs that may be decided. Read the leases only here: the lists were published before."""
        aged = [each for each in lists if each.spared is None and now - each.published >= self._rules.grace]
        for each in lists:
            if each.spared is None and each not in aged:
                rest = self._rules.grace - (now - each.published)
                self._waiting.append(f"list {each.epoch}: {rest / 3600:.1f} h of its grace period remain")
        living = [each for each in await self._others() if not await self._fenced(each, aged, now)]
        return frozenset(each.epoch for each in aged if not self._blocked(each, living))

    async def _others(self) -> list[Held]:
        return [each for each in await leases(self._store) if each.key != self._lease.key]

    async def _fenced(self, held: Held, aged: Sequence[CondemnList], now: float) -> bool:
        """Fence a writer that stood still: after an hour if it is in the way, after the grace period in any case."""
        age, blocks = now - held.renewed, not held.snapshot or any(held.epoch < each.epoch for each in aged)
        if age < self._rules.stale_after or not (blocks or age >= self._rules.grace):
            return False
        await fence(self._store, held)
        return True

    def _blocked(self, condemned: CondemnList, living: Sequence[Held]) -> bool:
        before = [each for each in living if each.epoch < condemned.epoch]
        for each in before:
            self._waiting.append(f"list {condemned.epoch}: {each.holder or 'a writer'} ({each.key}) began before it")
        return bool(before)

    async def _mark(self) -> Marks:
        """Everything snapshots and trash need; snapshots first: what moves to the trash meanwhile is seen there."""
        marks = Marks()
        kept = [each.key async for each in self._store.list(SNAPSHOTS) if each.size != len(SEAL)]
        await self._mark_all(sorted(kept), marks, readable=True)
        trash = [each.key async for each in self._store.list(TRASH)]
        await self._mark_all(sorted(trash), marks, readable=False)
        return marks.close()

    async def _mark_all(self, keys: Sequence[str], marks: Marks, *, readable: bool) -> None:
        for number, key in enumerate(keys):
            self._progress("marking", number, len(keys))
            try:
                async for batch in self._contents.references(key):
                    marks.add(batch)
            except MissingObjectError:
                continue  # moved to the trash meanwhile (which is listed after this), or out of it
            except RepositoryError as exc:
                if readable:
                    raise _unreadable(key, exc) from exc

    async def _survey(self, marks: Marks, lists: Sequence[CondemnList]) -> frozenset[str]:
        """How each pack that stays is used; and which condemned packs hold what no pack that stays has."""
        avoided, doomed = epochs.avoided(lists), frozenset[str]().union(*(each.doomed for each in lists))
        condemned: list[Packed] = []
        async for _, packs in self._contents.segments():
            for each in packs:
                if each.name not in self._packs or each.name in doomed:
                    continue
                if each.name in avoided:
                    condemned.append(each)
                else:
                    self._count(each, marks)
        needed = {each.name for each in condemned if any(marks.open(entry.id) for entry in each.entries)}
        for each in condemned:
            for entry in each.entries:
                marks.tick(entry.id)
        return frozenset(needed)

    def _count(self, packed: Packed, marks: Marks) -> None:
        if packed.name in self._uses:
            return  # two collectors wrote the same index object anew
        use = self._uses[packed.name] = Use()
        for entry in packed.entries:
            if marks.tick(entry.id):
                use.needed += entry.length
                use.chunks.append(entry.id)
            else:
                use.garbage += entry.length
        if use.share >= self._rules.repack_below:
            use.chunks.clear()

    async def _decide(
        self, lists: Sequence[CondemnList], ripe: frozenset[int], needed: frozenset[str], marks: Marks
    ) -> list[CondemnList]:
        """All lists, those that are ripe decided now."""
        settled = []
        for each in lists:
            if each.epoch not in ripe:
                settled.append(each)
                continue
            spared = needed & each.packs
            if marks.missing:
                spared |= await self._unsure(each.packs - spared, marks)
            final = await epochs.decide(self._store, each, spared)
            settled.append(CondemnList(each.epoch, each.nonce, each.published, each.packs, each.trash, final))
        return settled

    async def _unsure(self, packs: Iterable[str], marks: Marks) -> frozenset[str]:
        """While chunks are missing no index is trusted: packs that hold something needed, or do not say, are spared."""
        return frozenset([name for name in packs if name in self._packs and not await self._useless(name, marks)])

    async def _useless(self, name: str, marks: Marks) -> bool:
        try:
            packed = await self._contents.packed(name)
        except (RepositoryError, MissingObjectError):  # gone: another collection was faster
            return False
        return not any(entry.id in marks for entry in packed.entries)

    async def _sweep(self, lists: Sequence[CondemnList]) -> tuple[frozenset[str], tuple[str, ...]]:
        """Delete what is doomed; forget lists nobody can act upon any more."""
        doomed = frozenset[str]().union(*(each.doomed for each in lists))
        decided = [each for each in lists if each.spared is not None]
        if not decided:
            return frozenset(), ()
        alone = not [each for each in await self._others() if not each.snapshot]
        await self._unlist(doomed)
        for number, name in enumerate(sorted(doomed)):
            self._progress("deleting", number, len(doomed))
            await self._store.delete(pack.key_of(name))
        if not alone:
            self._waiting.append("another collection runs: it, or the next one, finishes")
            return doomed & self._packs.keys(), ()
        emptied: list[str] = []
        for each in decided:
            for key in each.trash:
                await self._store.delete(key)
                emptied.append(key.removeprefix(TRASH).partition("/")[0])
            await epochs.finish(self._store, each)
        for key in await epochs.stillborn(self._store):
            await self._store.delete(key)
        return doomed & self._packs.keys(), tuple(sorted(emptied))

    async def _unlist(self, doomed: frozenset[str]) -> None:
        """Write index objects that name doomed packs anew without them; the new one is durable before the old goes."""
        async for key, packs in self._contents.segments():
            rest = [each for each in packs if each.name not in doomed]
            if len(rest) < len(packs):
                if rest:
                    await self._contents.publish(self._lease, rest)
                await self._store.delete(key)

    async def _merge(self, doomed: frozenset[str]) -> None:
        """Write many small index objects as few; the new ones are durable before the old ones go."""
        sizes = [each.size async for each in self._store.list(INDEX) if each.size != len(SEAL)]
        if sum(size < SMALL_BYTES for size in sizes) <= self._rules.merge_above:
            return
        small: dict[str, Sequence[Packed]] = {}
        entries = 0
        async for key, packs in self._contents.segments():
            count = sum(len(each.entries) for each in packs)
            if count < SMALL and entries + count < AT_MOST:
                small[key] = packs
                entries += count
        if len(small) <= self._rules.merge_above:
            return
        merged = {each.name: each for packs in small.values() for each in packs if each.name not in doomed}
        await self._contents.publish(self._lease, list(merged.values()))
        for key in small:
            await self._store.delete(key)

    async def _condemn(
        self,
        done: Collected,
        marks: Marks,
        epoch: int,
        lists: Sequence[CondemnList],
        trash: Sequence[str],
        now: float,
    ) -> Collected:
        """Publish what is not needed any more, and what is worth storing again."""
        listed = frozenset[str]().union(*(each.packs for each in lists))
        old = {name for name, each in self._packs.items() if now - each.modified >= self._rules.grace} - listed
        useless = {name for name in old if not self._uses.get(name, Use()).needed}
        if marks.missing:
            useless -= await self._unsure(useless, marks)
        listed_use = {name: self._uses[name] for name in old - useless if name in self._uses}
        sparse = {name for name, use in listed_use.items() if use.share < self._rules.repack_below}
        repacked = await self._contents.repack(self._lease, {name: self._uses[name].chunks for name in sorted(sparse)})
        names = useless | sparse
        if (names or trash) and not await epochs.publish(self._store, epoch, names, trash):
            self._waiting.append("another collection published its list first: the next one goes on")
            names, epoch = set(), 0
        return Collected(
            epoch=epoch if names or trash else 0,
            condemned=tuple(sorted(names)),
            condemned_bytes=self._bytes(names),
            deleted=done.deleted,
            deleted_bytes=done.deleted_bytes,
            emptied=done.emptied,
            repacked_bytes=repacked,
            missing=done.missing,
            waiting=tuple(self._waiting),
        )

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self._packs[name].size for name in names if name in self._packs)


def pack_name(key: str) -> str:
    """The name in a pack's key."""
    return key.rpartition("/")[2]


def _unreadable(key: str, exc: RepositoryError) -> RepositoryError:
    return RepositoryError(
        "a snapshot cannot be read, so nobody knows what it needs: nothing is deleted",
        code="NF-REPO-033",
        where=key,
        cause=str(exc),
        hints=(
            "novafleet repo check URL --key-file K",
            "novafleet repo repair URL --key-file K",
            f"novafleet backup forget {key.rpartition('/')[2]}   # gives up what is still there of it",
        ),
    )

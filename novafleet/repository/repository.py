"""A repository, opened: its snapshots, their disks and files, and the way to add one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from novafleet.errors import MissingObjectError, RepositoryError, Retry, UnreadableError
from novafleet.model.backup import Blob, DiskCopy, Snapshot
from novafleet.model.secret import Secret
from novafleet.ports import BlockSource, Clock, ObjectStore
from novafleet.repository import catalogue, config, keys, lease, pack, reserve
from novafleet.repository.chunkmap import Page, Root, decode_root
from novafleet.repository.config import CELL
from novafleet.repository.index import Index, Location
from novafleet.repository.keys import Key, KeySource, Slot
from novafleet.repository.pipeline import Pipeline
from novafleet.repository.seal import Keyring, Kind, damaged, newer, unseal
from novafleet.repository.segments import Segments
from novafleet.repository.source import DiskSource
from novafleet.repository.writer import Backup

AT_ONCE = 16
READER, README = "reader.py", "readme.txt"


class Repository:
    """Made by ``create`` or ``open``. It reads the store it was given; who gave it closes it."""

    def __init__(self, store: ObjectStore, content: bytes, master: Secret) -> None:
        said = config.load(content, f"{store.url}: {config.KEY}")
        self.store = store
        self.id = said.id
        """32 hexadecimal digits, random."""
        self.cell = said.cell
        """Bytes of the grid disks are cut along: 256 KiB to 4 MiB."""
        self.keyring = Keyring(master, said.id)
        self._config = content
        self._master = master
        self._segments = Segments(store, self.keyring)

    @classmethod
    async def create(cls, store: ObjectStore, key: KeySource, *, at: float, cell: int = CELL) -> Repository:
        """Make one in an empty store and open it. ``at`` dates its first key slot.

        Raises RepositoryError: NF-REPO-003 when there is one, NF-REPO-007 for an unusable key.
        """
        material = key.read()
        await refuse_taken(store)
        content, master = config.dump(config.new(cell)), Secret.of(keys.new_master())
        slot = await keys.add_slot(store, content, master, material, label="first", at=at)
        await store.put(READER, Path(__file__).with_name(READER).read_bytes())
        await store.put(README, Path(__file__).with_name(README).read_bytes())
        await reserve.keep(store)
        if not await store.create(config.KEY, content):
            await store.delete(keys.PREFIX + slot.id)
            raise _exists(store.url)
        for left in [each.key async for each in store.list(keys.PREFIX) if each.key != keys.PREFIX + slot.id]:
            await store.delete(left)  # of an interrupted creation: it opens nothing, and would count as a way in
        return cls(store, content, master)

    @classmethod
    async def open(cls, store: ObjectStore, key: Key) -> Repository:
        """Raises RepositoryError: NF-REPO-002 none there, -004 newer format, -005 wrong key, -006 damaged."""
        material = key.read()
        content = await config_of(store)
        return cls(store, content, await keys.unlock(store, content, material))

    async def slots(self) -> tuple[Slot, ...]:
        """Its key slots, oldest first."""
        return await keys.slots(self.store)

    async def add_key(self, key: Key, *, label: str, at: float) -> Slot:
        """Let one more key open it."""
        return await keys.add_slot(self.store, self._config, self._master, key.read(), label=label, at=at)

    async def opened_by(self, key: Key) -> tuple[str, ...]:
        """The slots by which a key opens it."""
        return await keys.opened_by(self.store, key.read(), self._config)

    async def remove_key(self, slot: str) -> None:
        """Raises RepositoryError NF-REPO-016 for the last one, or one that is not there."""
        await keys.remove_slot(self.store, slot)

    async def recovery_sheet(self, *, at: float) -> tuple[str, Slot]:
        """Add a key for paper: the text to print, which is a secret, and its slot."""
        code = keys.recovery_code()
        material = keys.KeyMaterial(keys.SlotKind.PASSPHRASE, Secret.of(code))
        slot = await keys.add_slot(self.store, self._config, self._master, material, label="recovery sheet", at=at)
        return keys.recovery_sheet(self.store.url, self.id, code, slot), slot

    async def snapshot_ids(self) -> tuple[str, ...]:
        """Oldest first. What a collector put in a fenced writer's place is none."""
        listed = [each async for each in self.store.list(catalogue.PREFIX) if each.size != len(lease.SEAL)]
        names = sorted(each.key.removeprefix(catalogue.PREFIX) for each in listed)
        return tuple(name for name in names if catalogue.is_id(name))

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """All of them, oldest first. Raises RepositoryError NF-REPO-010 for a damaged one."""
        found, damage = await self.readable()
        if damage:
            raise damage[0]
        return found

    async def readable(self) -> tuple[tuple[Snapshot, ...], tuple[RepositoryError, ...]]:
        """The snapshots that can be read, oldest first, and a finding about each that cannot."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def read(name: str) -> Snapshot | RepositoryError | None:
            async with slots:
                try:
                    return await self.read_snapshot(name)
                except MissingObjectError:  # forgotten since it was listed
                    return None
                except RepositoryError as exc:
                    return exc

        found = await asyncio.gather(*(read(name) for name in await self.snapshot_ids()))
        return (
            tuple(each for each in found if isinstance(each, Snapshot)),
            tuple(each for each in found if isinstance(each, RepositoryError)),
        )

    async def snapshot(self, name: str) -> Snapshot:
        """By id or unique beginning of one. Raises RepositoryError NF-REPO-008."""
        names = [each for each in await self.snapshot_ids() if each.startswith(name.lower())]
        if len(names) != 1:
            raise RepositoryError(
                f"{len(names)} snapshots begin with {name!r}" if names else f"there is no snapshot {name!r}",
                code="NF-REPO-008",
                where=self.store.url,
                cause=", ".join(names[:5]),
                retry=Retry.AFTER_FIX,
                hints=("novafleet backup ls lists them",),
            )
        return await self.read_snapshot(names[0])

    async def read_snapshot(self, snapshot_id: str, key: str = "") -> Snapshot:
        """One snapshot object, at ``key`` when it lies elsewhere (the trash). Raises MissingObjectError too."""
        key = key or catalogue.PREFIX + snapshot_id
        where = f"{self.store.url}: {key}"
        return catalogue.unseal(snapshot_id, await self._get(where, key), self.keyring, where)

    async def disk(self, copy: DiskCopy) -> BlockSource:
        """A disk as it was. Reads may run at once; what they return was verified against its id."""
        return DiskSource(await self.root(copy), self.chunk, self.store.url)

    async def blob(self, blob: Blob) -> bytes:
        """A small file of a snapshot."""
        return await self.chunk(Kind.BLOB, _id(blob.id, self.store.url))

    async def root(self, copy: DiskCopy) -> Root:
        """The root of a disk's map."""
        root = decode_root(await self.chunk(Kind.ROOT, _id(copy.root, self.store.url)), self.store.url)
        if root.size != copy.size or root.cell != self.cell:
            raise damaged(self.store.url, f"the map of {copy.name} is that of another disk")
        return root

    async def page(self, chunk: bytes) -> Page:
        """A page of a map."""
        return Page(await self.chunk(Kind.PAGE, chunk), self.store.url)

    async def chunk(self, kind: Kind, chunk: bytes) -> bytes:
        """The content of a chunk, from whichever pack still has it whole.

        Raises RepositoryError: NF-REPO-010 damaged (``where`` names pack and chunk), NF-REPO-011 missing.
        """
        failure: RepositoryError | MissingObjectError | None = None
        for again in (False, True):
            table = await self._segments.table(again=again)
            for location in table.locations(chunk):
                try:
                    return await self._fetch(kind, chunk, location)
                except (RepositoryError, MissingObjectError) as exc:
                    failure = failure if isinstance(failure, RepositoryError) else exc
        if isinstance(failure, RepositoryError):
            raise failure
        raise RepositoryError(
            f"a chunk the snapshot needs is missing: {kind.name.lower()} {chunk.hex()}",
            code="NF-REPO-011",
            where=self.store.url,
            cause=str(failure or "no index names it"),
            hints=("novafleet repo check URL --key-file K says which snapshots it concerns",),
        ) from failure

    async def index(self, *, again: bool = False) -> Index:
        """Where every chunk is; read on first use. ``again``: as it is in the store now."""
        return await self._segments.table(again=again)

    @asynccontextmanager
    async def backup(self, clock: Clock, *, snapshot: str | None = None, after: str = "") -> AsyncIterator[Backup]:
        """Write a snapshot: nothing of it can be seen before ``Backup.commit``. Holds a lease meanwhile.

        ``snapshot`` is its id when it has one already (a copy from another repository); else its id sorts behind that
        of ``after``, even if the clock was set back since.
        """
        async with lease.hold(self.store, clock, snapshot=snapshot, after=after) as held:
            table = await self._segments.table(again=True)
            pipeline = Pipeline(self.store, self.keyring, table, held)
            try:
                yield Backup(pipeline, held, self.keyring, self.cell, self.root, self.page, table)
            finally:
                await pipeline.close()
                self._segments.known(table, pipeline.segments)

    async def _fetch(self, kind: Kind, chunk: bytes, at: Location) -> bytes:
        key = pack.key_of(at.pack)
        where = f"{self.store.url}: {key}, chunk {chunk.hex()}"
        sealed = await self._get(where, key, at.offset, at.length)
        if len(sealed) != at.length:
            raise damaged(where, "the pack is cut short")
        return await asyncio.to_thread(self._decode, kind, chunk, at, sealed, where)

    async def _get(self, where: str, key: str, *part: int) -> bytes:
        """What its disk does not give back is damaged like what it gives back wrong: there may be another copy."""
        try:
            return await self.store.get(key, *part)
        except UnreadableError as exc:
            raise damaged(where, f"it cannot be read: {exc.cause}") from exc

    def _decode(self, kind: Kind, chunk: bytes, at: Location, sealed: bytes, where: str) -> bytes:
        cipher = self.keyring.cipher(at.salt)
        content = unseal(cipher, sealed, at.offset, kind, at.codec, chunk, at.size, where)
        if self.keyring.chunk_id(kind, content) != chunk:
            raise damaged(where, "its content is not what its id says")
        return content


async def config_of(store: ObjectStore) -> bytes:
    """The object ``config``, for which no key is needed. Raises RepositoryError NF-REPO-002, -004 or -006."""
    try:
        content = await store.get(config.KEY)
    except MissingObjectError as exc:
        raise RepositoryError(
            "there is no repository here",
            code="NF-REPO-002",
            where=store.url,
            retry=Retry.AFTER_FIX,
            hints=("check the URL, or make one: novafleet repo init URL --key-file K",),
        ) from exc
    config.load(content, f"{store.url}: {config.KEY}")
    return content


async def refuse_taken(store: ObjectStore) -> None:
    """Raise RepositoryError NF-REPO-003 where a repository is, or the beginning of a copy of one."""
    if await lease.exists(store, config.KEY):
        raise _exists(store.url)
    if await lease.exists(store, lease.REPLICA):
        raise RepositoryError(
            "the beginning of a replica is here",
            code="NF-REPO-003",
            where=store.url,
            hints=(f"novafleet repo copy SOURCE {store.url} goes on with it", "or remove what is there"),
        )


def _exists(url: str) -> RepositoryError:
    return RepositoryError("there is a repository here already", code="NF-REPO-003", where=url)


def _id(text: str, where: str) -> bytes:
    try:
        chunk = bytes.fromhex(text)
    except ValueError as exc:
        raise newer(where, f"{text!r} is no id") from exc
    return chunk

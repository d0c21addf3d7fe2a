"""Is everything there that snapshots need, and is it what was written?

Structure: every snapshot object, its map (whose pages are read and verified), and for every chunk a pack that is there
and long enough. Content (``share`` > 0): packs are read whole, hashed, and every chunk in them is decoded. Scrubbing
does the hashing alone and needs no key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from novafleet.errors import MissingObjectError, RepositoryError, UnreadableError
from novafleet.model.backup import DiskCopy, Snapshot
from novafleet.ports import ObjectStore
from novafleet.repository import catalogue, pack
from novafleet.repository.chunkmap import ZERO
from novafleet.repository.contents import RepositoryContents
from novafleet.repository.index import Index, Packed
from novafleet.repository.lease import exists
from novafleet.repository.pack import Entry, Piece
from novafleet.repository.repository import Repository
from novafleet.repository.seal import Kind, unseal
from novafleet.repository.walk import Lost, Walk

AT_ONCE = 4
"""Packs in memory at a time."""
LOST = "lost"
"""There since a repair that could not bring everything back, until one that can: backups then look what their last
copy lost, and read it again."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """One finding. ``snapshot`` is empty when it concerns no snapshot; ``disk`` empty when it concerns all of it."""

    object: str
    what: str
    snapshot: str = ""
    vm: str = ""
    disk: str = ""
    offset: int = 0
    length: int = 0
    chunk: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at, and what is wrong."""

    snapshots: int
    packs: int
    bytes_read: int
    damage: tuple[Damage, ...]
    bad_packs: tuple[str, ...] = ()
    """Packs whose content is not what was written, or that cannot be read."""

    @property
    def clean(self) -> bool:
        """Nothing is wrong."""
        return not self.damage


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A pack, read without a key: its name, its size, what is wrong with it (empty: nothing)."""

    name: str
    size: int
    why: str = ""


async def check(
    repository: Repository, *, share: float = 0.0, seed: int | None = None, progress: Progress = lambda *_: None
) -> Checked:
    """``share`` is how much of the packs is read, 0 to 1; which ones is chosen at random (``seed``)."""
    store = repository.store
    sizes = await pack_sizes(store)
    damage: list[Damage] = []
    try:
        table = await repository.index(again=True)
    except RepositoryError as exc:
        damage.append(Damage((exc.where and str(exc.where)) or "index/", str(exc)))
        return Checked(len(await repository.snapshot_ids()), len(sizes), 0, tuple(damage))
    chosen = _chosen(sorted(sizes), share, seed)
    bad: dict[tuple[str, int], str] = {}
    bytes_read, bad_packs = 0, []
    async for name, size, findings in _read_all(repository, chosen, progress):
        bytes_read += size
        if findings:
            bad_packs.append(name)
            bad |= {(name, offset): why for offset, why in findings if offset >= 0}
            damage.append(Damage(pack.key_of(name), "; ".join(sorted({why for _, why in findings}))))
    damage += await _snapshots(repository, _judge(table, sizes, bad), progress)
    return Checked(len(await repository.snapshot_ids()), len(sizes), bytes_read, tuple(damage), tuple(bad_packs))


async def pack_sizes(store: ObjectStore) -> dict[str, int]:
    """Every pack in the store, and its bytes."""
    return {each.key.rpartition("/")[2]: each.size async for each in store.list(pack.PREFIX)}


async def lost(
    repository: Repository, bad: Iterable[tuple[str, int]] = (), progress: Progress = lambda *_: None
) -> tuple[Lost, ...]:
    """What snapshots cannot restore, by structure, and by chunks (pack, offset) known to be bad."""
    judge = _judge(
        await repository.index(again=True), await pack_sizes(repository.store), dict.fromkeys(bad, "damaged")
    )
    walk = Walk(repository, judge)
    found: list[Lost] = []
    ids = await repository.snapshot_ids()
    for number, name in enumerate(ids):
        progress("following snapshots", number, len(ids))
        snapshot = await _snapshot(repository, name)
        if isinstance(snapshot, Damage):
            found.append(Lost(name, "", "", 0, 0, snapshot.what))
        elif snapshot is not None:
            found += [lost async for lost in walk.snapshot(snapshot)]
    return tuple(found)


async def lost_of(repository: Repository, snapshot: Snapshot, copy: DiskCopy) -> tuple[Lost, ...]:
    """The same of one disk of a snapshot, so far as a repair found that anything is lost at all."""
    if not await exists(repository.store, LOST):
        return ()
    judge = _judge(await repository.index(again=True), await pack_sizes(repository.store), {})
    return tuple([each async for each in Walk(repository, judge).disk(snapshot, copy)])


async def scrub(
    store: ObjectStore, *, share: float = 1.0, seed: int | None = None, progress: Progress = lambda *_: None
) -> tuple[Scrubbed, ...]:
    """Hash packs: a pack's name is the hash of its content, so no key is needed."""
    sizes = await pack_sizes(store)
    chosen = _chosen(sorted(sizes), share, seed)
    slots, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(name: str) -> Scrubbed:
        nonlocal done
        async with slots:
            size, why = await _scrub(store, name)
            done += 1
            progress("reading packs", done, len(chosen))
            return Scrubbed(name, size, why)

    return tuple(await asyncio.gather(*map(one, chosen)))


async def _scrub(store: ObjectStore, name: str) -> tuple[int, str]:
    try:
        content = await store.get(pack.key_of(name))
    except MissingObjectError:
        return 0, ""  # collected since it was listed
    except UnreadableError as exc:
        return 0, f"it cannot be read: {exc.cause}"
    if await asyncio.to_thread(hash_of, content) == name:
        return len(content), ""
    try:
        pieces, _ = await pack.tables(store, name)
    except RepositoryError as exc:
        return len(content), f"its content is not what its name says; {exc}"
    broken = sum(not _intact(content, piece) for piece in pieces)
    return len(content), f"its content is not what its name says: {broken} of {len(pieces)} parts are damaged"


def hash_of(content: bytes) -> str:
    """The name of a pack with this content."""
    return blake3(content).hexdigest()


def _intact(content: bytes, piece: Piece) -> bool:
    return blake3(content[piece.offset : piece.offset + piece.length]).digest() == piece.digest


def _chosen(names: Sequence[str], share: float, seed: int | None) -> list[str]:
    if share >= 1.0:
        return list(names)
    count = -(-len(names) * round(share * 1_000_000) // 1_000_000)
    return sorted(random.Random(seed).sample(list(names), count))  # noqa: S311 - which packs are read is no secret


async def _read_all(
    repository: Repository, names: Sequence[str], progress: Progress
) -> AsyncIterator[tuple[str, int, list[tuple[int, str]]]]:
    for at in range(0, len(names), AT_ONCE):
        progress("reading packs", at, len(names))
        batch = names[at : at + AT_ONCE]
        for name, (size, findings) in zip(
            batch, await asyncio.gather(*(_read(repository, each) for each in batch)), strict=True
        ):
            yield name, size, findings


async def _read(repository: Repository, name: str) -> tuple[int, list[tuple[int, str]]]:
    """A pack as ``read_pack`` does. One that its disk does not give back is damaged, all of it, and ends no check."""
    try:
        return await read_pack(repository, name)
    except UnreadableError as exc:
        why = f"it cannot be read: {exc.cause}"
    _, entries = await _listed(repository, name)
    return 0, [(-1, why), *((entry.offset, why) for entry in entries)]


async def read_pack(repository: Repository, name: str) -> tuple[int, list[tuple[int, str]]]:
    """Read and decode a pack: its bytes, and (offset of a chunk, what is wrong); offset -1 is the pack itself."""
    try:
        content = await repository.store.get(pack.key_of(name))
    except MissingObjectError:
        return 0, []  # collected since it was listed: whether somebody needs it is seen elsewhere
    findings = (
        [] if await asyncio.to_thread(hash_of, content) == name else [(-1, "its content is not what its name says")]
    )
    try:
        salt, entries = await pack.entries(repository.store, repository.keyring, name)
    except RepositoryError as exc:
        salt, entries = await _listed(repository, name)
        findings.append((-1, exc.cause or str(exc)))
    packed = Packed(name, salt, entries)
    wrong = await asyncio.to_thread(_decode_all, repository, packed, content)
    return len(content), findings + wrong


def decoded(repository: Repository, packed: Packed, content: bytes) -> Iterator[tuple[Entry, bytes | str]]:
    """The chunks of a pack: each with its content, or with what is wrong with it."""
    cipher = repository.keyring.cipher(packed.salt)
    for each in packed.entries:
        sealed = content[each.offset : each.offset + each.length]
        try:
            plain = unseal(cipher, sealed, each.offset, each.kind, each.codec, each.id, each.size, packed.name)
        except RepositoryError as exc:
            yield each, f"a chunk does not decode: {exc.cause}"
            continue
        same = repository.keyring.chunk_id(each.kind, plain) == each.id
        yield each, plain if same else "a chunk is not what its id says"


async def _listed(repository: Repository, name: str) -> tuple[bytes, tuple[Entry, ...]]:
    """What the index says of a pack that cannot say it itself."""
    async for _, packs in RepositoryContents(repository).segments():
        for each in packs:
            if each.name == name:
                return each.salt, each.entries
    return bytes(32), ()


def _decode_all(repository: Repository, packed: Packed, content: bytes) -> list[tuple[int, str]]:
    return [(entry.offset, found) for entry, found in decoded(repository, packed, content) if isinstance(found, str)]


def _judge(table: Index, sizes: dict[str, int], bad: dict[tuple[str, int], str]) -> Callable[[bytes, int], str]:
    def judge(chunk: bytes, needed: int) -> str:
        if chunk == ZERO:
            return ""
        why = "no index lists it"
        for at in table.locations(chunk):
            if at.pack not in sizes:
                why = f"its pack {at.pack} is missing"
            elif at.offset + at.length > sizes[at.pack]:
                why = f"its pack {at.pack} is cut short"
            elif at.size < needed:
                why = f"it is shorter than its place in the map: {at.size} of {needed} bytes"
            elif (at.pack, at.offset) in bad:
                why = f"damaged in pack {at.pack}"
            else:
                return ""
        return why

    return judge


async def _snapshots(repository: Repository, judge: Callable[[bytes, int], str], progress: Progress) -> list[Damage]:
    damage: list[Damage] = []
    walk, ids = Walk(repository, judge), await repository.snapshot_ids()
    for number, name in enumerate(ids):
        progress("following snapshots", number, len(ids))
        snapshot = await _snapshot(repository, name)
        if isinstance(snapshot, Damage):
            damage.append(snapshot)
        elif snapshot is not None:
            damage += merged([each async for each in walk.snapshot(snapshot)])
    return damage


async def _snapshot(repository: Repository, name: str) -> Snapshot | Damage | None:
    try:
        return await repository.read_snapshot(name)
    except MissingObjectError:
        return None  # forgotten since it was listed
    except RepositoryError as exc:
        return Damage(catalogue.PREFIX + name, str(exc), snapshot=name)


def merged(found: Iterable[Lost]) -> list[Damage]:
    """Neighbouring ranges that are lost for one reason, as one."""
    damage: list[Damage] = []
    for each in found:
        last = damage[-1] if damage else None
        if (
            last is not None
            and (last.snapshot, last.disk, last.what) == (each.snapshot, each.disk, each.why)
            and last.offset + last.length == each.offset
            and each.kind is Kind.DATA
        ):
            damage[-1] = _grown(last, each.length)
        else:
            damage.append(Damage("", each.why, each.snapshot, each.vm, each.disk, each.offset, each.length, each.chunk))
    return damage


def _grown(damage: Damage, length: int) -> Damage:
    return Damage(
        damage.object,
        damage.what,
        damage.snapshot,
        damage.vm,
        damage.disk,
        damage.offset,
        damage.length + length,
        damage.chunk,
    )

"""``repo init|ls|info|check|scrub|stats|key``: the repository itself, whatever VMs are in it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.repository import open_repository, opened_store
from novafleet.errors import ConfigError, RepositoryError
from novafleet.objectstore.probe import demand_exclusive, probe
from novafleet.ports import Clock
from novafleet.repository import KeySource, Repository, config, keys
from novafleet.repository import check as checking
from novafleet.repository import repair as mending
from novafleet.repository import stats as counting
from novafleet.repository.check import Checked, Progress, Scrubbed
from novafleet.repository.epochs import outstanding
from novafleet.repository.keys import Slot, new_key_file
from novafleet.repository.lease import REPLICA, exists, leases
from novafleet.repository.records import holds
from novafleet.repository.repair import QUARANTINE, Repaired
from novafleet.repository.replicate import Copied, replicate
from novafleet.repository.repository import config_of, refuse_taken
from novafleet.repository.stats import Stats
from novafleet.repository.trash import trashed


@dataclass(frozen=True, slots=True)
class InitRequest:
    """``sheet`` is where a recovery sheet goes; ``single_writer`` accepts a store that cannot keep writers apart."""

    url: str
    key: KeySource
    cell: int
    sheet: Path | None = None
    single_writer: bool = False


@dataclass(frozen=True, slots=True)
class Initialized:
    """A new repository; ``new_key`` when its key file was made too. ``skew`` is the store's clock minus ours."""

    url: str
    id: str
    exclusive: bool
    why: str
    skew: float
    new_key: str = ""
    sheet: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """A repository at a glance; nothing of its size grows the time this takes but the number of names in it."""

    url: str
    id: str
    cell: int
    snapshots: int
    trash: int
    holds: int
    packs: int
    stored: int
    keys: int
    writers: tuple[str, ...]
    """Who holds a lease."""
    condemned: int
    """Packs that wait for their deletion."""
    quarantined: int
    newest: str = ""
    replica: bool = False


@dataclass(frozen=True, slots=True)
class Rotated:
    """A key in the place of others; ``new_key`` is the key file that was made for it, if one was."""

    added: Slot
    new_key: str
    removed: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """``read_data`` finds damaged packs; ``promote`` makes a replica a repository of its own."""

    read_data: bool = False
    promote: bool = False


@dataclass(frozen=True, slots=True)
class Scrub:
    """Packs read without a key."""

    packs: int
    bytes_read: int
    damaged: tuple[Scrubbed, ...]


async def init(request: InitRequest) -> Initialized:
    """Probe the store, make the key file if there is none, make the repository.

    Raises StoreError NF-STORE-04x for a store that cannot hold one, RepositoryError NF-REPO-003 when there is one,
    ConfigError NF-CFG-005 for a cell that cannot be.
    """
    _absent(request.sheet)
    config.new(request.cell)  # refused before anything is written
    async with opened_store(request.url) as store:
        await refuse_taken(store)
        seen = await probe(store)
        if not request.single_writer:
            demand_exclusive(store, seen)
        made = _ensure_key(request.key)
        repository = await Repository.create(store, request.key, at=time.time(), cell=request.cell)
        if request.sheet:
            await _sheet(repository, request.sheet)
        sheet = str(request.sheet or "")
        return Initialized(store.url, repository.id, seen.exclusive, seen.why, seen.skew, made, sheet)


def _absent(sheet: Path | None) -> None:
    if sheet is not None and sheet.exists():
        raise ConfigError("the recovery sheet's file exists already", code="NF-REPO-042", where=str(sheet))
    if sheet is not None and not sheet.parent.is_dir():
        raise ConfigError("the recovery sheet's folder does not exist", code="NF-REPO-042", where=str(sheet.parent))


def _ensure_key(key: KeySource) -> str:
    if key.file is None or key.file.exists():
        return ""
    new_key_file(key.file)
    return str(key.file)


def write_secret(path: Path, text: str) -> None:
    """A new file of mode 0600. Raises ConfigError NF-REPO-042 when it exists or cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as exc:
        raise ConfigError(
            "the file cannot be made", code="NF-REPO-042", where=str(path), cause=exc.strerror or str(exc)
        ) from exc


async def info(url: str, key: KeySource) -> Info:
    """What ``repo info`` shows."""
    async with open_repository(url, key) as repository:
        store, ids = repository.store, await repository.snapshot_ids()
        sizes = await checking.pack_sizes(store)
        lists = await outstanding(store)
        return Info(
            store.url,
            repository.id,
            repository.cell,
            len(ids),
            len(await trashed(store)),
            len(await holds(repository)),
            len(sizes),
            sum(sizes.values()),
            len(await repository.slots()),
            tuple([each.holder or each.key for each in await leases(store)]),
            sum(len(each.avoided) for each in lists),
            len([each.key async for each in store.list(QUARANTINE)]),
            ids[-1] if ids else "",
            await exists(store, REPLICA),
        )


async def check(url: str, key: KeySource, share: float, progress: Progress) -> Checked:
    """Structure, and the content of this share (0 to 1) of the packs."""
    async with open_repository(url, key) as repository:
        return await checking.check(repository, share=share, progress=progress)


async def scrub(url: str, share: float, progress: Progress) -> Scrub:
    """Hash packs; no key is needed. Raises RepositoryError as ``config_of`` does."""
    async with opened_store(url) as store:
        await config_of(store)
        found = await checking.scrub(store, share=share, progress=progress)
    damaged = tuple(each for each in found if each.why)
    return Scrub(len(found), sum(each.size for each in found), damaged)


async def repair(url: str, key: KeySource, clock: Clock, request: RepairRequest, progress: Progress) -> Repaired:
    """Mend what can be mended; what remains lost is in the result."""
    async with open_repository(url, key) as repository:
        return await mending.repair(
            repository, clock, read_data=request.read_data, promote=request.promote, progress=progress
        )


async def copy(source: str, target: str, clock: Clock, *, delete: bool, progress: Progress) -> Copied:
    """Bring a replica up to date; no key is needed."""
    async with opened_store(source) as here, opened_store(target) as there:
        return await replicate(here, there, clock, delete=delete, progress=progress)


async def stats(url: str, key: KeySource, progress: Progress) -> Stats:
    """How much is in it, and per VM."""
    async with open_repository(url, key) as repository:
        return await counting.stats(repository, progress)


async def key_ls(url: str) -> Sequence[Slot]:
    """Its key slots; no key is needed to see them."""
    async with opened_store(url) as store:
        await config_of(store)
        return await keys.slots(store)


async def key_add(url: str, key: KeySource, new: KeySource, label: str) -> tuple[Slot, str]:
    """Let one more key open it; the second of the answer is the key file that was made for it, if one was."""
    async with open_repository(url, key) as repository:
        made = _ensure_key(new)
        return await repository.add_key(new, label=label, at=time.time()), made


async def key_rm(url: str, key: KeySource, slot: str) -> Slot:
    """Remove a key slot by id or unique beginning; never the one the given key needs, the only one sure to open."""
    known = key.read()
    async with open_repository(url, known) as repository:
        slots = await repository.slots()
        found = _slot(slots, slot, url)
        if len(slots) > 1 and (found.id,) == await repository.opened_by(known):
            raise RepositoryError(
                "this is the slot of the key that was given: whether another opens the repository is not seen",
                code="NF-REPO-016",
                where=f"{url}: {keys.PREFIX}{found.id}",
                hints=("give another of its keys to remove this one", f"novafleet repo key rotate {url}"),
            )
        await repository.remove_key(found.id)
        return found


async def key_rotate(url: str, key: KeySource, new: KeySource, label: str) -> Rotated:
    """A new key in place of the one given: it is added, seen to open the repository, and only then the old one goes.

    What was stored stays as it is: both keys wrap one master key.
    """
    known = key.read()
    async with open_repository(url, known) as repository:
        before = await repository.slots()
        made = _ensure_key(new)
        fresh = new.read()
        added = await repository.add_key(fresh, label=label, at=time.time())
        await Repository.open(repository.store, fresh)
        old = [each for each in await keys.opened_by(repository.store, known) if each != added.id]
        for slot in old:
            await repository.remove_key(slot)
    return Rotated(added, made, tuple(each for each in before if each.id in old))


async def sheet(url: str, key: KeySource, target: Path | None) -> str:
    """A recovery sheet with a key of its own: its text, written to ``target`` if given."""
    _absent(target)
    async with open_repository(url, key) as repository:
        return await _sheet(repository, target)


async def _sheet(repository: Repository, target: Path | None) -> str:
    """No key stays whose code nobody has: it would pass for a way in when others are removed."""
    text, slot = await repository.recovery_sheet(at=time.time())
    try:
        if target is not None:
            write_secret(target, text)
    except ConfigError:
        await repository.remove_key(slot.id)
        raise
    return text


def _slot(slots: Sequence[Slot], wanted: str, url: str) -> Slot:
    found = [each for each in slots if each.id.startswith(wanted)]
    if len(found) != 1:
        raise RepositoryError(
            f"{len(found)} key slots begin with {wanted!r}" if found else f"there is no key slot {wanted!r}",
            code="NF-REPO-016",
            where=url,
            hints=(f"novafleet repo key ls {url}",),
        )
    return found[0]

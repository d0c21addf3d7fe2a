"""A world for garbage collection in which every store operation of every actor is a scheduling point.

Actors run the real lease, trash and collection code over a store in memory; a schedule says whose operation is next,
when time passes, and who is killed. Listings come in pages, so that objects appear and vanish while one is read.
Only the content is a toy: a snapshot is a list of chunk ids, a pack another.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from novafleet.errors import MissingObjectError, NovaFleetError, StoreError
from novafleet.model.backup import StoredObject
from novafleet.repository import gc
from novafleet.repository.collected import Collected, Rules
from novafleet.repository.compress import Codec
from novafleet.repository.index import Packed
from novafleet.repository.lease import INDEX, SEAL, SNAPSHOTS, TRASH, Lease, hold
from novafleet.repository.pack import Entry, key_of
from novafleet.repository.seal import Kind
from novafleet.repository.trash import forget, undo

PAGE = 3
HOUR = 3600.0
PER_PACK = 2


def chunk(number: int) -> bytes:
    return bytes([number % 256]) * 32


class Loss(AssertionError):
    """A committed snapshot needs a chunk that is nowhere."""


@dataclass
class World:
    """Objects, time, and the operations that wait for their turn."""

    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    now: float = 1_000_000.0
    waiting: list[tuple[str, str, asyncio.Future[None]]] = field(default_factory=list)
    sleeping: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)
    over: bool = False
    names: int = 0

    async def turn(self, actor: str, what: str) -> None:
        if self.over:
            raise StoreError("the world has ended")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((actor, what, future))
        await future

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleeping.append((self.now + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [each for each in self.sleeping if each[0] <= self.now]
        self.sleeping = [each for each in self.sleeping if each[0] > self.now]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    def pack_name(self) -> str:
        self.names += 1
        return hashlib.sha256(str(self.names).encode()).hexdigest()

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def verify(self) -> None:
        """No snapshot, forgotten or not, may need what is gone, or what no index leads to."""
        listed: dict[bytes, bool] = {}
        for key in self.keys(INDEX):
            if self.objects[key][0] != SEAL:
                for packed in decoded(self.objects[key][0]):
                    for entry in packed.entries:
                        there = key_of(packed.name) in self.objects
                        listed[entry.id] = listed.get(entry.id, False) or there
        for key in self.keys(SNAPSHOTS) + self.keys(TRASH):
            content = self.objects[key][0]
            lost = [each for each in needs(content) if not listed.get(each)] if content != SEAL else []
            if lost:
                raise Loss(f"{key} needs {[each[0] for each in lost]}")


@dataclass
class View:
    """The store as one actor sees it."""

    world: World
    actor: str
    newest_first: bool = True
    url: str = "model"
    exclusive: bool = True

    async def put(self, key: str, data: bytes) -> None:
        await self.world.turn(self.actor, f"put {key}")
        self.world.objects[key] = (data, self.world.now)

    async def create(self, key: str, data: bytes) -> bool:
        await self.world.turn(self.actor, f"create {key}")
        if key in self.world.objects:
            return self.world.objects[key][0] == data
        self.world.objects[key] = (data, self.world.now)
        if key.startswith(SNAPSHOTS):
            self.world.verify()
        return True

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        await self.world.turn(self.actor, f"get {key}")
        if key not in self.world.objects:
            raise MissingObjectError("gone", where=key)
        data = self.world.objects[key][0]
        return data[offset:] if length is None else data[offset : offset + length]

    async def stat(self, key: str) -> StoredObject:
        await self.world.turn(self.actor, f"stat {key}")
        if key not in self.world.objects:
            raise MissingObjectError("gone", where=key)
        data, modified = self.world.objects[key]
        return StoredObject(key, len(data), modified)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        after = ""
        while True:
            await self.world.turn(self.actor, f"list {prefix}")
            page = [key for key in self.world.keys(prefix) if key > after][:PAGE]
            found = [StoredObject(key, len(self.world.objects[key][0]), self.world.objects[key][1]) for key in page]
            for each in found:
                yield each
            if len(page) < PAGE:
                return
            after = page[-1]

    async def delete(self, key: str) -> None:
        await self.world.turn(self.actor, f"delete {key}")
        self.world.objects.pop(key, None)
        self.world.verify()

    async def close(self) -> None:
        pass


@dataclass
class Clock:
    """The controller's clock; ``skew`` is how wrong it is."""

    world: World
    skew: float = 0.0

    def now(self) -> float:
        return self.world.now + self.skew

    def monotonic(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await self.world.sleep(seconds)


def needs(content: bytes) -> list[bytes]:
    return [bytes.fromhex(each) for each in json.loads(content)]


def packed_of(name: str, chunks: Iterable[bytes]) -> Packed:
    entries = [Entry(each, Kind.DATA, Codec.RAW, 10 * at, 10, 10) for at, each in enumerate(chunks)]
    return Packed(name, bytes(32), tuple(entries))


def encoded(packs: Iterable[Packed]) -> bytes:
    return json.dumps({each.name: [entry.id.hex() for entry in each.entries] for each in packs}).encode()


def decoded(content: bytes) -> list[Packed]:
    return [packed_of(name, map(bytes.fromhex, ids)) for name, ids in json.loads(content).items()]


@dataclass
class ToyContents:
    """``gc.Contents`` over toy objects."""

    view: View

    async def references(self, key: str) -> AsyncIterator[Iterable[bytes]]:
        yield needs(await self.view.get(key))

    async def segments(self) -> AsyncIterator[tuple[str, Sequence[Packed]]]:
        found = [each async for each in self.view.list(INDEX) if each.size != len(SEAL)]
        for each in sorted(found, key=lambda each: each.key, reverse=self.view.newest_first):
            try:
                content = await self.view.get(each.key)
            except MissingObjectError:
                continue
            yield each.key, decoded(content)

    async def packed(self, name: str) -> Packed:
        return decoded(await self.view.get(key_of(name)))[0]

    async def publish(self, lease: Lease, packs: Sequence[Packed]) -> None:
        if packs:
            await lease.publish(encoded(packs))

    async def repack(self, lease: Lease, needed: Mapping[str, Sequence[bytes]]) -> int:
        chunks = sorted({each for ids in needed.values() for each in ids})
        packs = await store_chunks(self.view, chunks)
        if packs:
            await lease.publish(encoded(packs))
        return 10 * len(chunks)


async def store_chunks(view: View, chunks: Sequence[bytes]) -> list[Packed]:
    packs = []
    for at in range(0, len(chunks), PER_PACK):
        packed = packed_of(view.world.pack_name(), chunks[at : at + PER_PACK])
        await view.put(key_of(packed.name), encoded([packed]))
        packs.append(packed)
    return packs


async def back_up(
    view: View, clock: Clock, wanted: frozenset[int], *, inherit: bool = False, early: bool = False
) -> None:
    """A writer: what it finds it does not store again; what it inherits it does not even look at.

    ``early``: its parent was chosen before it took its lease.
    """
    chosen = await newest(view) if early else ("", set())
    async with hold(view, clock) as lease:
        parent, inherited = (await newest(view)) if inherit and not early else chosen
        chunks = {chunk(each) for each in wanted} | inherited
        known = set(inherited) if parent else set()
        async for _, packs in ToyContents(view).segments():
            for each in packs:
                if each.name not in lease.condemned:
                    known |= {entry.id for entry in each.entries}
        packs = await store_chunks(view, sorted(chunks - known))
        if packs:
            await lease.publish(encoded(packs))
        await lease.commit(json.dumps(sorted(each.hex() for each in chunks)).encode(), parent=parent)


async def newest(view: View) -> tuple[str, set[bytes]]:
    keys = sorted([each.key async for each in view.list(SNAPSHOTS) if each.size != len(SEAL)])
    for key in reversed(keys):
        try:
            return key.removeprefix(SNAPSHOTS), set(needs(await view.get(key)))
        except MissingObjectError:
            continue
    return "", set()


async def forget_all_but(view: View, clock: Clock, kept: int) -> None:
    ids = sorted([each.key.removeprefix(SNAPSHOTS) async for each in view.list(SNAPSHOTS)])
    await forget(view, clock, ids[: len(ids) - kept])


async def undo_one(view: View, clock: Clock, number: int) -> None:
    ids = sorted({each.key.split("/")[1] async for each in view.list(TRASH)})
    if ids:
        await undo(view, clock, ids[number % len(ids)])


async def collect(view: View, clock: Clock, *, newest_first: bool = True, merge_above: int = 64) -> Collected:
    view.newest_first = newest_first
    return await gc.collect(view, ToyContents(view), clock, Rules(merge_above=merge_above))


class Stage:
    """Actors by name, each a task whose store operations wait for ``step``."""

    def __init__(self) -> None:
        self.world = World()
        self.tasks: dict[str, asyncio.Task[object]] = {}
        self.frozen: set[str] = set()

    def start(self, name: str, work: Callable[[View, Clock], Awaitable[object]], skew: float = 0.0) -> None:
        async def act() -> object:
            try:
                return await work(View(self.world, name), Clock(self.world, skew))
            except NovaFleetError as error:
                return error

        self.tasks[name] = asyncio.create_task(act(), name=name)

    async def step(self, name: str, count: int = 1) -> int:
        """Let an actor do some operations; how many it did."""
        for done in range(count):
            waits = await self.waits(name)
            if not waits or name in self.frozen:
                return done
            self.world.waiting.remove(waits[0])
            waits[0][2].set_result(None)
        await self._settle()
        return count

    async def until(self, name: str, what: str) -> None:
        """Let an actor go on until its next operation is this one (``create snapshots/``)."""
        while not any(each[1].startswith(what) for each in await self.waits(name)):
            assert await self.step(name), f"{name} never came to {what}"

    async def waits(self, name: str) -> list[tuple[str, str, asyncio.Future[None]]]:
        """The operations an actor is about to do."""
        await self._settle()
        self.world.waiting = [each for each in self.world.waiting if not each[2].done()]
        return [each for each in self.world.waiting if each[0] == name]

    async def renew(self, name: str) -> None:
        """Let an actor's heartbeat through and nothing else of it."""
        for _ in range(2):
            for each in await self.waits(name):
                if each[1].split()[0] in ("stat", "put") and each[1].split()[1].startswith("leases/"):
                    self.world.waiting.remove(each)
                    each[2].set_result(None)

    async def pass_time(self, hours: float, alive: str = "") -> None:
        """Time goes by; one actor's heartbeat goes on."""
        for _ in range(int(hours * 2)):
            self.world.advance(HOUR / 2)
            if alive:
                await self.renew(alive)

    async def finish(self, name: str) -> object:
        """Let an actor come to its end; what it returned."""
        await self.step(name, 100_000)
        return self.tasks[name].result()

    async def run(self, name: str, work: Callable[[View, Clock], Awaitable[object]]) -> object:
        self.start(name, work)
        return await self.finish(name)

    def kill(self, name: str) -> None:
        """Like SIGKILL: nothing more is heard of it."""
        self.frozen.add(name)

    def done(self, name: str) -> bool:
        return self.tasks[name].done()

    async def _settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    def failures(self) -> list[BaseException]:
        """What actors died of, other than findings; a Loss is among them."""
        ended = [task for task in self.tasks.values() if task.done() and not task.cancelled()]
        return [failure for task in ended if (failure := task.exception())]

    async def close(self) -> None:
        self.world.over = True
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

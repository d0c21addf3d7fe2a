"""Stores that fail in the middle of a backup: a clear finding or none, nothing lost, and the next run is as ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from novafleet.app.retention import Rule, collect_rounds, prune
from novafleet.errors import MissingObjectError, NovaFleetError, Retry, SpaceError
from novafleet.model.policy import Keep
from novafleet.objectstore import s3
from novafleet.objectstore.open import open_store
from novafleet.ports import ObjectStore
from novafleet.repository import Repository, pack, pipeline, trash
from novafleet.repository.check import check
from novafleet.repository.collected import Rules
from novafleet.repository.replicate import replicate
from tests.faultproxy import Fault, Proxy, proxied
from tests.objectstores import NfsServer, S3Server
from tests.property.repositorychild import JumpingClock, Place, changes, content_of, ran
from tests.property.test_repository_kill import Content, back_up, filled, whole
from tests.unit.repository.disks import BLOCK, CELL, StillClock, fresh, key_file

ROUNDS = int(os.environ.get("NOVAFLEET_FAULT_ROUNDS", "1"))
SEED = os.environ.get("NOVAFLEET_FAULT_SEED", "novafleet")
LASTING = {
    Fault.BUSY: "NF-STORE-023",
    Fault.BROKEN: "NF-STORE-023",
    Fault.LOST: "NF-STORE-023",
    Fault.HUNG_UP: "NF-STORE-023",
    Fault.STALLED: "NF-STORE-023",
}


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests a run."""
    monkeypatch.setattr(pack, "TARGET", 2 * CELL)
    monkeypatch.setattr(pipeline, "SEGMENT", 4)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs out sooner."""
    monkeypatch.setattr(s3, "STALLED", 1)
    monkeypatch.setattr(s3, "SLOWEST", 64 << 20)


@pytest.fixture
async def proxy(s3_server: S3Server, impatient: None) -> AsyncIterator[Proxy]:
    async with proxied(s3_server.endpoint) as running:
        yield running


def places(s3_server: S3Server, proxy: Proxy, folder: Path) -> tuple[Place, str]:
    """A repository and its replica behind the proxy, and the way around it."""
    name = f"faults-{random.randrange(1 << 40):x}"
    behind = Place(s3_server.url(f"{name}/repo", proxy.endpoint), s3_server.url(f"{name}/copy", proxy.endpoint), folder)
    return behind, s3_server.url(f"{name}/repo")


def stores_a_pack(line: str) -> bool:
    """A request of that kind."""
    return line.startswith("PUT") and "/packs/" in line


async def pruned(place: Place, forget: str) -> None:
    """Forget one, delete what nobody needs any more."""
    store = open_store(place.url)
    repository = await Repository.open(store, key_file(place.folder))
    await trash.forget(store, JumpingClock(), [forget])
    await collect_rounds(repository, JumpingClock(), Rules(grace=0.0))
    await store.close()


async def copied(place: Place) -> None:
    """The replica as it should be."""
    source, target = open_store(place.url), open_store(place.replica)
    await replicate(source, target, JumpingClock(), delete=True)
    await source.close()
    await target.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_passing_faults_are_sat_out(s3_server: S3Server, proxy: Proxy, tmp_path: Path) -> None:
    """A third of all requests fails, each in its own way; nothing but time is lost."""
    place, direct = places(s3_server, proxy, tmp_path)
    content = await filled(tmp_path, open_store(direct))
    chance = random.Random(SEED)
    met = 0
    for _ in range(ROUNDS):
        faults = chance.choices([None, *Fault], [2 * len(Fault), *[1] * len(Fault)], k=5000)
        proxy.faults = list(faults)
        await ran(place, chance)
        forget = chance.choice(list(content))
        await pruned(place, forget)
        await copied(place)
        met += sum(each is not None for each in faults[: 5000 - len(proxy.faults)])
        proxy.faults = []
        found = await whole(tmp_path, direct, content)
        assert forget not in {each.id for each in found}
        assert await whole(tmp_path, place.replica, content) == found
    print(f"seed {SEED}: {met} faults in {len(proxy.seen)} requests")
    assert met > 10 * ROUNDS


@pytest.mark.parametrize("fault", LASTING)
async def test_an_outage_ends_the_run(
    s3_server: S3Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """It says what the endpoint did, the last backup stays what the next one builds upon."""
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.5)
    monkeypatch.setattr(s3, "PATIENCE", 0.5)
    place, direct = places(s3_server, proxy, tmp_path)
    content = await filled(tmp_path, open_store(direct))
    before = await whole(tmp_path, direct, content)
    proxy.matching = stores_a_pack
    proxy.faults = [None, *[fault] * 5000]
    with pytest.raises(NovaFleetError) as caught:
        await ran(place, random.Random(1))
    assert (caught.value.code, caught.value.retry) == (LASTING[fault], Retry.LATER)
    assert direct.partition("?")[0] in str(caught.value.where)
    proxy.faults = []
    assert await whole(tmp_path, direct, content) == before
    await next_run(place, direct, content)


async def next_run(place: Place, direct: str, content: Content) -> None:
    """It is incremental, and all is well after it."""
    before = await whole(place.folder, direct, content)
    await ran(place, random.Random(2))
    after = await whole(place.folder, direct, content)
    [made] = [each for each in after if each not in before]
    assert made.parent == before[-1].id
    assert made.disks["vda"].bytes_stored <= len(changes(int(made.tags[0]))) * BLOCK + 2 * CELL
    assert content_of(made, content) == content[made.id]


async def test_an_endpoint_that_goes_away(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.5)
    monkeypatch.setattr(s3, "PATIENCE", 0.5)
    async with contextlib.AsyncExitStack() as ending:
        proxy = await ending.enter_async_context(proxied(s3_server.endpoint))
        place, direct = places(s3_server, proxy, tmp_path)
        content = await filled(tmp_path, open_store(direct))
        proxy.matching, proxy.faults = stores_a_pack, [Fault.SLOW]
        running = asyncio.ensure_future(ran(place, random.Random(1)))
        await proxy.met.wait()
        await ending.aclose()
        with pytest.raises(NovaFleetError) as caught:
            await running
    assert (caught.value.code, caught.value.retry) == ("NF-STORE-022", Retry.LATER)
    assert len(await whole(tmp_path, direct, content)) == 6
    await next_run(Place(direct, "", tmp_path), direct, content)


async def test_an_s3_server_is_killed_in_the_middle(s3_url: str, s3_server: S3Server, tmp_path: Path) -> None:
    content = await filled(tmp_path, open_store(s3_url))
    place = Place(s3_url, "", tmp_path)
    async with asyncio.timeout(240):
        for seed in range(2):
            running = asyncio.ensure_future(ran(place, random.Random(seed)))
            await seen_packs(s3_url, more_than=len(await packs(s3_url)), unless=running)
            s3_server.kill()
            s3_server.launch()
            await running
    assert len(await whole(tmp_path, s3_url, content)) == 8


async def test_an_nfs_server_is_killed_in_the_middle(nfs_url: str, nfs_server: NfsServer, tmp_path: Path) -> None:
    content = await filled(tmp_path, open_store(nfs_url))
    place = Place(nfs_url, "", tmp_path)
    async with asyncio.timeout(240):
        for seed in range(2):
            running = asyncio.ensure_future(ran(place, random.Random(seed)))
            await seen_packs(nfs_url, more_than=len(await packs(nfs_url)), unless=running)
            await asyncio.to_thread(nfs_server.restart)
            await running
    assert len(await whole(tmp_path, nfs_url, content)) == 8


async def packs(url: str) -> list[str]:
    store = open_store(url)
    found = [each.key async for each in store.list(pack.PREFIX)]
    await store.close()
    return found


async def seen_packs(url: str, *, more_than: int, unless: asyncio.Future[None]) -> None:
    """Return when a run stored something, or is over already."""
    while len(await packs(url)) <= more_than and not unless.done():  # noqa: ASYNC110 - a server of another process
        await asyncio.sleep(0.005)


@pytest.fixture
async def small(small_url: str, tmp_path: Path) -> AsyncIterator[Repository]:
    """A repository where there is hardly any room."""
    store = open_store(small_url)
    yield await fresh(tmp_path, store)
    for each in [found async for found in store.list("")]:
        with contextlib.suppress(MissingObjectError):
            await store.delete(each.key)
    await store.close()


async def nothing_left(store: ObjectStore) -> None:
    """Somebody takes the rest of the file system."""
    for size in (1 << 20, 64 << 10, 4 << 10):
        with contextlib.suppress(SpaceError):
            for number in range(16):
                await store.put(f"rubbish/{size}-{number}", os.urandom(size))


async def test_a_full_repository(small: Repository, tmp_path: Path) -> None:
    """The run says so and nothing is lost; what is forgotten and pruned makes room for the next."""
    content: Content = {}
    blocks = {number: os.urandom(BLOCK) for number in range(0, 32)}
    for number in range(2):
        blocks = blocks | {number: os.urandom(BLOCK)}
        content[(await back_up(small, blocks, StillClock())).id] = blocks
    with pytest.raises(SpaceError) as caught:
        for _ in range(8):
            made = {number: os.urandom(BLOCK) for number in range(32)}
            content[(await back_up(small, made, StillClock())).id] = made
    assert caught.value.code == "NF-DISK-003"
    assert any("prune" in hint for hint in caught.value.hints)
    assert (await check(small, share=1.0)).clean
    kept = await small.snapshots()
    assert [each.id for each in kept] == list(content)
    await nothing_left(small.store)
    rule, limits = Rule(Keep(last=1)), Rules(grace=0.0, stale_after=0.0)
    await prune(small.store.url, key_file(tmp_path), [rule], StillClock(), limits=limits)
    for each in [found async for found in small.store.list("rubbish/")]:
        await small.store.delete(each.key)
    blocks = content[kept[-1].id] | {number: os.urandom(BLOCK) for number in range(0, 16)}
    content[(await back_up(small, blocks, StillClock())).id] = blocks
    assert (await check(small, share=1.0)).clean
    assert len(await small.snapshots()) == 2

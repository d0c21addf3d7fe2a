"""What every ``ObjectStore`` does: memory, a directory, S3 on SeaweedFS and rclone, NFS on ganesha through libnfs."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from novafleet.errors import MissingObjectError, SpaceError, StoreError
from novafleet.objectstore import files, s3
from novafleet.objectstore.open import open_store
from novafleet.objectstore.probe import demand_exclusive, probe
from novafleet.ports import ObjectStore
from tests.fakes.memorystore import MemoryStore
from tests.objectstores import BUCKET, KEY_ID, SECRET, NfsServer, S3Server, program

EXCLUSIVE = ("memory", "directory", "s3", "nfs")
MIB = 1 << 20
ROOT = Path(__file__).parents[2]


def url_of(request: pytest.FixtureRequest, kind: str) -> str:
    """Where a store of this kind may be made, empty."""
    if kind == "directory":
        return str(request.getfixturevalue("tmp_path") / "store")
    url: str = request.getfixturevalue(f"{kind}_url")
    return url


@pytest.fixture(params=(*EXCLUSIVE, "rclone"))
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ObjectStore]:
    opened: ObjectStore = MemoryStore() if request.param == "memory" else open_store(url_of(request, request.param))
    yield opened
    await opened.close()


@pytest.fixture
def exclusive_store(request: pytest.FixtureRequest, store: ObjectStore) -> ObjectStore:
    if isinstance(request.node.callspec.params["store"], str) and request.node.callspec.params["store"] == "rclone":
        pytest.skip("rclone serve s3 ignores conditions")
    return store


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted([found.key async for found in store.list(prefix)])


async def test_objects_come_back_as_they_were(store: ObjectStore) -> None:
    for size in (0, 1, 4096, 3 * MIB + 7):
        content = random.randbytes(size)
        await store.put("packs/ab/object", content)
        assert await store.get("packs/ab/object") == content
        assert (await store.stat("packs/ab/object")).size == size


async def test_what_lies_in_memory_is_put_as_it_is(store: ObjectStore) -> None:
    memory = mmap.mmap(-1, 3 * MIB + 5, flags=mmap.MAP_PRIVATE)
    memory[MIB : MIB + 5] = b"hello"
    await store.put("packs/aa/memory", memoryview(memory))
    found = await store.get("packs/aa/memory")
    assert len(found) == len(memory)
    assert found.strip(b"\0") == b"hello"


async def test_ranges(store: ObjectStore) -> None:
    content = random.randbytes(9 * MIB + 5)
    await store.put("big", content)
    end = len(content)
    ranges = ((0, 1), (0, None), (1, end), (5 * MIB - 3, 2 * MIB), (end - 4, 100), (end, 10), (end + 9, None), (3, 0))
    for offset, length in ranges:
        expected = content[offset:] if length is None else content[offset : offset + length]
        assert await store.get("big", offset, length) == expected, (offset, length)
    pieces = [(random.randrange(end), random.randrange(1, 70_000)) for _ in range(40)]
    read = await asyncio.gather(*(store.get("big", *piece) for piece in pieces))
    assert read == [content[offset : offset + length] for offset, length in pieces]


async def test_what_is_missing(request: pytest.FixtureRequest, store: ObjectStore) -> None:
    await store.put("folder/object", b"x")
    odd = () if request.node.callspec.params["store"] == "rclone" else ("folder", "folder/object/below")
    for key in ("nothing", "folder/nothing", "no/folder/object", *odd):  # rclone answers some with 500
        with pytest.raises(MissingObjectError) as caught:
            await store.get(key)
        assert caught.value.code == "NF-STORE-404"
        with pytest.raises(MissingObjectError):
            await store.stat(key)
        await store.delete(key)
    assert await keys(store) == ["folder/object"]


async def test_dates_are_the_stores(store: ObjectStore) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("its clock counts")
    before = time.time()
    await store.put("object", b"x")
    dated = (await store.stat("object")).modified
    assert int(before) - 1 <= dated <= time.time() + 1
    (listed,) = [found async for found in store.list("")]
    assert (listed.key, listed.size, abs(listed.modified - dated) < 1) == ("object", 1, True)


async def test_lists_by_prefix(store: ObjectStore) -> None:
    assert await keys(store) == []
    assert await keys(store, "none/") == []
    for key in ("a", "ab/c", "ab/d/e", "abc/f"):
        await store.put(key, b"")
    assert await keys(store) == ["a", "ab/c", "ab/d/e", "abc/f"]
    assert await keys(store, "ab/") == ["ab/c", "ab/d/e"]
    await store.delete("ab/c")
    assert await keys(store, "ab/") == ["ab/d/e"]
    with pytest.raises(StoreError):
        await keys(store, "ab")


FOREIGN = ("packs/Thumbs.db", "packs/aa/@eaDir/SYNO@index", "packs/Ünïcode", "packs/a b", "#recycle/x", "packs/~x~")


async def test_what_is_nobodys_object_is_not_listed(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Desktops, file servers and their thumbnails leave files beside ours."""
    if isinstance(store, MemoryStore):
        pytest.skip("nobody else writes there")
    await store.put("packs/aa/object", b"")
    for module in (files, s3):
        monkeypatch.setattr(module, "checked", lambda key: key)
    for name in FOREIGN:
        await store.put(name, b"x")
    assert await keys(store) == ["packs/aa/object"]
    assert await keys(store, "packs/") == ["packs/aa/object"]


def _mark_folder(server: S3Server, path: str) -> None:
    """An empty object ``path/``, as consoles and file managers make them."""
    argv = ("mkdir", "--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth", "--s3-directory-markers")
    place = ("--s3-endpoint", server.endpoint, f":s3:{BUCKET}/{path}")
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    subprocess.run((program("rclone"), *argv, *place), env={**os.environ, **keys}, check=True, timeout=30)


async def test_folders_that_a_console_made_are_no_objects(s3_server: S3Server) -> None:
    prefix = f"m{random.randrange(1 << 40):x}"
    store = open_store(s3_server.url(prefix))
    for folder in ("index", "packs", "packs/aa"):
        await asyncio.to_thread(_mark_folder, s3_server, f"{prefix}/{folder}")
    assert await keys(store, "index/") == []
    assert await keys(store, "packs/aa/") == []
    await store.put("index/object", b"")
    assert await keys(store, "index/") == ["index/object"]
    await store.close()


async def test_lists_1100_objects(store: ObjectStore) -> None:
    names = [f"packs/{number % 7:02x}/{number:05}" for number in range(1100)]
    await asyncio.gather(*(store.put(name, b"x") for name in names))
    assert await keys(store, "packs/") == sorted(names)


async def test_creates_once(store: ObjectStore) -> None:
    assert [await store.create("leases/a", body) for body in (b"one", b"two", b"one")] == [True, False, False]
    assert await store.get("leases/a") == b"one"
    await store.delete("leases/a")
    assert await store.create("leases/a", b"three")


async def test_of_16_creators_one_wins(request: pytest.FixtureRequest, exclusive_store: ObjectStore) -> None:
    kind = request.node.callspec.params["store"]
    others = [exclusive_store if kind == "memory" else open_store(exclusive_store.url) for _ in range(3)]
    stores = [exclusive_store, *others] * 4
    for turn in range(3):
        key = f"leases/{turn}"
        bodies = [f"{number}".encode() * random.choice((1, 2000)) for number in range(16)]
        random.shuffle(stores)
        won = await asyncio.gather(*(each.create(key, body) for each, body in zip(stores, bodies, strict=True)))
        assert won.count(True) == 1
        assert await exclusive_store.get(key) == bodies[won.index(True)]
    for other in others:
        await other.close()


async def test_replacing_is_atomic(store: ObjectStore) -> None:
    bodies = [bytes([number]) * MIB for number in range(2)]
    await store.put("object", bodies[0])

    async def write() -> None:
        for number in range(20):
            await store.put("object", bodies[number % 2])

    writing = asyncio.ensure_future(write())
    seen = Counter[int]()
    while not writing.done():
        content = await store.get("object")
        assert content in bodies, "a reader saw something in between"
        seen[content[0]] += 1
    await writing


@pytest.mark.parametrize("key", ["", "/", "/etc", "..", "a/../b", "a//b", "a/", ".tmp/x", "A", "a b", "ü", "x" * 2000])
@pytest.mark.parametrize("kind", ["directory", "s3"])
async def test_keys_lead_nowhere_else(request: pytest.FixtureRequest, kind: str, key: str) -> None:
    store = open_store(url_of(request, kind))
    for call in (store.put(key, b""), store.create(key, b""), store.get(key), store.stat(key), store.delete(key)):
        with pytest.raises(StoreError) as caught:
            await call
        assert caught.value.code == "NF-STORE-002"
    await store.close()


async def test_probe(request: pytest.FixtureRequest, store: ObjectStore) -> None:
    seen = await probe(store)
    assert await keys(store) == [], "the probe leaves nothing"
    if request.node.callspec.params["store"] == "rclone":
        assert not seen.exclusive
        assert not store.exclusive
        assert "ignores If-None-Match" in seen.why
        with pytest.raises(StoreError) as caught:
            demand_exclusive(store, seen)
        assert (caught.value.code, caught.value.cause) == ("NF-STORE-041", seen.why)
        assert "--single-writer" in caught.value.hints[0]
    else:
        assert (seen.exclusive, seen.why) == (True, "")
        demand_exclusive(store, seen)
    if not isinstance(store, MemoryStore):
        assert abs(seen.skew) < 2


WRITER = """\
import asyncio, sys
from novafleet.objectstore import files, s3
from novafleet.objectstore.open import open_store
async def main():
    store = open_store(sys.argv[1])
    print("begun", flush=True)
    for turn in range(1000):
        body = bytes([turn % 251]) * (24 << 20)
        await asyncio.gather(store.put("config", body), store.create(f"snapshots/{turn}", body[: 1 << 20]))
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["directory", "s3", "nfs"])
async def test_a_killed_writer_leaves_no_half_object(request: pytest.FixtureRequest, kind: str) -> None:
    url = url_of(request, kind)
    for _ in range(4):
        argv = (sys.executable, "-c", WRITER, url)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as writer:  # noqa: ASYNC220
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begun\n"
            await asyncio.sleep(random.uniform(0.05, 0.6))  # the moment of death is what is random here
            writer.send_signal(signal.SIGKILL)
        store = open_store(url)
        found = {each.key: each.size async for each in store.list("")}
        assert set(found.values()) <= {24 * MIB, MIB}
        for key, size in found.items():
            content = await store.get(key)
            assert content == content[:1] * size, f"{key} is torn"
            await store.delete(key)
        await store.close()


async def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    await store.put("object", b"x")
    old, young = tmp_path / ".tmp/old", tmp_path / ".tmp/young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    await store.close()
    store = open_store(str(tmp_path))
    assert await keys(store) == ["object"]
    await store.put("object", b"y")
    assert [path.name for path in (tmp_path / ".tmp").iterdir()] == ["young"]
    await store.close()


async def test_only_the_owner_can_read(tmp_path: Path) -> None:
    os.umask(0o022)
    store = open_store(str(tmp_path / "a/b"))
    await store.put("packs/ab/object", b"x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a/b").rglob("*")}
    assert modes == {".tmp": 0o700, "packs": 0o700, "ab": 0o700, "object": 0o600}
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_a_full_disk(small_url: str) -> None:
    store = open_store(small_url)
    await store.put("kept", b"k" * MIB)
    for verb in (store.put, store.create):
        with pytest.raises(SpaceError) as caught:
            await verb("large", b"l" * (20 * MIB))
        assert caught.value.code == "NF-DISK-003"
        assert small_url in str(caught.value.where)
        assert any("prune" in hint for hint in caught.value.hints)
    assert await keys(store) == ["kept"], "nothing half"
    await store.put("next", b"n" * (4 * MIB))
    assert await store.get("kept") == b"k" * MIB
    for key in ("kept", "next"):
        await store.delete(key)
    await store.close()


async def test_a_directory_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / "file"))
    with pytest.raises(StoreError):
        await store.put("object", b"")
    await store.close()
    if not os.geteuid():
        store = open_store("/proc/novafleet")
        with pytest.raises(StoreError):
            await store.put("object", b"")
        await store.close()


async def _work(store: ObjectStore, done: Counter[str]) -> None:
    """Writes whose every outcome is known; counts them until cancelled."""
    name = os.urandom(4).hex()
    for turn in range(100_000):
        body = f"{name} {turn} ".encode() * 60_000
        await store.put(f"packs/{name}", body)
        assert await store.get(f"packs/{name}") == body
        assert await store.create(f"snapshots/{name}-{turn}", body[:1000])
        assert not await store.create(f"snapshots/{name}-{turn}", b"other")
        done["turns"] += 1


async def _through(store: ObjectStore, disturb: Callable[[], Awaitable[None]]) -> None:
    """Work on while a server is killed and comes back, twice; everything said to be done must be there."""
    done = Counter[str]()
    workers = [asyncio.ensure_future(_work(store, done)) for _ in range(3)]
    for _ in range(2):
        had = done["turns"]
        await disturb()
        async with asyncio.timeout(120):
            while done["turns"] < had + 6:
                for worker in workers:
                    if worker.done():
                        worker.result()
                await asyncio.sleep(0.05)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert len(await keys(store, "snapshots/")) >= done["turns"]


async def test_an_nfs_server_is_killed_and_comes_back(nfs_url: str, nfs_server: NfsServer) -> None:
    store = open_store(nfs_url)
    await _through(store, lambda: asyncio.to_thread(nfs_server.restart))
    await store.close()


async def test_an_s3_server_is_killed_and_comes_back(s3_url: str, s3_server: S3Server) -> None:
    async def restart() -> None:
        s3_server.kill()
        s3_server.launch()
        await asyncio.to_thread(s3_server.wait)

    store = open_store(s3_url)
    await _through(store, restart)
    await store.close()

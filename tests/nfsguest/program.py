"""Runs inside the guest: a ``DirectoryStore`` on mounts by the Linux NFS client, with each version of the protocol."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from pathlib import Path

from novafleet.objectstore.directory import DirectoryStore
from novafleet.objectstore.probe import probe

SERVER = sys.argv[1]
VERSIONS = {
    "3": ("nfs", f"vers=3,nolock,proto=tcp,mountproto=tcp,addr={SERVER},mountaddr={SERVER}"),
    "4.1": ("nfs4", f"vers=4.1,addr={SERVER},clientaddr=10.0.2.15"),
    "4.2": ("nfs4", f"vers=4.2,addr={SERVER},clientaddr=10.0.2.15"),
}
ROUNDS, RACERS, MIB = 10, 6, 1 << 20


def mount(version: str) -> Path:
    """mount(2)."""
    kind, options = VERSIONS[version]
    place = Path(f"/mnt/v{version}")
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(f"{SERVER}:/export".encode(), bytes(place), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), version)
    return place


def race(root: Path) -> None:
    """Processes create the same objects at the same moments; each has exactly one winner, whose body is kept."""
    start = time.time() + 3
    children = []
    for number in range(RACERS):
        if not (pid := os.fork()):
            os._exit(asyncio.run(creations(root, number, start)))
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * RACERS
    for turn in range(ROUNDS):
        winners = [number for number in range(RACERS) if (root / f"won-{turn}-{number}").exists()]
        assert len(winners) == 1, f"round {turn}: {winners} won"
        assert (root / f"leases/{turn}").read_bytes() == f"{winners[0]}".encode() * 1000


async def creations(root: Path, number: int, start: float) -> int:
    """One racer."""
    store = DirectoryStore(root)
    for turn in range(ROUNDS):
        await asyncio.sleep(max(0.0, start + turn * 0.25 - time.time()))
        if await store.create(f"leases/{turn}", f"{number}".encode() * 1000):
            (root / f"won-{turn}-{number}").touch()
    await store.close()
    return 0


async def contract(root: Path) -> str:
    """What ``tests/contract/test_objectstore.py`` asks, in short."""
    store = DirectoryStore(root)
    seen = await probe(store)
    assert seen.exclusive, seen.why
    body = os.urandom(2 * MIB)
    began = time.monotonic()
    await asyncio.gather(*(store.put(f"packs/{number}", body) for number in range(8)))
    written = time.monotonic()
    assert all(each == body for each in await asyncio.gather(*(store.get(f"packs/{number}") for number in range(8))))
    read = time.monotonic()
    assert await store.get("packs/3", MIB - 1, MIB) == body[MIB - 1 : 2 * MIB - 1]
    await store.put("packs/0", b"short")
    assert await store.get("packs/0") == b"short"
    await store.delete("packs/1")
    assert sorted([found.key async for found in store.list("packs/")]) == [f"packs/{n}" for n in (0, 2, 3, 4, 5, 6, 7)]
    await store.close()
    return (
        f"put {16 * MIB / 1e6 / (written - began):.0f} MB/s, get {16 * MIB / 1e6 / (read - written):.0f} MB/s (cached)"
    )


for version in VERSIONS:
    place = mount(version) / f"kernel-{version}"
    figures = asyncio.run(contract(place))
    race(place)
    print(f"NFS {version}: {RACERS} processes x {ROUNDS} rounds, one winner each; {figures}", flush=True)

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

ROUNDS, RACERS, SIZE = 5, 5, 256 << 10


def versions(server: str) -> dict[str, tuple[str, str]]:
    """Kind of file system and mount options, by version of the protocol."""
    return {
        "3": ("nfs", f"vers=3,nolock,proto=tcp,mountproto=tcp,addr={server},mountaddr={server}"),
        "4.1": ("nfs4", f"vers=4.1,addr={server},clientaddr=10.0.2.15"),
        "4.2": ("nfs4", f"vers=4.2,addr={server},clientaddr=10.0.2.15"),
    }


def mount(server: str, version: str, kind: str, options: str) -> Path:
    """mount(2)."""
    place = Path(f"/mnt/v{version}")
    place.mkdir()
    libc = ctypes.CDLL("libc.so.6", use_errno=True)
    if libc.mount(f"{server}:/export".encode(), bytes(place), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), version)
    return place


def race(root: Path) -> None:
    """Processes create the same objects at the same moments; each has exactly one winner, whose body is kept."""
    gates, done, children = [os.pipe() for _ in range(RACERS)], os.pipe(), []
    for number in range(RACERS):
        if not (pid := os.fork()):
            os._exit(asyncio.run(creations(root, number, gates[number][0], done[1])))
        children.append(pid)
    for _ in range(ROUNDS):
        for gate in gates:
            os.write(gate[1], b".")
        ended = 0
        while ended < RACERS:
            ended += len(os.read(done[0], RACERS - ended))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * RACERS
    for turn in range(ROUNDS):
        winners = [number for number in range(RACERS) if (root / f"won-{turn}-{number}").exists()]
        assert len(winners) == 1, f"round {turn}: {winners} won"
        assert (root / f"leases/{turn}").read_bytes() == f"{winners[0]}".encode() * 1000


async def creations(root: Path, number: int, go: int, done: int) -> int:
    """One racer."""
    store = DirectoryStore(root)
    for turn in range(ROUNDS):
        os.read(go, 1)
        if await store.create(f"leases/{turn}", f"{number}".encode() * 1000):
            (root / f"won-{turn}-{number}").touch()
        os.write(done, b".")
    await store.close()
    return 0


async def contract(root: Path) -> str:
    """What ``tests/contract/test_objectstore.py`` asks, in short."""
    store = DirectoryStore(root)
    seen = await probe(store)
    assert seen.exclusive, seen.why
    body = os.urandom(SIZE)
    began = time.monotonic()
    await asyncio.gather(*(store.put(f"packs/{number}", body) for number in range(4)))
    written = time.monotonic()
    assert all(each == body for each in await asyncio.gather(*(store.get(f"packs/{number}") for number in range(4))))
    assert await store.get("packs/3", SIZE // 2 - 1, SIZE) == body[SIZE // 2 - 1 :]
    await store.put("packs/0", b"short")
    assert await store.get("packs/0") == b"short"
    await store.delete("packs/1")
    assert sorted([found.key async for found in store.list("packs/")]) == [f"packs/{number}" for number in (0, 2, 3)]
    await store.close()
    return f"put {4 * SIZE / 1e6 / (written - began):.0f} MB/s"


def main(server: str) -> None:
    """Each version, one after the other."""
    print(f"up after {time.monotonic():.1f} s", flush=True)
    for version, (kind, options) in versions(server).items():
        place = mount(server, version, kind, options) / f"kernel-{version}"
        figures = asyncio.run(contract(place))
        print(f"done after {time.monotonic():.1f} s", flush=True)
        race(place)
        print(f"NFS {version}: {RACERS} processes x {ROUNDS} rounds, one winner each; {figures}", flush=True)
        print(f"done after {time.monotonic():.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

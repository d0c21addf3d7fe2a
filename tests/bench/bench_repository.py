"""MB/s through the repository's writer and reader to a directory: encrypted, compressed, verified, fsynced.

Half of the disk is random, half text (sources of Python's standard library): what a VM's disk roughly is to zstd.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from novafleet.app.wiring import SystemClock
from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.objectstore.directory import DirectoryStore
from novafleet.repository import KeySource, Repository, keys
from novafleet.repository.chunkmap import PAGE_CELLS
from novafleet.repository.index import PACKROW, ROW, Index
from tests.bench.figure import Figure, Section
from tests.bench.program import SMALL

MIB = 1 << 20
CELLS = 256 if SMALL else 4096
ENTRIES = 400_000 if SMALL else 10_485_760
"""Chunks of 10 TiB."""
READ = 4


@dataclass(frozen=True)
class Pool:
    """Content that never repeats, from a few MiB that do."""

    text: tuple[bytes, ...]
    noise: tuple[bytes, ...]

    @classmethod
    def make(cls) -> Pool:
        sources = bytearray()
        for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
            sources += path.read_bytes()
        text = tuple(bytes(sources[at : at + MIB]) for at in range(0, len(sources) - MIB, MIB))
        return cls(text, tuple(os.urandom(MIB) for _ in range(8)))

    def cell(self, number: int) -> bytes:
        pool = self.noise if number % 2 else self.text
        return number.to_bytes(8, "little") + pool[number // 2 % len(pool)][8:]


@asynccontextmanager
async def repository() -> AsyncIterator[Repository]:
    """An empty one in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as name:
        key = Path(name, "key")
        keys.new_key_file(key)
        yield await Repository.create(DirectoryStore(Path(name, "repository")), KeySource(file=key), at=time.time())


async def write(opened: Repository, pool: Pool, parent: Snapshot | None = None) -> Snapshot:
    """A disk of ``CELLS`` MiB; with a parent only every hundredth cell changes, in 64 KiB."""
    async with opened.backup(SystemClock()) as backup:
        writer = await backup.disk(CELLS * MIB, parent.disks["vda"] if parent else None)
        for cell in range(0, CELLS, 100 if parent else 1):
            await writer.data(cell * MIB, pool.noise[cell % 8][:65536] if parent else pool.cell(cell))
        root, stored = await writer.finish(CELLS * MIB)
        disk = DiskCopy("vda", "vda", CELLS * MIB, root, bytes_stored=stored)
        made = Snapshot("", "vm", "vm", "", "host", time.time(), Consistency.CRASH, {"vda": disk})
        return await backup.commit(made if parent is None else _child(made, parent))


def _child(made: Snapshot, parent: Snapshot) -> Snapshot:
    return Snapshot("", made.vm, made.domain, "", made.host, made.at, made.consistency, made.disks, parent=parent.id)


async def read(opened: Repository, snapshot: Snapshot) -> None:
    """The whole disk, 4 MiB at a time, 8 at once."""
    source = await opened.disk(snapshot.disks["vda"])
    slots = asyncio.Semaphore(8)

    async def part(offset: int) -> None:
        async with slots:
            await source.read(offset, READ * MIB)

    await asyncio.gather(*(part(offset) for offset in range(0, CELLS * MIB, READ * MIB)))


async def streams() -> dict[str, float]:
    """Seconds and MiB a CPU second of a full, an incremental and a restore."""
    pool, measured = Pool.make(), {}
    async with repository() as opened:
        wall, cpu = time.perf_counter(), time.process_time()
        full = await write(opened, pool)
        measured["write_mib_s"] = CELLS / (time.perf_counter() - wall)
        measured["write_mib_cpu_s"] = CELLS / (time.process_time() - cpu)
        wall = time.perf_counter()
        await write(opened, pool, full)
        measured["incremental_s"] = time.perf_counter() - wall
        measured["write_rss_mib"] = peak()
        wall, cpu = time.perf_counter(), time.process_time()
        await read(opened, full)
        measured["read_mib_s"] = CELLS / (time.perf_counter() - wall)
        measured["read_mib_cpu_s"] = CELLS / (time.process_time() - cpu)
    return measured


def segments() -> Iterator[tuple[memoryview, memoryview]]:
    """Index segments of random ids, as of ``ENTRIES`` chunks in packs of 32."""
    rows = 1 << 14
    for _ in range(ENTRIES // rows):
        table = os.urandom(PACKROW.size * (rows // 32))
        made = sorted(ROW.pack(os.urandom(32), at // 32, 72, MIB, MIB, 1, 1) for at in range(rows))
        yield memoryview(table), memoryview(b"".join(made))


def index() -> dict[str, float]:
    """Seconds and memory to load the index of 10 TiB, and microseconds to look a chunk up."""
    before, table, seconds = current(), Index(), 0.0
    for segment in segments():
        began = time.process_time()
        table.load(*segment)
        seconds += time.process_time() - began
    began = time.process_time()
    for first in range(256):
        table.locations(bytes([first]) + os.urandom(31))
    seconds += time.process_time() - began
    began = time.process_time()
    for _ in range(10_000):
        table.locations(os.urandom(32))
    found = (time.process_time() - began) * 100
    return {"index_cpu_s": seconds, "index_rss_mib": current() - before, "lookup_us": found}


def peak() -> float:
    """MiB this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def current() -> float:
    """MiB this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def run() -> dict[str, Any]:
    """The figures by name."""
    assert CELLS * 10 > PAGE_CELLS
    measured = asyncio.run(streams())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:  # its memory is its own
        measured |= other.submit(index).result()
    return {name: round(value, 2) for name, value in measured.items()}


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    wrote, had = measured["write_mib_s"], measured["write_rss_mib"]
    memory = measured["index_rss_mib"]
    return Section(
        "Backup repository",
        f"{CELLS:,} MiB, half random, half text, through the repository's writer into a directory on this disk "
        "(BLAKE3, zstd 1, AES-256-GCM, decoded and compared, fsynced) and back. The index is that of 10 TiB.",
        (
            Figure("write a full", wrote, "MiB/s", ">= 300", wrote >= 300),
            Figure("write a full, per CPU second", measured["write_mib_cpu_s"], "MiB"),
            Figure("write an incremental of 1 %", measured["incremental_s"], "s"),
            Figure("peak RSS while writing", had, "MiB", "<= 512", had <= 512),
            Figure("read it all", measured["read_mib_s"], "MiB/s", ">= 400", measured["read_mib_s"] >= 400),
            Figure("read, per CPU second", measured["read_mib_cpu_s"], "MiB"),
            Figure("index of 10 TiB in memory", memory, "MiB", "<= 512", memory <= 512),
            Figure("index of 10 TiB, loaded", measured["index_cpu_s"], "CPU s"),
            Figure("one lookup in it", measured["lookup_us"], "µs"),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)

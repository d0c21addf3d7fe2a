"""Reading a disk export on a UNIX socket of this machine: our client beside libnbd's ``nbdcopy`` and QEMU's own.

``python -m tests.bench.bench_nbd`` prints figures as JSON. All read the same ``qemu-nbd`` and throw the data away.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure, Section
from tests.bench.program import ROUNDS, SMALL
from tests.qemunbd import serving

MIB = 1 << 20
SIZE = (64 if SMALL else 1024) * MIB
METHOD = """\
One raw image of random data, in the page cache, exported by `qemu-nbd` on a UNIX socket; read whole, 16 x 1 MiB under
way, and thrown away. CPU is the client's alone."""

OURS = """
import asyncio, sys
from contextlib import aclosing
from novafleet.model.backup import Extent
from novafleet.nbd.client import connect_nbd
from novafleet.transport.local import open_local

async def main():
    client = await connect_nbd(await open_local(sys.argv[1]), "disk")
    async with aclosing(client.read_many([Extent(0, client.size)])) as pieces:
        total = sum([len(data) async for _, data in pieces])
    assert total == client.size
    await client.close()

asyncio.run(main())
"""


def run(size: int = SIZE, rounds: int = ROUNDS) -> dict[str, Any]:
    """``{bytes, contenders: {name: {mb_per_second, cpu_seconds}}}``, medians."""
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        image = Path(folder) / "disk.raw"
        with image.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        return {"bytes": size, "contenders": asyncio.run(_measure(image, size, rounds))}


async def _measure(image: Path, size: int, rounds: int) -> dict[str, dict[str, float]]:
    async with serving(image, "-r", form="raw") as socket:
        contenders = {"novafleet": (sys.executable, "-c", OURS, str(socket)), **_peers(str(socket), size)}
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, argv in contenders.items():
                seen[name].append(await asyncio.to_thread(_once, argv))
    return {
        name: {
            "mb_per_second": round(size / 1e6 / statistics.median(wall for wall, _ in rows)),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in rows), 3),
        }
        for name, rows in seen.items()
    }


def _peers(socket: str, size: int) -> dict[str, tuple[str, ...]]:
    url, sink = f"nbd+unix:///disk?socket={socket}", f"driver=null-co,size={size}"
    known = {
        "nbdcopy": ("nbdcopy", "--connections=1", url, "null:"),
        "qemu-img convert": (
            "qemu-img",
            "convert",
            "-n",
            "-W",
            "-m",
            "16",
            "-f",
            "raw",
            "--target-image-opts",
            url,
            sink,
        ),
    }
    return {name: argv for name, argv in known.items() if shutil.which(argv[0])}


def _once(argv: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a program that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    contenders = dict(measured["contenders"])
    ours = contenders.pop("novafleet")
    seconds = {name: measured["bytes"] / 1e6 / each["mb_per_second"] for name, each in contenders.items()}
    cpu = {name: each["cpu_seconds"] for name, each in contenders.items()}
    mib = measured["bytes"] // MIB
    took = measured["bytes"] / 1e6 / ours["mb_per_second"]
    return Section(
        "Reading a disk export (NBD)",
        METHOD,
        (
            Figure(f"{mib} MiB", round(took, 3), "s", peers=seconds, note=f"{ours['mb_per_second']} MB/s"),
            Figure(f"{mib} MiB, CPU of the client", ours["cpu_seconds"], "s", peers=cpu),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)

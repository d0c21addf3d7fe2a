"""A disk that is read after its repository was closed."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from novafleet.repository.chunkmap import Root
from novafleet.repository.seal import Kind
from novafleet.repository.source import DiskSource


async def test_what_nobody_waits_for_any_more_may_fail_in_silence() -> None:
    reading, complaints = asyncio.Event(), list[Any]()
    closed = asyncio.Event()

    async def chunk_of(_kind: Kind, _id: bytes) -> bytes:
        reading.set()
        await closed.wait()
        raise RuntimeError("cannot schedule new futures after shutdown")

    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: complaints.append(told))
    source = DiskSource(Root(1 << 20, 65536, (b"1" * 32,)), chunk_of, "memory:")
    reader = asyncio.create_task(source.read(0, 512))
    await reading.wait()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    closed.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del source, reader
    gc.collect()
    assert complaints == []

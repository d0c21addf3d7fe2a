"""An export survives its connection, and says so when it does not survive itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.capability.backup import export
from novafleet.capability.backup.export import Address, opened
from novafleet.errors import BackupError, BlockError, ChannelError, NovaFleetError, UnreachableError
from novafleet.nbd.ahead import read_many
from novafleet.ports import Channel, HostSession
from novafleet.transport.local import open_local
from tests.unit.nbd.memory import MemoryDisk, served

CONTENT = bytes(range(256)) * 4096 * 4


class Frail:
    """A channel that breaks off after so many bytes."""

    def __init__(self, channel: Channel, left: int) -> None:
        self._channel = channel
        self._left = left

    async def read(self, limit: int = 65536) -> bytes:
        data = await self._channel.read(min(limit, 65536))
        self._left -= len(data)
        return data if self._left > 0 else b""

    async def write(self, data: bytes) -> None:
        await self._channel.write(data)

    async def close(self) -> None:
        await self._channel.close()


class Host:
    """The one method of a session that is used; ``failures`` come first, then channels of ``bytes_each``."""

    def __init__(self, failures: list[NovaFleetError], bytes_each: int = 1 << 40) -> None:
        self.host = SimpleNamespace(name="kvm1")
        self.opened = 0
        self._failures = failures
        self._bytes_each = bytes_each

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> Channel:
        self.opened += 1
        if self._failures:
            raise self._failures.pop(0)
        return cast("Channel", Frail(await open_local(path), self._bytes_each))


class Clock:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


async def alive() -> str:
    """The export is there."""
    return ""


async def gone() -> str:
    """It is not."""
    return "the VM is shutoff"


async def _content(host: Host, path: str, ended: Any = alive) -> bytes:
    session = cast("HostSession", host)
    async with opened(session, Address(path, "disk"), Clock(), ended) as source:
        extents = await source.extents(0, source.size)
        pieces = [piece async for piece in read_many(source, extents, step=1 << 18)]
    return b"".join(content for _, content in pieces)


async def test_lost_connections_cost_only_time(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(CONTENT)) as path:
        host = Host([UnreachableError("down"), ChannelError("full")], bytes_each=3 << 20)
        assert await _content(host, path) == CONTENT
        assert host.opened > 3


@pytest.mark.parametrize("failure", [ChannelError("no socket"), BlockError("lost")])
async def test_an_export_that_ended_says_why(tmp_path: Path, failure: NovaFleetError) -> None:
    async with served(tmp_path, MemoryDisk(CONTENT)) as path:
        with pytest.raises(BackupError, match="the VM is shutoff") as found:
            await _content(Host([failure]), path, gone)
    assert found.value.code == "NF-BAK-013"


@pytest.mark.parametrize(
    ("failure", "patience"), [(UnreachableError("down"), export.PATIENCE), (ChannelError("x"), export.SHORT_PATIENCE)]
)
async def test_patience_ends(failure: NovaFleetError, patience: float) -> None:
    host, clock = Host([failure] * 1000), Clock()
    with pytest.raises(type(failure)):
        async with opened(cast("HostSession", host), Address("/s", "disk"), clock, alive):
            pass
    assert patience < clock.time < patience + 10


async def test_what_the_server_refuses_is_not_asked_again(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDisk(CONTENT, bad=5)) as path:
        host = Host([])
        with pytest.raises(BlockError):
            await _content(host, path)
        assert host.opened == 1

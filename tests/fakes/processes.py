"""An SSH session's stand-in made of local processes: real commands, real sockets, no network.

With a ``prefix`` such as ``docker exec -i HOST`` the processes run elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from novafleet.errors import ChannelError, CommandError, DeadlineError
from novafleet.model.command import Command, Completed, Output
from novafleet.model.fleet import Host
from novafleet.ports import HostSession


class SocketChannel:
    """A ``ports.Channel`` over asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int = 65536) -> bytes:
        return await self._reader.read(limit)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def write_eof(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.transport.abort()


class ProcessChannel:
    """A ``ports.Channel`` over the pipes of a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self, limit: int = 65536) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.read(limit)

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def write_eof(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def close(self) -> None:
        await _end(self._process)


class Running:
    """A ``ports.Streaming`` over a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __aiter__(self) -> AsyncIterator[Output]:
        queue: asyncio.Queue[Output | None] = asyncio.Queue()
        streams = ((1, self._process.stdout), (2, self._process.stderr))
        async with asyncio.TaskGroup() as group:
            for number, stream in streams:
                assert stream is not None
                group.create_task(_copy(number, stream, queue))
            for _ in streams:
                while (output := await queue.get()) is not None:
                    yield output

    async def status(self) -> int:
        return await self._process.wait()


class ProcessSession:
    """As much of ``ports.HostSession`` as the hypervisor adapter uses."""

    def __init__(self, host: Host, prefix: tuple[str, ...] = ()) -> None:
        self.host = host
        self.commands: list[Command] = []
        self._prefix = prefix

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        process = await self._start(command)
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin)
        except TimeoutError as exc:
            raise DeadlineError("too slow") from exc
        finally:
            await _end(process)
        status = process.returncode or 0
        if check and status:
            raise CommandError("failed", status=status, stderr=err.decode())
        return Completed(command.argv, status, out, err)

    @asynccontextmanager
    async def stream(
        self, command: Command, *, stdin: AsyncIterator[bytes] | None = None, timeout: float | None = None
    ) -> AsyncIterator[Running]:
        process = await self._start(command)
        feeding = asyncio.create_task(_feed(process, stdin))
        try:
            yield Running(process)
        finally:
            feeding.cancel()
            await _end(process)

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> SocketChannel | ProcessChannel:
        if self._prefix:
            return ProcessChannel(await self._start(Command(("nc", "-U", path))))
        try:
            return SocketChannel(*await asyncio.open_unix_connection(path))
        except OSError as exc:
            raise ChannelError(f"{path} cannot be opened", cause=str(exc)) from exc

    async def _start(self, command: Command) -> asyncio.subprocess.Process:
        self.commands.append(command)
        become = ("sudo", "-n") if command.become and self._prefix else ()
        pipe = asyncio.subprocess.PIPE
        argv = (*self._prefix, *become, *command.argv)
        return await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)


class OneSession:
    """``ports.Sessions`` with one session for every host."""

    def __init__(self, session: ProcessSession) -> None:
        self.session = session
        self.asked = 0

    async def get(self, host: Host) -> HostSession:
        self.asked += 1
        return self.session  # type: ignore[return-value]

    async def drop(self, host: Host) -> None:
        pass


@asynccontextmanager
async def silent_socket(path: Path) -> AsyncIterator[None]:
    """A UNIX socket that accepts, reads and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_unix_server(swallow, path)
    async with server:
        yield


async def _copy(number: int, stream: asyncio.StreamReader, queue: asyncio.Queue[Output | None]) -> None:
    while data := await stream.read(65536):
        queue.put_nowait(Output(number, data))
    queue.put_nowait(None)


async def _feed(process: asyncio.subprocess.Process, stdin: AsyncIterator[bytes] | None) -> None:
    assert process.stdin is not None
    async for data in stdin or _nothing():
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()

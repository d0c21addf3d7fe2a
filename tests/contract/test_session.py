"""What every ``HostSession`` does, over each way to one: this machine, an SSH server in-process, sshd, the lab."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from novafleet.errors import ChannelError, CommandError, DeadlineError, NotFoundError
from novafleet.model.command import Command
from novafleet.model.fleet import Fleet
from novafleet.model.secret import Secret
from novafleet.ports import Channel, HostSession
from novafleet.transport.pool import SshPool
from tests.localsession import local_session
from tests.sshd import running_sshd, until
from tests.sshserver import serving

ADAPTERS = ("local", "in-process", "sshd", "odd")
SHELL = shutil.which("fish") or "bash"
ODD = f'ForceCommand echo hello; exec {SHELL} -c "$SSH_ORIGINAL_COMMAND"'
"""As if that were the user's login shell: it says something before each command, and is no POSIX one."""


async def _pooled(stack: AsyncExitStack, host: object, folder: Path) -> HostSession:
    pool = SshPool(Fleet({}, {}), known_hosts=folder / "own", passwords=lambda _: Secret.of(""))
    await stack.enter_async_context(pool)
    return await pool.get(host)  # type: ignore[arg-type]


@pytest.fixture(params=ADAPTERS)
async def session(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HostSession]:
    async with AsyncExitStack() as stack:
        if request.param == "local":
            yield local_session(tmp_path)
        elif request.param == "in-process":
            server = await stack.enter_async_context(serving(tmp_path))
            yield await _pooled(stack, server.host(), tmp_path)
        else:
            server = stack.enter_context(running_sshd(tmp_path, *([ODD] if request.param == "odd" else [])))
            yield await _pooled(stack, server.host(), tmp_path)


RUNNING = """\
for file in /proc/[0-9]*/cmdline; do
  tr "\\0" " " < "$file" 2>/dev/null | grep -q "^sleep $1 *$" && echo yes
done
:
"""


async def alive(session: HostSession, mark: str) -> bool:
    """Whether a ``sleep`` of so many seconds runs on the host."""
    return bool((await session.run(Command.script(RUNNING, mark))).stdout)


async def until_gone(session: HostSession, mark: str) -> None:
    """Wait until it does not."""

    async def gone() -> bool:
        return not await alive(session, mark)

    await until(gone)


WORDS = ("plain", "", " ", "two words", "it's", '"', "$HOME", "`id`", "$(id)", "a\nb", "*", "\\", "ü€", "-n", "!x", "~")


async def test_words_arrive_as_they_are(session: HostSession) -> None:
    done = await session.run(Command.script('printf "%s\\0" "$@"', *WORDS))
    assert done.stdout.decode().split("\0")[:-1] == list(WORDS)


async def test_streams_status_and_signal(session: HostSession) -> None:
    done = await session.run(Command.script("echo out; echo err >&2; exit 7"), check=False)
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 7)
    assert (await session.run(Command.script("kill -9 $$"), check=False)).status == 137


async def test_failure_is_a_finding(session: HostSession) -> None:
    with pytest.raises(CommandError) as caught:
        await session.run(Command.script("echo because >&2; exit 3"))
    assert (caught.value.status, caught.value.cause) == (3, "because")
    with pytest.raises(CommandError) as caught:
        await session.run(Command(("no-such-program",)))
    assert caught.value.status == 127


async def test_environment(session: HostSession) -> None:
    done = await session.run(Command(("sh", "-c", 'echo "$COLOUR"'), env={"COLOUR": "it's red"}))
    assert done.text == "it's red\n"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_stdin(session: HostSession, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    done = await session.run(Command(("sha256sum",)), stdin=data[:size])
    assert done.text.split()[0] == hashlib.sha256(data[:size]).hexdigest()


async def test_unread_stdin_hurts_nobody(session: HostSession) -> None:
    assert (await session.run(Command(("true",)), stdin=b"x" * 1_000_000)).ok


async def test_output_larger_than_windows(session: HostSession) -> None:
    done = await session.run(Command(("head", "-c", "30000000", "/dev/zero")))
    assert len(done.stdout) == 30_000_000


async def test_live_output(session: HostSession) -> None:
    async def answers() -> AsyncIterator[bytes]:
        yield b"first\n"
        await heard.wait()
        yield b"second\n"

    heard = asyncio.Event()
    seen = b""
    async with session.stream(Command(("cat",)), stdin=answers(), timeout=20) as running:
        async for piece in running:
            seen += piece.data
            heard.set()
        assert await running.status() == 0
    assert seen == b"first\nsecond\n"


async def test_deadline_kills_all_that_was_started(session: HostSession) -> None:
    with pytest.raises(DeadlineError):
        await session.run(Command.script("sleep 7331 & sleep 7331 & wait"), timeout=1.0)
    await until_gone(session, "7331")


async def test_deadline_kills_what_ignores_term(session: HostSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.transport.shell.GRACE", 0.5)
    with pytest.raises(DeadlineError):
        await session.run(Command.script('trap "" TERM; while :; do sleep 7332; done'), timeout=1.0)
    await until_gone(session, "7332")


async def test_cancellation_kills(session: HostSession) -> None:
    task = asyncio.ensure_future(session.run(Command(("sleep", "7333"))))
    await until(lambda: alive(session, "7333"))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await until_gone(session, "7333")


async def test_leaving_a_stream_kills(session: HostSession) -> None:
    async with session.stream(Command.script("echo up; sleep 7334")) as running:
        async for _ in running:
            break
    await until_gone(session, "7334")


async def test_many_at_once(session: HostSession) -> None:
    done = await asyncio.gather(*(session.run(Command(("echo", str(n)))) for n in range(25)))
    assert [each.text for each in done] == [f"{n}\n" for n in range(25)]


async def test_push_only_what_differs(session: HostSession, tmp_path: Path) -> None:
    path = tmp_path / "it's a file"
    assert await session.push(b"one", str(path), mode=0o600)
    assert not await session.push(b"one", str(path), mode=0o600)
    assert await session.push(b"one", str(path), mode=0o644)
    assert await session.push(b"two", str(path), mode=0o644)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]  # noqa: PTH208 - a test may block


async def test_push_where_nobody_can(session: HostSession, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        await session.push(b"x", str(tmp_path / "missing" / "file"))
    assert caught.value.code == "NF-FILE-001"
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError):
        await session.push(b"x", str(tmp_path / "folder"))


async def test_upload_resumes(session: HostSession, tmp_path: Path) -> None:
    source, target = tmp_path / "image", tmp_path / "pushed"
    source.write_bytes(bytes(range(256)) * 40_000)
    sha = hashlib.sha256(source.read_bytes()).hexdigest()
    part = tmp_path / f".pushed.{sha[:16]}.part"
    part.write_bytes(source.read_bytes()[:5_000_000])
    inode = part.stat().st_ino
    assert await session.push(source, str(target))
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino == inode
    assert not await session.push(source, str(target))


async def test_broken_partial_upload_is_begun_again(session: HostSession, tmp_path: Path) -> None:
    source, target = tmp_path / "image", tmp_path / "pushed"
    source.write_bytes(b"good" * 1000)
    sha = hashlib.sha256(source.read_bytes()).hexdigest()
    (tmp_path / f".pushed.{sha[:16]}.part").write_bytes(b"bad!" * 10)
    assert await session.push(source, str(target))
    assert target.read_bytes() == source.read_bytes()


async def test_pull(session: HostSession, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "there").write_bytes(data)
    assert await session.pull(str(tmp_path / "there")) == data
    assert await session.pull_to(str(tmp_path / "there"), tmp_path / "here") == len(data)
    assert (tmp_path / "here").read_bytes() == data
    with pytest.raises(NotFoundError):
        await session.pull(str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError):
        await session.pull_to(str(tmp_path / "nowhere"), tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == data


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _said(channel: Channel, data: bytes) -> bytes:
    await channel.write(data)
    await channel.write_eof()
    heard = b""
    while piece := await channel.read(1000):
        assert len(piece) <= 1000
        heard += piece
    await channel.close()
    return heard


async def test_sockets_behind_the_host(session: HostSession, tmp_path: Path) -> None:
    async with await asyncio.start_server(_echo, "127.0.0.1", 0) as tcp:
        port = tcp.sockets[0].getsockname()[1]
        assert await _said(await session.open_tcp("127.0.0.1", port), b"hello" * 1000) == b"hello" * 1000
    async with await asyncio.start_unix_server(_echo, tmp_path / "s"):
        assert await _said(await session.open_unix(str(tmp_path / "s")), b"hello" * 1000) == b"hello" * 1000


async def test_no_socket(session: HostSession, tmp_path: Path) -> None:
    with pytest.raises(ChannelError):
        await session.open_unix(str(tmp_path / "nothing"))
    with pytest.raises(ChannelError):
        await (await session.open_tcp("127.0.0.1", 1)).read()


async def test_closing_frees_a_reader(session: HostSession, tmp_path: Path) -> None:
    async with await asyncio.start_unix_server(_echo, tmp_path / "s"):
        channel = await session.open_unix(str(tmp_path / "s"))
        reading = asyncio.ensure_future(channel.read())
        await asyncio.sleep(0)
        await channel.close()
        assert await asyncio.wait_for(reading, 2) == b""


async def test_who_listens_may_speak_first(session: HostSession, tmp_path: Path) -> None:
    async def greet(channel: Channel) -> None:
        await channel.write(b"welcome")
        await channel.close()

    async with session.listen_unix(str(tmp_path / "greeting"), greet) as there:
        reader, writer = await asyncio.open_unix_connection(there)
        assert await reader.readexactly(7) == b"welcome"
        writer.close()


async def test_the_host_listens(session: HostSession, tmp_path: Path) -> None:
    async def echo(channel: Channel) -> None:
        while data := await channel.read():
            await channel.write(data)
        await channel.close()

    async with session.listen_tcp("127.0.0.1", 0, echo) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.close()
    path = tmp_path / "listening"
    for _ in range(2):
        async with session.listen_unix(str(path), echo) as there:
            reader, writer = await asyncio.open_unix_connection(there)
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
            writer.close()
        assert not path.exists()

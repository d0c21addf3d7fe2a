"""The way to a host's libvirt: its UNIX socket, found by one probe and pumped through a channel we own.

libvirt offers no way to cancel a call. It does see its socket close: that is why every libvirt connection has its own
channel and its own local socket, and why ``Forward.close`` frees a hung call at once.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlencode

from novafleet.errors import ChannelError, ConfigError, HypervisorError, Location, NovaFleetError, Retry
from novafleet.hypervisor.relay import Relay
from novafleet.hypervisor.translate import DENIED
from novafleet.model.command import Command
from novafleet.model.fleet import Host
from novafleet.ports import Channel, HostSession, Sessions

SOCKETS = ("/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock")
"""Modular daemons first: where both exist, libvirt-sock is only their proxy."""

PROBE = """\
found=
for socket do
  [ -S "$socket" ] || continue
  found=yes
  if [ -w "$socket" ]; then echo "open $socket"; else echo "denied $socket"; fi
done
[ -z "$found" ] || exit 0
PATH=$PATH:/usr/local/sbin:/usr/sbin
for daemon in virtqemud libvirtd; do
  if command -v "$daemon" >/dev/null; then echo "stopped $daemon"; exit 0; fi
done
echo absent
"""


class Line(Protocol):
    """The byte path of one libvirt connection."""

    @property
    def uri(self) -> str:
        """What libvirt opens."""

    @property
    def ended(self) -> asyncio.Future[str]:
        """Done with the reason (may be empty) once no byte can pass any more."""

    async def close(self) -> None:
        """End it; a call waiting on it fails at once."""


class Dial(Protocol):
    """Makes lines to one host."""

    async def __call__(self) -> Line:
        """A fresh line."""

    async def channel(self) -> Channel:
        """A fresh byte stream to the daemon."""

    def elevate(self) -> bool:
        """From now on go through root; False when that is so already or not possible."""


class Direct:
    """A line libvirt makes for itself: ``qemu+ssh``, or the test driver. Closing it frees no hung call."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Mark it ended."""
        _end(self.ended)


class Forward:
    """A local UNIX socket for exactly one connection, pumped to a channel.

    The socket and its 0700 directory are gone as soon as libvirt has connected, so a killed controller leaves none.
    """

    def __init__(self, channel: Channel) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._channel = channel
        self._directory = Path(tempfile.mkdtemp(prefix="nf-"))
        self._server: asyncio.Server | None = None
        self._local: asyncio.StreamWriter | None = None

    @classmethod
    async def listen(cls, channel: Channel) -> Forward:
        """Start listening. Raises HypervisorError NF-LV-106, having closed the channel, where it cannot."""
        forward = cls(channel)
        try:
            forward._server = await asyncio.start_unix_server(forward._serve, forward._path)
        except OSError as exc:
            await forward.close()
            raise HypervisorError(
                f"cannot listen on {forward._path}",
                code="NF-LV-106",
                cause=str(exc),
                hints=("export TMPDIR=/tmp   # a UNIX socket's path has at most 107 bytes",),
                retry=Retry.AFTER_FIX,
            ) from exc
        except asyncio.CancelledError:
            await forward.close()
            raise
        return forward

    @property
    def uri(self) -> str:
        """libvirt's name for the local socket."""
        return f"qemu+unix:///system?socket={quote(str(self._path))}"

    @property
    def _path(self) -> Path:
        return self._directory / "libvirt"

    async def close(self) -> None:
        """Close local socket and channel; libvirt sees end of file within a millisecond."""
        self._stop_listening()
        if self._local is not None:
            self._local.transport.abort()
        _end(self.ended)
        await self._channel.close()

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stop_listening()
        self._local = writer
        sides = {asyncio.create_task(self._upstream(reader)), asyncio.create_task(self._downstream(writer))}
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            reasons = await asyncio.gather(*sides, return_exceptions=True)
            _end(self.ended, *(str(reason) for reason in reasons if isinstance(reason, Exception)))
            await self.close()

    async def _upstream(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            await self._channel.write(data)

    async def _downstream(self, writer: asyncio.StreamWriter) -> None:
        while data := await self._channel.read():
            writer.write(data)
            await writer.drain()


class Dialer:
    """Dials one host, remembering whether root is needed for its socket."""

    def __init__(self, sessions: Sessions, host: Host, sockets: tuple[str, ...] = SOCKETS) -> None:
        self._sessions = sessions
        self._host = host
        self._sockets = sockets
        self._as_root = False

    async def __call__(self) -> Line:
        """A fresh line. Raises HypervisorError NF-LV-101, 102, 104, 106 and what the SSH session raises."""
        if _wants_ssh(self._host):
            return Direct(ssh_uri(self._host))
        return await Forward.listen(await self.channel())

    async def channel(self) -> Channel:
        """A fresh byte stream to the daemon, even where our own connections are ``qemu+ssh``. Raises HypervisorError
        NF-LV-101, 102, 104 and what the SSH session raises."""
        session = await self._sessions.get(self._host)
        return await self._open(session, await self._probe(session))

    def elevate(self) -> bool:
        """Through root from now on, when the inventory allows ``become``."""
        possible = self._host.become.enabled and not self._as_root
        self._as_root = self._as_root or possible
        return possible

    async def _probe(self, session: HostSession) -> tuple[str, ...]:
        answer = await session.run(Command.script(PROBE, *self._sockets), timeout=20.0)
        lines = [tuple(line.split(" ", 1)) for line in answer.text.splitlines()]
        usable = tuple(line[1] for line in lines if line[0] == "open")
        denied = tuple(line[1] for line in lines if line[0] == "denied")
        if self._as_root or (not usable and denied and self.elevate()):
            return usable + denied
        if usable:
            return usable
        raise _denied(self._host.name, denied) if denied else _stopped(self._host.name, answer.text.strip())

    async def _open(self, session: HostSession, paths: tuple[str, ...]) -> Channel:
        refusal: ChannelError | None = None
        for path in paths:
            try:
                return Relay(session, path) if self._as_root else await session.open_unix(path)
            except ChannelError as exc:
                refusal = exc
        raise HypervisorError(
            f"{' and '.join(paths)} on {self._host.name} cannot be reached",
            code="NF-LV-104",
            where=self._host.name,
            cause=str(refusal),
            hints=(*(refusal.hints if refusal else ()), "systemctl restart libvirtd   # on " + self._host.name),
            retry=Retry.LATER,
        ) from refusal


def ssh_uri(host: Host) -> str:
    """libvirt's own SSH transport, for hosts with ``libvirt: qemu+ssh``.

    Runs the ``ssh`` program, so ~/.ssh/config and the user's known_hosts apply; the inventory's jump chain and
    known_hosts do not (https://libvirt.org/uri.html#ssh-transport).
    """
    user = f"{quote(host.user)}@" if host.user else ""
    port = f":{host.port}" if host.port else ""
    query = {"no_tty": "1"} | ({"keyfile": str(Path(host.key).expanduser())} if host.key else {})
    return f"qemu+ssh://{user}{host.address}{port}/system?{urlencode(query)}"


def _wants_ssh(host: Host) -> bool:
    choice = host.vars.get("libvirt", "forward")
    if choice not in ("forward", "qemu+ssh"):
        places = host.origins.get("vars.libvirt", ())
        raise ConfigError(
            f"host {host.name}: `libvirt: {choice}` is neither `forward` nor `qemu+ssh`",
            code="NF-LV-105",
            where=places[-1] if places else Location(host.source.file, host.source.line),
            hints=("remove the line: forwarding over NovaFleet's own SSH connection is the default",),
        )
    return bool(choice == "qemu+ssh")


def _denied(host: str, paths: tuple[str, ...]) -> NovaFleetError:
    return HypervisorError(
        f"the login user may not use libvirt on {host}",
        code=DENIED,
        where=host,
        cause=f"no write permission on {paths[0]}",
        hints=(
            f"sudo usermod -aG libvirt USER   # on {host}; counts from the next login",
            f"or `become: true` for {host} in the inventory, when its user may sudo",
        ),
        retry=Retry.AFTER_FIX,
    )


def _stopped(host: str, answer: str) -> NovaFleetError:
    daemon = answer.removeprefix("stopped ") if answer.startswith("stopped ") else ""
    return HypervisorError(
        f"{daemon or 'libvirtd'} is not {'running' if daemon else 'installed'} on {host}",
        code="NF-LV-101",
        where=host,
        cause=f"none of {', '.join(SOCKETS)} exists",
        hints=(
            f"sudo systemctl start {daemon}   # on {host}"
            if daemon
            else f"sudo apt-get install libvirt-daemon-system qemu-system-x86   # on {host}",
        ),
        retry=Retry.AFTER_FIX,
    )


def _end(ended: asyncio.Future[str], *reasons: str) -> None:
    if not ended.done():
        ended.set_result("; ".join(reasons))

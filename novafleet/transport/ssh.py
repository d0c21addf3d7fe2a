"""The one file that knows asyncssh: logging in, and what a connection carries (see ``link.Link``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novafleet.errors import AuthError
from novafleet.transport import translate
from novafleet.transport.channel import BULK, WINDOW, Place, SshProcess, SshSocket, Stream, Visitors, abandon
from novafleet.transport.errors import DroppedError, ForwardingOffError, LostBeforeStartError
from novafleet.transport.identity import certificate_files
from novafleet.transport.lean import lean_loading, without_decoys
from novafleet.transport.limits import ALONE, LINGERING, SessionGate
from novafleet.transport.login import Login
from novafleet.transport.translate import Offered
from novafleet.transport.trust import HostKey, not_verifiable
from novafleet.transport.way import open_way

if TYPE_CHECKING:
    from novafleet.ports import ChannelHandler
    from novafleet.transport.target import SshTarget

with lean_loading():
    import asyncssh
    from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

log = logging.getLogger(__name__)

LOGIN_TIMEOUT = 20.0
CHANNEL_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
KEEPALIVE_INTERVAL = 15
KEEPALIVE_COUNT = 3
GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*GCM, "chacha20-poly1305@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr")
"""AES-GCM first: 1.3 to 1.8 times the throughput of ChaCha20 here (docs/concepts/ssh.md)."""


async def login(target: SshTarget, via: SshLink | None, own: Path) -> SshLink:
    """Log in.

    Raises UnreachableError, TrustError, AuthError, and DroppedError when the server hung up before its greeting.
    """
    client = _Client(target, own)
    try:
        async with asyncio.timeout(target.connect_timeout) as deadline:
            client.deadline = deadline
            conn = await asyncssh.connect(
                target.host, target.port, client_factory=lambda: client, **await _way(client, via), **_options(client)
            )
    except BaseException as exc:
        await client.end_way()
        if isinstance(exc, asyncssh.Error | OSError):
            raise _login_failure(client, via, exc) from exc
        raise
    finally:
        client.forget_agent()
    return SshLink(conn, target.label, client.end_way)


async def host_key(target: SshTarget, via: SshLink | None, own: Path) -> HostKey:
    """The key a server presents, without logging in. Raises UnreachableError, DroppedError."""
    client = _Client(target, own)
    try:
        async with asyncio.timeout(target.connect_timeout):
            key = await asyncssh.get_server_host_key(
                target.host,
                target.port,
                config=None,
                server_host_key_algs=_host_key_algs(client.known.keys, certificates=False),
                **await _way(client, via),
            )
    except (asyncssh.Error, OSError) as exc:
        await client.end_way()
        raise _login_failure(client, via, exc) from exc
    await client.end_way()
    if key is None:
        raise translate.handshake(target, "the server presented no host key")
    return HostKey(key.get_algorithm(), key.public_data)


async def _way(client: _Client, via: SshLink | None) -> dict[str, Any]:
    if via:
        return {"tunnel": via.connection}
    client.way = await open_way(client.target)
    return {"tunnel": (), "sock": client.way.sock}


def _options(client: _Client) -> dict[str, Any]:
    target, known = client.target, client.known
    authorities = _public(known.authorities)
    return {
        "config": None,
        "username": target.user,
        "client_keys": None,
        "preferred_auth": "publickey,keyboard-interactive,password",
        "gss_host": None,
        "known_hosts": ([], authorities, _public(known.revoked), [], [], [], []),
        "x509_trusted_certs": None,
        "host_key_alias": target.host_key_alias or None,
        "server_host_key_algs": _host_key_algs(known.keys, certificates=bool(authorities)),
        "encryption_algs": CIPHERS,
        "compression_algs": None,
        "login_timeout": 0,
        "keepalive_interval": KEEPALIVE_INTERVAL,
        "keepalive_count_max": KEEPALIVE_COUNT,
    }


def _public(keys: Iterable[HostKey]) -> list[asyncssh.SSHKey]:
    found = []
    for key in keys:
        try:
            found.append(asyncssh.import_public_key(str(key)))
        except asyncssh.KeyImportError as exc:
            log.warning("a known_hosts key of type %s is not understood (%s)", key.algorithm, exc)
    return found


@lru_cache(maxsize=256)
def _host_key_algs(known: tuple[HostKey, ...], *, certificates: bool) -> list[str]:
    """Ask first for the kind of key that is known, then in ssh's order; certificates only of trusted authorities."""
    plain = [name.decode() for name in get_default_public_key_algs()]
    kinds = {key.algorithm for key in known}
    kinds |= {"rsa-sha2-256", "rsa-sha2-512"} if "ssh-rsa" in kinds else set()
    first = [name.decode() for name in get_default_certificate_algs()] if certificates else []
    return first + sorted(plain, key=lambda name: (name not in kinds, name != "ssh-ed25519", "ecdsa" not in name))


def _login_failure(client: _Client, via: SshLink | None, exc: Exception) -> Exception:
    target = client.target
    if isinstance(exc, TimeoutError):
        return translate.too_slow(target, client.reached, LOGIN_TIMEOUT if client.reached else target.connect_timeout)
    if isinstance(exc, asyncssh.HostKeyNotVerifiable):
        return client.refusal or not_verifiable(target.label, str(exc))
    if isinstance(exc, asyncssh.ChannelOpenError):
        return translate.behind_jump(target, str(exc))
    if isinstance(exc, asyncssh.PermissionDenied) or "too many auth" in str(exc).lower():
        return client.refusal or translate.rejected(target, client.offered, str(exc), client.demand)
    hung_up = isinstance(exc, asyncssh.ConnectionLost | ConnectionResetError | BrokenPipeError)
    if hung_up and via and via.lost:
        return translate.lost(target.label, "the jump host's connection ended")
    if hung_up and client.reached and not client.greeted:
        said = client.way.words if client.way else ""
        return translate.dropped(target, 1, said) if client.way and client.way.hopeless else DroppedError(said)
    if isinstance(exc, OSError) and not client.reached:
        return translate.not_connected(target, exc)
    return translate.handshake(target, str(exc))


class _Client(Login, asyncssh.SSHClient):
    """A login with keys from files and from the agent."""

    def __init__(self, target: SshTarget, own: Path) -> None:
        super().__init__(target, own)
        self.rounds = [self._files, self._agent_keys]
        self.deadline: asyncio.Timeout | None = None
        self._conn: asyncssh.SSHClientConnection | None = None
        self._agent: asyncssh.SSHAgentClient | None = None

    @property
    def reached(self) -> bool:
        """The TCP connection stands."""
        return self._conn is not None

    @property
    def greeted(self) -> bool:
        """The server said which SSH it speaks."""
        return self._conn is not None and bool(self._conn.get_extra_info("server_version"))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        conn.send_packet = without_decoys(conn.send_packet)  # type: ignore[method-assign]
        self._conn = conn
        if self.deadline:
            self.deadline.reschedule(asyncio.get_running_loop().time() + LOGIN_TIMEOUT)

    def forget_agent(self) -> None:
        """The login is over."""
        if self._agent:
            self._agent.close()

    async def _files(self) -> list[asyncssh.SSHKeyPair]:
        """Private keys that need no passphrase. One that cannot be used does not bar the others, as in ssh."""
        keys: dict[str, asyncssh.SSHKey] = {}
        locked: list[str] = []
        for name in self.target.identities:
            try:
                if key := _private_key(self.target.label, name):
                    keys[name] = key
                else:
                    locked.append(name)
            except AuthError as error:
                self.useless.append(error)
        self.offered = Offered(tuple(keys), tuple(locked), tuple(error.what for error in self.useless))
        return list(asyncssh.load_keypairs(list(keys.values()), certlist=_certificates(self.target)))

    async def _agent_keys(self) -> list[asyncssh.SSHKeyPair]:
        """The agent's keys, each with its certificate before it; those that the identities name come first."""
        if not self.target.agent:
            return []
        self._agent = asyncssh.SSHAgentClient(self.target.agent)
        try:
            pairs = await self._agent.get_keys()
        except ValueError as exc:
            log.warning("the SSH agent at %s does not answer (%s)", self.target.agent, exc)
            self.offered = replace(self.offered, agent="the agent does not answer")
            return []
        certificates = _certificates(self.target)
        wanted = {cert.public_data for cert in certificates} | {*map(_public_half, self.target.identities)}
        named = [pair for pair in pairs if pair.public_data in wanted]
        others = [] if self.target.identities_only else [pair for pair in pairs if pair not in named]
        held = [*named, *others]
        self.offered = replace(self.offered, agent=f"{len(held)} of the agent's {len(pairs)}")
        signed = asyncssh.load_keypairs([copy(pair) for pair in held], certlist=certificates)
        return [pair for both in zip(signed, held, strict=True) for pair in both]


def _certificates(target: SshTarget) -> list[asyncssh.SSHCertificate]:
    found: list[asyncssh.SSHCertificate] = []
    for name in certificate_files(target):
        try:
            found += asyncssh.load_certificates(name)
        except (OSError, asyncssh.KeyImportError) as exc:
            log.info("%s: no certificate (%s); it is not used", name, exc)
    return found


def _public_half(name: str) -> bytes | None:
    """From the file beside a private key, or from the file itself: a public key, or a private one of OpenSSH's."""
    for file in (f"{name}.pub", name):
        with contextlib.suppress(OSError, asyncssh.KeyImportError):
            return asyncssh.read_public_key(file).public_data
    return None


def _private_key(label: str, name: str) -> asyncssh.SSHKey | None:
    """The key in a file, None when a passphrase locks it. Raises AuthError NF-SSH-301 or 303."""
    try:
        return _read_key(name, Path(name).stat().st_mtime_ns)
    except (OSError, asyncssh.KeyImportError) as exc:
        if "assphrase" in str(exc):
            return None
        raise translate.no_key(label, name, exc) from exc


@lru_cache(maxsize=256)
def _read_key(name: str, _changed: int) -> asyncssh.SSHKey:
    return asyncssh.read_private_key(name)


class SshLink:
    """An open connection (``link.Link``)."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, label: str, ended: Callable[[], Awaitable[None]]
    ) -> None:
        self.connection = connection
        self._ended = ended
        self._label = label
        self._sessions = SessionGate(label)

    @property
    def lost(self) -> bool:
        """True when it can carry nothing more."""
        return bool(self.connection.is_closed())

    async def start(self, line: str, *, bulk: bool = False, urgent: bool = False) -> SshProcess:
        """Let the login shell run a line; see ``link.Link.start``."""
        pauses, alone = iter(() if urgent else LINGERING), iter(() if urgent else ALONE)
        while True:
            if not urgent:
                await self._sessions.enter()
            place = Place(None if urgent else self._sessions)
            try:
                return await self._session(line, place, bulk=bulk)
            except asyncssh.ChannelOpenError as exc:
                if self.lost:
                    raise LostBeforeStartError(str(exc)) from exc
                pause = next(pauses, 0.0)
                if not pause and not place.refused() and not (pause := next(alone, 0.0)):
                    raise translate.no_channel(self._label, str(exc)) from exc
            finally:
                place.settle()
            await asyncio.sleep(pause)

    async def _session(self, line: str, place: Place, *, bulk: bool) -> SshProcess:
        process = SshProcess(self._label, place.leave)
        sizes: Mapping[str, Any] = BULK if bulk else {"window": WINDOW}
        opening = self.connection.create_session(
            _made(process), line, encoding=None, request_pty=False, env=None, send_env=None, **sizes
        )
        await self._opened(opening, process)
        place.taken = True
        return process

    async def _opened(self, opening: Coroutine[object, object, object], stream: Stream) -> None:
        """Wait for a channel; one that opens after we gave up is closed."""
        if self.lost:
            opening.close()
            raise LostBeforeStartError("the connection is closed")
        task = asyncio.ensure_future(opening)
        try:
            done, _ = await asyncio.wait({task}, timeout=CHANNEL_TIMEOUT)
        except asyncio.CancelledError:
            abandon(task, stream)
            raise
        if not done:
            abandon(task, stream)
            raise translate.channel_too_slow(self._label, CHANNEL_TIMEOUT)
        try:
            task.result()
        except asyncssh.ChannelOpenError:
            raise
        except (asyncssh.Error, OSError) as exc:  # the request may have arrived: not to be repeated blindly
            raise translate.lost(self._label, str(exc)) from exc

    async def open_tcp(self, address: str, port: int) -> SshSocket:
        """A connection made by the host. Raises ForwardingOffError when the server refuses to."""
        socket = SshSocket(self._label)
        return await self._socket(
            self.connection.create_connection(_made(socket), address, port, encoding=None, window=WINDOW), socket
        )

    async def open_unix(self, path: str) -> SshSocket:
        """A connection to a UNIX socket on the host. Raises ForwardingOffError: OpenSSH never says why."""
        socket = SshSocket(self._label)
        return await self._socket(
            self.connection.create_unix_connection(_made(socket), path, encoding=None, **BULK), socket
        )

    async def _socket(self, opening: Coroutine[object, object, object], socket: SshSocket) -> SshSocket:
        try:
            await self._opened(opening, socket)
        except asyncssh.ChannelOpenError as exc:
            if self.lost:
                raise LostBeforeStartError(str(exc)) from exc
            if exc.code == asyncssh.OPEN_CONNECT_FAILED and "open failed" not in str(exc).lower():
                raise translate.not_forwarded(self._label, "the socket", str(exc)) from exc
            raise ForwardingOffError(str(exc)) from exc
        return socket

    @asynccontextmanager
    async def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AsyncIterator[int]:
        """The host listens; yields the port."""
        async with Visitors(self._label, handler) as visitors:
            listener = await self._listener(
                self.connection.create_server(visitors.accept_tcp, address, port, encoding=None), f"{address}:{port}"
            )
            with contextlib.closing(listener):
                yield int(listener.get_port())

    @asynccontextmanager
    async def listen_unix(self, path: str, handler: ChannelHandler) -> AsyncIterator[str]:
        """The host listens on a UNIX socket."""
        async with Visitors(self._label, handler) as visitors:
            listener = await self._listener(
                self.connection.create_unix_server(visitors.accept_unix, path, encoding=None), path
            )
            with contextlib.closing(listener):
                yield path

    async def _listener(self, opening: Awaitable[asyncssh.SSHListener], what: str) -> asyncssh.SSHListener:
        try:
            async with asyncio.timeout(CHANNEL_TIMEOUT):
                return await opening
        except TimeoutError as exc:
            raise translate.channel_too_slow(self._label, CHANNEL_TIMEOUT) from exc
        except (asyncssh.ChannelListenError, asyncssh.Error, OSError) as exc:
            raise translate.not_listening(self._label, what, str(exc)) from exc

    async def close(self) -> None:
        """Close everything on it; a server that does not answer is not waited for."""
        self.connection.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.connection.wait_closed()
        except TimeoutError:
            self.connection.abort()
        await self._ended()


def _made(session: Stream) -> Callable[[], Any]:
    """asyncssh asks for a factory, and for its own base classes, of which it uses only the methods ``Stream`` has."""
    return lambda: session

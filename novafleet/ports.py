"""The Protocols through which pure code and use-cases meet the outside world.

Each has one contract suite in ``tests/contract`` that every adapter and fake passes.
Every method raises a ``NovaFleetError`` subclass, never a foreign exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from novafleet.jobs import BackupJobs, BlockJobs, Measures, Migrations, Snapshots

if TYPE_CHECKING:
    from novafleet.model.backup import Extent, StoredObject
    from novafleet.model.command import Command, Completed, Output
    from novafleet.model.environment import Environment
    from novafleet.model.facts import Domain, DomainEvent, DomainState, HostFacts
    from novafleet.model.fleet import Host
    from novafleet.model.plan import StepClass
    from novafleet.model.run import Record

Json = Any
T = TypeVar("T")
Outcome = Mapping[str, Json]


class Channel(Protocol):
    """A byte stream to a socket behind a host (TCP or UNIX), carried by its SSH connection."""

    async def read(self, limit: int = 65536) -> bytes:
        """Up to ``limit`` bytes; empty at end of file."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the window is full."""

    async def write_eof(self) -> None:
        """Half-close our side."""

    async def close(self) -> None:
        """Close both sides at once; a blocked peer call fails immediately."""


class Shell(Protocol):
    """Commands on one host."""

    async def run(
        self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, check: bool = True
    ) -> Completed:
        """Run to the end. With ``check`` a non-zero status raises CommandError (status, stderr kept).

        Raises DeadlineError after ``timeout`` seconds, having killed the remote process group;
        cancellation kills it too.
        """

    def stream(
        self, command: Command, *, stdin: AsyncIterator[bytes] | None = None, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Streaming]:
        """Run with live output; leaving the context early kills the remote process group."""


class Streaming(Protocol):
    """A running command: iterate its output, then ask for its status."""

    def __aiter__(self) -> AsyncIterator[Output]:
        """Output pieces as they arrive, both streams."""

    async def status(self) -> int:
        """The exit status (128+N after signal N), waiting for the end."""


class Files(Protocol):
    """Files on one host."""

    async def push(
        self, content: bytes | Path, path: str, *, mode: int = 0o644, owner: str = "", become: bool = False
    ) -> bool:
        """Put a file in place atomically (temp, fsync, rename), only if content, mode or owner differ.

        A ``Path`` is streamed from disk and resumes an interrupted upload. Returns True when it changed.
        """

    async def pull(self, path: str, *, become: bool = False) -> bytes:
        """The content of a (small) file. Raises NotFoundError."""

    async def pull_to(self, path: str, target: Path, *, become: bool = False) -> int:
        """Stream a file to a local path (temp, fsync, rename); returns its bytes."""


class Tunnel(Protocol):
    """Sockets reached through one host."""

    async def open_tcp(self, address: str, port: int, *, timeout: float = 10.0) -> Channel:
        """A connection made *by the host* to address:port (direct-tcpip), through ``nc`` where that is refused."""

    async def open_unix(self, path: str, *, timeout: float = 10.0) -> Channel:
        """A connection to a UNIX socket on the host; falls back to ``nc -U``/``socat`` where forwarding is refused."""

    def listen_tcp(self, address: str, port: int, handler: ChannelHandler) -> AbstractAsyncContextManager[int]:
        """Remote forward: the host listens (port 0: any), connections reach ``handler``; yields the port."""

    def listen_unix(self, path: str, handler: ChannelHandler) -> AbstractAsyncContextManager[str]:
        """Remote forward of a UNIX socket; the stale path is unlinked before and after."""


ChannelHandler = Callable[[Channel], Awaitable[None]]


class HostSession(Shell, Files, Tunnel, Protocol):
    """Everything one pooled SSH connection to one host carries. Reconnects on loss."""

    @property
    def host(self) -> Host:
        """The inventory entry this session leads to."""


class Sessions(Protocol):
    """The pool: one connection per host, made on first use, shared, closed together."""

    async def get(self, host: Host) -> HostSession:
        """The session of a host, connecting if need be. Raises UnreachableError, TrustError, AuthError."""

    async def drop(self, host: Host) -> None:
        """Forget a host's connection; the next ``get`` makes a new one."""


class Hypervisor(BackupJobs, Snapshots, BlockJobs, Measures, Migrations, Protocol):
    """libvirt on one host. Names are domain, network and pool names. What it keeps of disks is in ``jobs.py``."""

    async def version(self) -> tuple[int, int]:
        """(libvirt, QEMU) version numbers, libvirt's encoding: major*1e6 + minor*1e3 + micro."""

    async def capabilities(self) -> str:
        """The host capabilities XML."""

    async def domains(self) -> tuple[Domain, ...]:
        """All domains, running or not, with their inactive XML."""

    async def domain(self, name: str) -> Domain:
        """One domain. Raises NotFoundError."""

    async def domain_state(self, name: str) -> DomainState:
        """One domain as libvirt itself knows it: a QEMU that hangs is not asked. Raises NotFoundError."""

    async def define_domain(self, xml: str) -> Domain:
        """Define or redefine; validated by libvirt's schema."""

    async def start_domain(self, name: str) -> None:
        """Boot; a running domain is left alone."""

    async def shutdown_domain(self, name: str) -> None:
        """Ask the guest to power off (agent or ACPI); returns at once."""

    async def destroy_domain(self, name: str) -> None:
        """Pull the plug; a stopped domain is left alone."""

    async def reboot_domain(self, name: str) -> None:
        """Ask the guest to reboot."""

    async def suspend_domain(self, name: str) -> None:
        """Pause the virtual CPUs."""

    async def resume_domain(self, name: str) -> None:
        """Unpause."""

    async def undefine_domain(self, name: str, *, nvram: bool = True) -> None:
        """Forget the definition (with NVRAM, TPM state, managed save); absent is fine. Never touches disks."""

    async def set_domain_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""

    async def attach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Add a device to the definition, and to the running guest with ``live``."""

    async def detach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Remove a device likewise."""

    async def update_device(self, name: str, xml: str, *, live: bool) -> None:
        """Change a device likewise."""

    async def set_memory(self, name: str, kib: int, *, live: bool) -> None:
        """Balloon a running guest and change the definition."""

    async def set_vcpus(self, name: str, count: int, *, live: bool) -> None:
        """Hot-plug CPUs up to the maximum and change the definition."""

    async def set_metadata(self, name: str, xml: str, *, key: str, uri: str) -> None:
        """Replace our metadata element on definition and running guest."""

    async def agent(self, name: str, request: str, *, timeout: float = 5.0) -> str:
        """One guest-agent command (JSON text in and out)."""

    async def define_network(self, xml: str) -> None:
        """Define or redefine a network."""

    async def start_network(self, name: str) -> None:
        """Start; an active one is left alone."""

    async def stop_network(self, name: str) -> None:
        """Destroy the running network; an inactive one is left alone."""

    async def undefine_network(self, name: str) -> None:
        """Forget the definition; absent is fine."""

    async def set_network_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""

    async def update_network_host(self, name: str, xml: str, *, add: bool) -> None:
        """Add or delete one entry on definition and running network: a DHCP lease ``<host mac= ip= name=/>`` or a DNS
        record ``<host ip=><hostname/></host>``. Adding what is there and deleting what is not are fine."""

    async def ensure_pool(self, name: str, path: str) -> None:
        """Define, build, start and autostart a directory pool; an existing one of that name is left alone."""

    async def refresh_pool(self, name: str) -> None:
        """Make libvirt see files that appeared or vanished in a pool."""

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[DomainEvent]]:
        """Lifecycle events from now on."""

    async def reach_daemon(self) -> Channel:
        """A fresh byte stream to this host's libvirt daemon, through which another libvirt talks to it (as root where
        only root may)."""

    async def close(self) -> None:
        """End the libvirt connection and its threads."""


class Hypervisors(Protocol):
    """One libvirt connection per host, opened on first use over that host's SSH session."""

    async def get(self, host: Host) -> Hypervisor:
        """The hypervisor of a host."""


class Lease(Protocol):
    """The right to change one host, held through a channel of its connection (see docs/concepts/fencing.md)."""

    @property
    def epoch(self) -> int:
        """Grows with each holder."""

    async def check(self) -> None:
        """Raise FencedError unless still ours, as seen on the host."""


class ActionContext(Protocol):
    """What a step may use while it runs; mutating commands of ``session`` are fenced by the lease."""

    @property
    def host(self) -> Host:
        """The host this step runs on."""

    @property
    def session(self) -> HostSession:
        """Its fenced SSH session."""

    @property
    def hypervisor(self) -> Hypervisor:
        """Its libvirt, fenced too: each mutating call checks the lease first."""

    @property
    def environment(self) -> Environment:
        """The desired state the plan was made from; specs and secrets are looked up here, not in step args."""

    @property
    def facts(self) -> HostFacts:
        """What was observed of this host before planning."""

    @property
    def run_id(self) -> str:
        """The run this step belongs to; part of operation records."""

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        """Tell the reader what is going on (bytes when ``total`` is known)."""


Do = Callable[[ActionContext, Mapping[str, Json]], Awaitable[Outcome]]
Probe = Callable[[ActionContext, Mapping[str, Json]], Awaitable[Outcome | None]]


@dataclass(frozen=True, slots=True)
class Action:
    """What a verb does. ``probe`` answers the outcome when the effect is already there, else None."""

    do: Do
    step_class: StepClass
    probe: Probe | None = None


Registry = Mapping[str, Action]


class Clock(Protocol):
    """Time as an argument, so that pure code and tests own it."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Journal(Protocol):
    """The append-only record of runs; every await returns only when the record is durable."""

    async def append(self, records: Sequence[Record]) -> None:
        """Make records durable, in order, grouped with those of other tasks into one commit."""


class Dispatcher(Protocol):
    """Has shard K of run R carried out, at least once: by this process, or one day by a worker that takes it from a
    queue. Safety does not depend on it: it stays in the journal and in the lease on each host."""

    async def run(self, run_id: str, shards: int, work: Callable[[int], Awaitable[T]]) -> Sequence[T]:
        """What the work on each shard (from 0) returned, in order."""


class ObjectStore(Protocol):
    """Where a backup repository lies: a directory, an NFS export, an S3 bucket. Keys are ``/``-separated, lower case.

    Objects are whole and never change in place; what a method reports as done is durable.
    """

    @property
    def url(self) -> str:
        """What a person wrote, without secrets."""

    @property
    def exclusive(self) -> bool:
        """True when ``create`` is atomic, so that several controllers may write at once."""

    async def put(self, key: str, data: bytes | memoryview) -> None:
        """Write, replacing what is there. Raises SpaceError when full, StoreError."""

    async def create(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; of several at once exactly one gets True (when ``exclusive``).

        An answer that says neither (409, 412 or 500 after a lost reply) is settled by reading the object back.
        """

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object, or a range of it. Raises MissingObjectError."""

    async def stat(self, key: str) -> StoredObject:
        """Its size and date. Raises MissingObjectError."""

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Objects whose key begins so, in no particular order. ``prefix`` ends with ``/`` or is empty."""

    async def delete(self, key: str) -> None:
        """Remove; absent is fine."""

    async def close(self) -> None:
        """Let go of connections."""


class BlockSource(Protocol):
    """A disk that can be read at any place: a live export, or a snapshot in a repository."""

    @property
    def size(self) -> int:
        """Bytes."""

    async def read(self, offset: int, length: int) -> bytes:
        """Exactly that many bytes."""

    async def extents(self, offset: int, length: int) -> Sequence[Extent]:
        """What the range consists of: in order, without gaps, clipped to it."""


class BlockTarget(BlockSource, Protocol):
    """A disk that can be written too."""

    async def write(self, offset: int, data: bytes) -> None:
        """Put data in place."""

    async def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeroes, giving up its space where the format can."""

    async def flush(self) -> None:
        """Return when everything written is durable."""

"""The lease of one VM or stack, and how it is kept apart from that of its environment (docs/concepts/fencing.md).

A run that holds an environment's lease writes beside the lease of each VM its plan changes that this is part of its
own, then looks whether somebody holds it. Who takes the lease of a VM looks afterwards whether it is part of another
that is held. Each first says what it does and then looks: of two at once, one at least sees the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from novafleet.errors import LockHeldError
from novafleet.execute.lease import AT_ONCE, POLL_SECONDS, HostLease, file_of, hold_leases, script
from novafleet.model.command import Command
from novafleet.ports import Clock, HostSession

_places: WeakKeyDictionary[HostSession, asyncio.Semaphore] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Other:
    """Somebody's lease in our way: seconds since its last sign of life, and after how many it may be taken over."""

    age: float
    limit: float
    scope: str
    holder: str

    def error(self, host: str, wanted: str) -> LockHeldError:
        """The refusal."""
        return LockHeldError(
            f"{wanted} on {host} is being worked on by {self.holder}",
            code="NF-LOCK-003",
            where=host,
            cause=f"it holds {self.scope}; its last sign of life was {self.age:.0f} s ago",
            hints=("add --lock-wait 60 to wait for it",),
        )


@asynccontextmanager
async def hold_one(
    session: HostSession, scope: str, run: str, clock: Clock, *, wait: float = 0.0
) -> AsyncIterator[HostLease]:
    """Hold the lease of one VM (``vm.DOMAIN``) or stack (``stack.PROJECT``) on its host; after others of this
    controller where ``AT_ONCE`` are held there.

    Raises LockHeldError NF-LOCK-003 (after ``wait`` seconds) naming who holds it, or the lease it is part of, and the
    host's own error when no lease can be held there.
    """
    deadline = clock.monotonic() + wait
    async with _places.setdefault(session, asyncio.Semaphore(AT_ONCE)):
        while True:
            left = max(0.0, deadline - clock.monotonic())
            async with hold_leases([session], scope, run, clock, wait=left) as held:
                for error in held.failed.values():
                    raise error
                lease = held.leases[session.host.name]
                others = await _look(session, lease, ())
                if not others:
                    yield lease
                    return
            # given back while we wait: whoever holds the other may be waiting for ours
            await _wait_for(session, others[0], scope, run, clock, deadline)


async def include(
    session: HostSession, lease: HostLease, scopes: Collection[str], run: str, clock: Clock, *, wait: float = 0.0
) -> None:
    """Make the leases of these VMs and stacks part of one that is held, until that is released.

    Raises LockHeldError NF-LOCK-003 (after ``wait`` seconds) naming who holds one of them.
    """
    deadline = clock.monotonic() + wait
    while others := await _look(session, lease, [file_of(scope) for scope in sorted(scopes)]):
        await _wait_for(session, others[0], others[0].scope, run, clock, deadline)


async def _look(session: HostSession, lease: HostLease, files: Sequence[str]) -> list[Other]:
    asked = Command.script(script("nested.sh"), lease.file, lease.grant, *files, become=True)
    said = await session.run(asked, timeout=60.0)
    return [_other(line) for line in said.text.splitlines() if line.startswith("held ")]


def _other(line: str) -> Other:
    _, age, limit, file, *holder = line.split(" ")
    scope = unquote(file.rpartition("/")[2].removesuffix(".lease"))
    return Other(float(age), float(limit), scope, " ".join(holder))


async def _wait_for(session: HostSession, other: Other, wanted: str, run: str, clock: Clock, deadline: float) -> None:
    """Until it is worth another look. One that has been silent for too long is taken over, and given back."""
    if other.age > other.limit:
        async with hold_leases([session], other.scope, run, clock):
            return
    if clock.monotonic() >= deadline:
        raise other.error(session.host.name, wanted)
    await clock.sleep(POLL_SECONDS)

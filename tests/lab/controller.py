"""A controller of its own process: ``python -m tests.lab.controller HOST USER FOLDER STEPS``.

Runs the engine over a real journal; every step appends its name to ``WORLD`` on the host, a thing that shows when it
happens twice. Says what it does on standard output, line by line, so that a test can freeze or kill it at any of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from novafleet.app.wiring import SystemClock
from novafleet.errors import NovaFleetError
from novafleet.execute.engine import Engine
from novafleet.execute.fence import fence
from novafleet.execute.lease import HostLease, hold_leases
from novafleet.execute.resume import prior
from novafleet.model.command import Command
from novafleet.model.fleet import Become, Fleet, Host
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Event, NodeResult, Run, RunState
from novafleet.model.secret import Secret
from novafleet.ports import Action, ActionContext, HostSession, Json, Outcome
from novafleet.store.journal import Journal
from novafleet.transport.pool import SshPool
from tests.lab.slices import ADDRESSES, STATE

ENVIRONMENT = "nf-lease-test"
WORLD = "/var/tmp/nf-lease-world"
LEASE = f"/run/lock/novafleet/{ENVIRONMENT}.lease"
TTL = 2.0
RUN = "r1"

APPEND = 'echo "$2" >> "$1"'
LOOK = 'grep -qx -- "$2" "$1"'


@asynccontextmanager
async def connected(name: str, user: str) -> AsyncIterator[HostSession]:
    """A connection of our own to a lab host."""
    host = Host(
        name,
        ADDRESSES[name],
        user=user,
        key=str(STATE / "id_ed25519"),
        known_hosts=str(STATE / "known_hosts"),
        become=Become(enabled=user != "root"),
    )
    async with SshPool(
        Fleet({name: host}, {}), known_hosts=STATE / "known_hosts", passwords=lambda _host: Secret.of("")
    ) as sessions:
        yield await sessions.get(host)


async def _append(context: ActionContext, args: Mapping[str, Json]) -> Outcome:
    await context.session.run(Command.script(APPEND, WORLD, args["name"], become=True, mutates=True))
    return {}


async def _look(context: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    seen = await context.session.run(Command.script(LOOK, WORLD, args["name"], become=True), check=False)
    return {} if seen.ok else None


def steps(host: str, count: int) -> Sequence[Step]:
    """Chains of ten."""
    return [
        Step(
            f"vm.{n}/start",
            "append",
            f"vm.{n}",
            host,
            StepClass.PROBED,
            args={"name": f"vm.{n}"},
            after=() if n % 10 == 0 else (f"vm.{n - 1}/start",),
        )
        for n in range(count)
    ]


async def execute(
    session: HostSession, lease: HostLease, folder: Path, count: int, emit: Any
) -> tuple[NodeResult, ...]:
    """Begin or resume the run in ``folder``."""
    context = cast(ActionContext, SimpleNamespace(session=fence(session, lease)))
    async with Journal(folder / "journal.db") as journal:
        before = prior(await journal.records(RUN))
        if not await journal.runs(ENVIRONMENT):
            await journal.begin(Run(RUN, ENVIRONMENT, "up", RunState.RUNNING, 0.0))
        registry = {"append": Action(_append, StepClass.PROBED, _look)}
        engine = Engine(registry, lambda _step: context, journal, SystemClock(), emit=emit)
        wanted = [step for step in steps(session.host.name, count) if not _done(before, step)]
        return await engine.run(RUN, wanted, prior=before)


def _done(before: Mapping[str, Any], step: Step) -> bool:
    return step.id in before and before[step.id].kind == "done"


def _say(event: Event) -> None:
    print(event.kind, event.node, event.text, flush=True)


async def main(host: str, user: str, folder: str, count: str) -> None:
    async with connected(host, user) as session:
        try:
            async with hold_leases([session], ENVIRONMENT, RUN, SystemClock(), ttl=TTL) as held:
                print("granted", held.leases[host].epoch, flush=True)
                await execute(session, held.leases[host], Path(folder), int(count), _say)
        except NovaFleetError as error:
            print("refused", error.code, error, flush=True)
        print("ended", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))

"""What recoveries of VMs and of container stacks have in common."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from novafleet.app.context import Reached
from novafleet.app.wiring import World, open_journal
from novafleet.capability.migration.recover import Action, Decision, Facts
from novafleet.errors import ExitCode, NovaFleetError
from novafleet.execute.fence import fence, fence_hypervisor
from novafleet.execute.nested import hold_one
from novafleet.model.run import Run, RunState
from novafleet.store.journal import Journal, new_run_id

HELD = Decision("held", Action.LEAVE, "somebody is at work on it", "novafleet migrate recover   # again, later")


@dataclass(frozen=True, slots=True)
class Recovered:
    """One migration that had not ended. ``facts`` are those decided from; ``done``: nothing is left to do; ``error``
    what kept the action from being carried out."""

    job: str
    domain: str
    source: str
    destination: str
    facts: Facts
    decision: Decision
    done: bool = False
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """All of them; ``unseen`` are hosts that did not answer: there may be more. ``explain``: nothing was touched."""

    jobs: tuple[Recovered, ...]
    unseen: Mapping[str, str]
    explain: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0 when nothing is left to do, 1 when something failed or needs a person, 3 when a host did not answer."""
        if any(each.error or each.decision.action in (Action.ASK, Action.ALARM) for each in self.jobs):
            return ExitCode.FAILED
        waiting = any(each.decision.action in (Action.WAIT, Action.LEAVE) for each in self.jobs)
        return ExitCode.PARTIAL if waiting or self.unseen else ExitCode.OK


@dataclass(frozen=True, slots=True)
class Order:
    """What ``recover`` may do: nothing (``explain``), wait for a lease, go without what ``consent`` names (gates)."""

    explain: bool = False
    lock_wait: float = 0.0
    consent: frozenset[str] = frozenset()


PLAIN = Order()


@asynccontextmanager
async def held(
    world: World, scope: str, job: str, reached: Mapping[str, Reached], lock_wait: float
) -> AsyncIterator[Mapping[str, Reached]]:
    """Both hosts under the lease ``scope``: whoever is at work on it is left alone."""
    async with AsyncExitStack() as stack:
        fenced: dict[str, Reached] = {}
        for name in sorted(reached):
            plain = reached[name]
            holding = hold_one(plain.session, scope, f"recover-{job}", world.clock, wait=lock_wait)
            lease = await stack.enter_async_context(holding)
            fenced[name] = Reached(plain.host, fence(plain.session, lease), fence_hypervisor(plain.hypervisor, lease))
        yield fenced


@asynccontextmanager
async def journalled(world: World, job: str, label: str) -> AsyncIterator[tuple[Journal, str]]:
    """A run of its own: the journal and the run's id."""
    run_id, now = new_run_id(world.clock.now()), world.clock.now
    holder = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
    async with open_journal(world.places) as journal:
        header = {"vms": [label], "job": job}
        await journal.begin(Run(run_id, "", "migrate recover", RunState.RUNNING, now(), 0.0, holder, header))
        try:
            yield journal, run_id
        except NovaFleetError as error:
            await journal.finish(run_id, RunState.FAILED, now(), {"vms": [label], "error": error.finding()})
            raise
        await journal.finish(run_id, RunState.DONE, now(), {"vms": [f"{label}: recovered"]})

"""Leases of single VMs beside those of their environments, on this machine: the scripts run for real."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from novafleet.app.apply import changed
from novafleet.app.wiring import SystemClock
from novafleet.errors import LockHeldError
from novafleet.execute.lease import AT_ONCE, DIRECTORY, hold_leases
from novafleet.execute.nested import hold_one, include
from novafleet.model.plan import Change, Plan, ResourceChange, Step, StepClass
from novafleet.ports import HostSession
from tests.localsession import local_session

CLOCK = SystemClock()


@pytest.fixture
def names() -> Iterator[tuple[str, str]]:
    """An environment's lease and that of a VM of it."""
    if os.geteuid() != 0 or shutil.which("flock") is None:
        pytest.skip("a lease is root's, held with flock(1)")
    environment = f"unit-{secrets.token_hex(4)}"
    yield environment, f"vm.{environment}-db"
    for path in Path(DIRECTORY).glob(f"*{environment}*"):
        path.unlink()


@pytest.fixture
def session(tmp_path: Path) -> HostSession:
    return local_session(tmp_path, user="root")


async def test_a_backup_keeps_a_plan_off_its_vm(session: HostSession, names: tuple[str, str]) -> None:
    environment, scope = names
    async with hold_one(session, scope, "backup-1", CLOCK), hold_leases([session], environment, "up-1", CLOCK) as held:
        lease = held.leases["local"]
        with pytest.raises(LockHeldError, match=rf"{scope} on local is being worked on by .*run backup-1") as caught:
            await include(session, lease, {scope, f"{scope}-other"}, "up-1", CLOCK)
        assert caught.value.code == "NF-LOCK-003"
        await include(session, lease, {f"{scope}-other"}, "up-1", CLOCK)


async def test_a_plan_keeps_a_backup_off_the_vms_it_changes(session: HostSession, names: tuple[str, str]) -> None:
    environment, scope = names
    async with hold_leases([session], environment, "up-1", CLOCK) as held:
        await include(session, held.leases["local"], {scope}, "up-1", CLOCK)
        with pytest.raises(LockHeldError, match=rf"run up-1.*it holds {environment};") as caught:
            async with hold_one(session, scope, "backup-1", CLOCK):
                pytest.fail("it was held")
        assert "lock-wait" in caught.value.hints[0]
        async with hold_one(session, f"{scope}-other", "backup-1", CLOCK):
            pass
    async with hold_one(session, scope, "backup-1", CLOCK):  # the run is over, whatever it has written
        pass
    async with hold_leases([session], environment, "up-2", CLOCK), hold_one(session, scope, "backup-1", CLOCK):
        pass  # another run, whose plan leaves it alone


async def test_both_wait_and_neither_for_ever(session: HostSession, names: tuple[str, str]) -> None:
    environment, scope = names

    async def plan() -> None:
        async with hold_leases([session], environment, "up-1", CLOCK, wait=30) as held:
            await include(session, held.leases["local"], {scope}, "up-1", CLOCK, wait=30)

    async def backup() -> None:
        async with hold_one(session, scope, "backup-1", CLOCK, wait=30):
            pass

    await asyncio.wait_for(asyncio.gather(*(each() for each in (plan, backup, plan, backup))), 60)


async def test_a_host_holds_few_at_once(session: HostSession, names: tuple[str, str]) -> None:
    """Each takes one of sshd's sessions until it is given back."""
    _, scope = names
    held, most, full = 0, 0, asyncio.Event()

    async def work(number: int) -> None:
        nonlocal held, most
        async with hold_one(session, f"{scope}{number}", "migrate-1", CLOCK):
            held += 1
            most = max(most, held)
            if held == AT_ONCE:
                full.set()
            await full.wait()
            held -= 1

    await asyncio.wait_for(asyncio.gather(*map(work, range(2 * AT_ONCE))), 60)
    assert most == AT_ONCE


def leave_behind(scope: str) -> None:
    """What the lease says of a holder whose process is gone."""
    Path(f"{DIRECTORY}/{scope}.lease").write_text(f"9 token\n{2**22 + 1} 1 1 15\nsomebody (run backup-0)\n")


async def test_who_died_is_not_waited_for(session: HostSession, names: tuple[str, str]) -> None:
    environment, scope = names
    async with hold_one(session, scope, "backup-1", CLOCK):
        pass
    leave_behind(scope)
    async with hold_leases([session], environment, "up-1", CLOCK) as held:
        await include(session, held.leases["local"], {scope}, "up-1", CLOCK)


def test_the_vms_a_plan_changes() -> None:
    def step(resource: str, verb: str, *, check: bool = False) -> Step:
        return Step(f"{resource}/{verb}", "x", resource, "kvm1", StepClass.CONVERGENT, check=check)

    steps = (
        step("vm.db", "start"),
        step("vm.web", "ready.0", check=True),
        step("volume.cache.root", "create"),
        step("stack.edge@kvm1", "stop"),
        step("network.lab@kvm1", "apply"),
    )
    plan = Plan("dev", "up", (ResourceChange("vm.db", "vm", "db", "kvm1", Change.UPDATE, steps=steps),))
    assert changed(plan) == {"kvm1": {"vm.dev-db", "vm.dev-cache", "stack.dev-edge"}}

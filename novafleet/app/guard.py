"""``require_backup_newer_than``: data may only be destroyed that a recent backup holds."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.plan import Planned
from novafleet.errors import GuardError, RepositoryError, Retry, StoreError
from novafleet.model import address
from novafleet.model.backup import Snapshot
from novafleet.model.environment import Environment
from novafleet.model.plan import Plan
from novafleet.model.policy import Policy
from novafleet.plan.graph import data_loss

BUNDLE = "bundle"
"""What every snapshot of a stack holds beside all of its volumes."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Disks of a VM, or the volumes of a stack (``vm`` is its address), that a plan would destroy, and the policy that
    demands a backup of them first."""

    environment: str
    vm: str
    disks: frozenset[str]
    policy: Policy


async def refuse_unprotected(planned: Planned, now: float) -> None:
    """Raise GuardError NF-GUARD-005 when the repository has no snapshot, young enough, of a disk that would go, or
    cannot be asked. A plan that destroys nothing asks no repository."""
    for demand in demands(planned.environment, planned.plan):
        refuse_old(demand, await _snapshots(demand), now)


def demands(environment: Environment, plan: Plan) -> tuple[Demand, ...]:
    """What must be backed up before a plan may run. For a stack, and for a VM that the file no longer has, the
    environment's policy counts."""
    lost: dict[str, set[str]] = {}
    for change in data_loss(plan):
        if change.kind == "volume":
            name, _, disk = change.name.partition(".")
            lost.setdefault(name, set()).add(disk)
        elif change.kind == "vm" and change.name in environment.vms:
            lost.setdefault(change.name, set()).update(environment.vms[change.name].disks)
        elif change.kind == "stack":
            lost.setdefault(address.stack(change.name), set()).add(BUNDLE)
    return tuple(_demands(environment, lost.items()))


def _demands(environment: Environment, lost: Iterable[tuple[str, set[str]]]) -> Iterator[Demand]:
    for name, disks in lost:
        vm = environment.vms.get(name)
        policy = vm.backup if vm is not None else environment.backup
        if policy is None or not policy.enabled or not policy.guard:
            continue
        wanted = frozenset(disks) - frozenset(policy.exclude)
        if wanted:
            yield Demand(environment.name, name, wanted, policy)


def refuse_old(demand: Demand, snapshots: Iterable[Snapshot], now: float) -> None:
    """The pure half. Snapshots from the future count as made now: our clock may be the wrong one."""
    policy = demand.policy
    own = [each for each in snapshots if (each.environment, each.vm) == (demand.environment, demand.vm)]
    for disk in sorted(demand.disks):
        newest = max((each.at for each in own if disk in each.disks), default=None)
        if newest is not None and now - newest <= policy.guard:
            continue
        age = "there is none" if newest is None else f"the newest is {_hours(now - newest)} old"
        lost = "its volumes" if demand.vm.startswith(address.stack("")) else f"disk {disk} of {demand.vm}"
        raise _refusal(demand, f"{lost}: {age}")


async def _snapshots(demand: Demand) -> tuple[Snapshot, ...]:
    from novafleet.app.repository import key_source, open_repository  # most plans destroy nothing

    policy = demand.policy
    key = key_source(Path(policy.key_file) if policy.key_file else None, policy.passphrase)
    try:
        async with open_repository(policy.repository, key) as repository:
            return await repository.snapshots()
    except (StoreError, RepositoryError) as error:
        raise _refusal(demand, f"the repository cannot be asked: {error}") from error


def _refusal(demand: Demand, cause: str) -> GuardError:
    policy = demand.policy
    key = ("--key-file", policy.key_file) if policy.key_file else ("--passphrase", policy.passphrase)
    command = ("novafleet", "backup", "run", f"{demand.environment}/{demand.vm}", "--repo", policy.repository, *key)
    return GuardError(
        f"this would destroy data of {demand.vm} without a backup younger than {_hours(policy.guard)}",
        code="NF-GUARD-005",
        where=policy.origins["guard"],
        cause=cause,
        hints=(shlex.join(command),),
        retry=Retry.AFTER_FIX,
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.4g} h" if seconds < 172800 else f"{seconds / 86400:.3g} d"

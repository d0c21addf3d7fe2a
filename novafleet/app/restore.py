"""``restore SNAPSHOT --host HOST --as NAME``: a VM out of a repository, on a host, in one journalled step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from novafleet.app.context import Reached, reach
from novafleet.app.errand import Errand, Watch, Work, carry_out, exit_code_of
from novafleet.app.repository import open_repository
from novafleet.app.restorepoint import choose, disk_of
from novafleet.app.wiring import World, open_world
from novafleet.capability.backup.instant import restore_instantly
from novafleet.capability.backup.restore import restore_vm
from novafleet.capability.backup.restore_inplace import restore_in_place
from novafleet.capability.backup.restore_names import Order
from novafleet.capability.backup.restore_xml import needs
from novafleet.errors import ConfigError, ExitCode
from novafleet.execute.gather import gather
from novafleet.model.backup import Snapshot, SnapshotKind
from novafleet.model.encode import encode
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.observe.facts import error_of
from novafleet.observe.registry import collectors
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, pool_path
from novafleet.ports import ActionContext, Outcome
from novafleet.repository import KeySource, Repository
from novafleet.store.journal import new_run_id

VERB = "restore"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OBSERVED = ("libvirt", "system")

Confirm = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """``snapshot`` as for files; ``name`` empty: the domain's own; ``networks``: NEW by OLD."""

    inventory: tuple[Path, ...]
    repository: str
    key: KeySource
    snapshot: str
    host: str = ""
    name: str = ""
    until: float = 0.0
    pool: str = DEFAULT_POOL
    networks: Mapping[str, str] = field(default_factory=dict)
    disk: str = ""
    in_place: bool = False
    instant: bool = False
    start: bool | None = None
    """Not said: a VM stays off, a stack is brought up."""
    stack: str = ""
    lock_wait: float = 0.0


@dataclass(frozen=True, slots=True)
class VmRestored:
    """What became of a VM. ``state``: done | failed | cancelled | declined; ``vm``: name, uuid, disks, macs, started,
    notes."""

    run: str
    snapshot: str
    host: str
    state: str
    vm: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> ExitCode:
        """See ``exit_code_of``."""
        return exit_code_of(self.state, self.error)


@dataclass(frozen=True, slots=True)
class Party:
    """A restore about to begin: where to, out of what, and what is known of the hosts."""

    world: World
    repository: Repository
    request: RestoreRequest
    snapshot: Snapshot
    reached: Reached
    facts: HostFacts
    run_id: str


async def restore_to_host(request: RestoreRequest, confirm: Confirm, watch: Watch) -> VmRestored:
    """Make a VM of a snapshot on a host. A failure of the step does not raise; see ``VmRestored``.

    Raises ConfigError NF-BAK-038, NF-BAK-040, NF-VOL-003, what opening the repository raises, and the error of a host
    that cannot be reached.
    """
    name = request.name
    if name and not NAME.fullmatch(name):
        raise ConfigError(f"--as takes letters, digits, '.', '_' and '-', not {name!r}", code="NF-BAK-040")
    async with open_world(request.inventory) as world, open_repository(request.repository, request.key) as repository:
        snapshot = refuse_stack(await choose(repository, request.snapshot, request.until))
        party, fleet = await gathered(world, repository, request, snapshot)
        keep = not name or name == snapshot.domain
        keep = keep and not await _taken(party, fleet)
        order = await _order(party, keep=keep)
        unasked = _unasked(fleet) if keep else ""
        if not confirm(" ".join([_question(party, order), *([f"({unasked})"] if unasked else [])])):
            return VmRestored("", snapshot.id, party.facts.host, "declined")

        async def work(ctx: ActionContext) -> Outcome:
            if request.instant:
                restored = await restore_instantly(ctx, repository, snapshot, order, world.clock)
            else:
                restored = await restore_vm(ctx, repository, snapshot, order)
            notes = (*restored.notes, unasked) if unasked else restored.notes
            return outcome(replace(restored, notes=notes))

        return await carried_out(party, order.name, work, watch)


def outcome(restored: object) -> Outcome:
    """What the journal remembers of a restore."""
    return cast("Outcome", encode(restored))


async def restore_disks_in_place(request: RestoreRequest, confirm: Confirm, watch: Watch) -> VmRestored:
    """Give an existing VM its disks back. Raises and fails as ``restore_to_host`` does, and ConfigError NF-BAK-031."""
    async with open_world(request.inventory) as world, open_repository(request.repository, request.key) as repository:
        snapshot = refuse_stack(await choose(repository, request.snapshot, request.until))
        copies = (disk_of(snapshot, request.disk),) if request.disk else tuple(snapshot.disks.values())
        party, _ = await gathered(world, repository, request, snapshot)
        name, disks = request.name or snapshot.domain, ", ".join(copy.name for copy in copies)
        if not confirm(f"Give {name} on {party.facts.host} what {disks} had at {snapshot.id}?"):
            return VmRestored("", snapshot.id, party.facts.host, "declined")

        async def work(ctx: ActionContext) -> Outcome:
            at = world.clock.now()
            restored = await restore_in_place(ctx, repository, snapshot, name, copies, at)
            if request.start:
                await ctx.hypervisor.start_domain(name)
            return outcome(replace(restored, started=bool(request.start)))

        return await carried_out(party, name, work, watch)


def refuse_stack(snapshot: Snapshot) -> Snapshot:
    """The snapshot of a VM. Raises ConfigError NF-BAK-062 for one of a stack."""
    if snapshot.kind is SnapshotKind.VM:
        return snapshot
    raise ConfigError(
        f"{snapshot.id} is a snapshot of {snapshot.vm}, no VM",
        code="NF-BAK-062",
        hints=(f"novafleet restore {snapshot.id} --stack {snapshot.vm.removeprefix('stack.')} --host {snapshot.host}",),
    )


async def gathered(
    world: World,
    repository: Repository,
    request: RestoreRequest,
    snapshot: Snapshot,
    observed: Sequence[str] = OBSERVED,
) -> tuple[Party, FleetFacts]:
    """Look at every host (a VM's identity may be in use anywhere) and reach the one that is meant."""
    name = request.host or snapshot.host
    if name not in world.fleet.hosts:
        raise ConfigError(
            f"the inventory has no host {name!r}",
            code="NF-BAK-040",
            cause="it has " + ", ".join(sorted(world.fleet.hosts)[:20]),
            hints=("say which: --host HOST",),
        )
    fleet = await gather(world.sessions, list(world.fleet.hosts.values()), collectors(observed), world.clock)
    return await party_on(world, repository, request, snapshot, fleet.hosts[name]), fleet


async def party_on(
    world: World, repository: Repository, request: RestoreRequest, snapshot: Snapshot, facts: HostFacts
) -> Party:
    """Everything a restore needs, on the host of ``facts``. Raises the error of a host that cannot be reached."""
    if facts.error:
        raise error_of(facts)
    reached, failed = await reach(world, (facts.host,))
    for error in failed.values():
        raise error
    return Party(world, repository, request, snapshot, reached[facts.host], facts, new_run_id(world.clock.now()))


async def _taken(party: Party, fleet: FleetFacts) -> bool:
    """Whether a domain somewhere is the VM of the snapshot, or has one of its MAC addresses."""
    definition = party.snapshot.files.get("domain.xml")
    if definition is None:
        return False
    wanted = needs((await party.repository.blob(definition)).decode("utf-8", "replace"))
    for host in fleet.hosts.values():
        for domain in host.domains.values():
            other = needs(domain.xml)
            if other.uuid == wanted.uuid or other.macs & wanted.macs:
                return True
    return False


def _unasked(fleet: FleetFacts) -> str:
    """Hosts on which the VM itself may still be, in words."""
    names = sorted(host.host for host in fleet.hosts.values() if host.error)
    return f"whether it still runs on {', '.join(names)} is unknown: not reached" if names else ""


async def _order(party: Party, *, keep: bool) -> Order:
    request, facts = party.request, party.facts
    if request.pool == DEFAULT_POOL and DEFAULT_POOL not in facts.pools:
        await party.reached.hypervisor.ensure_pool(DEFAULT_POOL, DEFAULT_PATH)
        seen = await gather(party.world.sessions, [party.reached.host], collectors(OBSERVED), party.world.clock)
        facts = seen.hosts[facts.host]
    directory = pool_path(facts, request.pool)
    free = facts.pools[request.pool].available if request.pool in facts.pools else 0
    name = request.name or party.snapshot.domain
    return Order(name, directory, free, keep, request.networks, bool(request.start))


def _question(party: Party, order: Order) -> str:
    snapshot = party.snapshot
    what = "as the VM it was" if order.keep else "as a copy with a new UUID and new MAC addresses"
    start = ", and start it" if order.start else ""
    return f"Restore {snapshot.vm} of {snapshot.id} to {party.facts.host} as {order.name}, {what}{start}?"


async def carried_out(party: Party, name: str, work: Work, watch: Watch, *, scope: str = "") -> VmRestored:
    """Do one thing to a VM of a host: journalled, under the VM's lease (or that of ``scope``), stopped by Ctrl-C."""
    errand = Errand(
        world=party.world,
        reached=party.reached,
        facts=party.facts,
        run_id=party.run_id,
        verb=VERB,
        name=name,
        scope=scope or f"vm.{name}",
        header={"repository": party.request.repository, "snapshot": party.snapshot.id, "vm": name},
        lock_wait=party.request.lock_wait,
    )
    ended = await carry_out(errand, work, watch)
    return VmRestored(
        party.run_id, party.snapshot.id, party.facts.host, ended.state, ended.outcome, ended.seconds, ended.error
    )

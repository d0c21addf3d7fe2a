"""A VM restored for a moment, cut off from everything: made, judged by its gates, and removed again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from novafleet.capability.backup.clean import if_possible
from novafleet.capability.backup.drill_xml import drill_network, isolated
from novafleet.capability.backup.restore import Restored, clean, forget, restore_vm
from novafleet.capability.backup.restore_check import exists
from novafleet.capability.backup.restore_names import Names, Order
from novafleet.capability.backup.restore_xml import needs, new_uuid
from novafleet.errors import BackupError, NotFoundError
from novafleet.model.backup import Snapshot
from novafleet.ports import ActionContext, Outcome
from novafleet.repository.repository import Repository

Judge = Callable[[Restored], Awaitable[Outcome]]


def drill_name(snapshot: Snapshot) -> str:
    """The domain a drill of this VM makes."""
    return f"drill-{snapshot.domain}"[:60]


async def wanted_networks(repository: Repository, snapshot: Snapshot) -> tuple[str, ...]:
    """The networks, bridges and interfaces the VM is connected to."""
    needed = needs(await _file(repository, snapshot, "domain.xml"))
    return tuple(sorted(needed.networks | needed.bridges | needed.devices))


async def rehearse(
    ctx: ActionContext, repository: Repository, snapshot: Snapshot, order: Order, judge: Judge
) -> Outcome:
    """Restore the VM into networks of its own, start it, hear ``judge``, and remove everything, whatever it says.

    ``order.networks`` maps the VM's networks to those of the drill. Raises what restoring and judging raise.
    """
    names, networks = Names(ctx.host.name, order), tuple(order.networks.values())
    await remove(ctx, names, snapshot, networks)
    async with AsyncExitStack() as after:
        after.push_async_callback(_removed, ctx, names, snapshot, networks)
        taken = [address for each in ctx.facts.subnets.values() for address in each]
        for old, new in order.networks.items():
            original = await _file(repository, snapshot, f"networks/{old}.xml")
            await ctx.hypervisor.define_network(isolated(new, original, taken))
            await ctx.hypervisor.start_network(new)
        return await judge(await restore_vm(ctx, repository, snapshot, order))


async def remove(ctx: ActionContext, names: Names, snapshot: Snapshot, networks: Sequence[str]) -> None:
    """Everything a drill made, also one that was killed. Raises BackupError NF-BAK-030 for a VM of that name that is
    none of ours."""
    name = names.order.name
    if await exists(ctx, name):
        if (await ctx.hypervisor.domain_state(name)).uuid != new_uuid(ctx.host.name, name):
            raise BackupError(
                f"there is a VM {name} that no drill made",
                code="NF-BAK-030",
                where=ctx.host.name,
                hints=("drill on another host: --host HOST", f"or rename {name}"),
            )
        await ctx.hypervisor.destroy_domain(name)
        await ctx.hypervisor.undefine_domain(name)
        await forget(ctx, *(names.final(copy).path for copy in snapshot.disks.values()))
    await clean(ctx, names, snapshot)
    for network in networks:
        await _remove_network(ctx, network)


async def _remove_network(ctx: ActionContext, name: str) -> None:
    try:
        await ctx.hypervisor.stop_network(name)
    except NotFoundError:
        return
    await ctx.hypervisor.undefine_network(name)


async def _removed(ctx: ActionContext, names: Names, snapshot: Snapshot, networks: Sequence[str]) -> None:
    await if_possible(ctx, remove(ctx, names, snapshot, networks))


async def _file(repository: Repository, snapshot: Snapshot, name: str) -> str:
    blob = snapshot.files.get(name)
    return (await repository.blob(blob)).decode("utf-8", "replace") if blob is not None else ""


def instead(snapshot: Snapshot, networks: Sequence[str]) -> dict[str, str]:
    """For each of the VM's networks the one of its drill."""
    return {each: drill_network(snapshot.domain, each) for each in networks}

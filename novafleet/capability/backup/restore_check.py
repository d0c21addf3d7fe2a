"""Whether a VM can be restored to a host, found out before anything is written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from novafleet.capability.backup import restore_xml
from novafleet.capability.backup.restore_disks import no_room
from novafleet.capability.backup.restore_names import Names, Order
from novafleet.capability.backup.restore_xml import Fitted, Needs, NewDisk, Wish
from novafleet.errors import BackupError, NotFoundError, Retry
from novafleet.model.backup import Snapshot
from novafleet.model.command import Command
from novafleet.plan.firmware import variables_default
from novafleet.ports import ActionContext

MISSING = 'for each; do [ -e "$each" ] || printf "%s\\n" "$each"; done'
SPARE = 64 << 20
"""Bytes that stay free in a pool."""


async def fitting(ctx: ActionContext, snapshot: Snapshot, names: Names, files: Mapping[str, bytes]) -> Fitted:
    """The definition for this host. Raises BackupError NF-BAK-030, NF-BAK-033, NF-BAK-034."""
    definition = files.get("domain.xml", b"").decode("utf-8", "replace")
    disks = {copy.target: names.final(copy) for copy in snapshot.disks.values()}
    return restore_xml.fit(definition, await wished(ctx, names.order, definition, disks))


async def wished(ctx: ActionContext, order: Order, definition: str, disks: Mapping[str, NewDisk]) -> Wish:
    """What becomes of a definition on this host. Raises BackupError NF-BAK-030, NF-BAK-033, NF-BAK-034."""
    if await exists(ctx, order.name):
        raise there_already(
            ctx, f"a VM {order.name}", "choose another name with --as, or --in-place for its disks alone"
        )
    needs = restore_xml.needs(definition)
    if not order.apart:
        _refuse_unconnected(ctx, needs, order.networks)
    keep = order.keep and needs.name == order.name
    return Wish(
        name=order.name,
        uuid=needs.uuid if keep else restore_xml.new_uuid(ctx.host.name, order.name),
        copy=not keep,
        apart=order.apart,
        disks=disks,
        abilities=restore_xml.abilities(await ctx.hypervisor.capabilities(), definition),
        networks=order.networks,
        missing=await _missing(ctx, sorted(needs.files)),
        nvram=variables_default(order.name),
        addresses=frozenset(each.partition("/")[0] for found in ctx.facts.subnets.values() for each in found),
    )


async def exists(ctx: ActionContext, name: str) -> bool:
    """Whether libvirt knows a domain."""
    try:
        await ctx.hypervisor.domain_state(name)
    except NotFoundError:
        return False
    return True


async def _missing(ctx: ActionContext, paths: Sequence[str]) -> frozenset[str]:
    pools = {f"pool {name}" for name in ctx.facts.pools}
    files = [path for path in paths if not path.startswith("pool ")]
    done = await ctx.session.run(Command.script(MISSING, *files, become=True))
    return frozenset((*done.text.splitlines(), *({*paths} - {*files} - pools)))


def _refuse_unconnected(ctx: ActionContext, needs: Needs, networks: Mapping[str, str]) -> None:
    there = {*ctx.facts.networks, *ctx.facts.bridges}
    wanted = {networks.get(name, name) for name in needs.networks | needs.bridges}
    if lacking := sorted(wanted - there):
        raise BackupError(
            f"the host has no network or bridge {', '.join(lacking)}",
            code="NF-BAK-033",
            where=ctx.host.name,
            cause="it has " + (", ".join(sorted(there)) or "none"),
            hints=(f"--network {lacking[0]}=NAME connects the VM to another one",),
            retry=Retry.AFTER_FIX,
        )


def refuse_full(ctx: ActionContext, directory: str, free: int, total: int) -> None:
    """Raise SpaceError NF-BAK-035 when so many bytes have no room there."""
    if total + SPARE > free:
        raise no_room(ctx, directory, f"{total >> 20} MiB are needed, {free >> 20} MiB are free")


def refuse_files(ctx: ActionContext, there: Sequence[str]) -> None:
    """Raise BackupError NF-BAK-030 for files that are in the way."""
    if there:
        raise there_already(
            ctx, there[0], f"see whose it is, on {ctx.host.name}; then remove it, or choose another --as"
        )


def there_already(ctx: ActionContext, what: str, hint: str) -> BackupError:
    """Something is in the way."""
    return BackupError(
        f"{what} is there already",
        code="NF-BAK-030",
        where=ctx.host.name,
        hints=(hint,),
        retry=Retry.AFTER_FIX,
    )

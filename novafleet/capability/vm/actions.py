"""What makes, changes, starts, stops and removes a VM. Every action may be repeated at will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path

from novafleet.capability.vm import shape
from novafleet.capability.vm.hotplug import Plug, Verb, names, plugs
from novafleet.capability.vm.owned import ACTIVE, RUNNING, refuse_foreign
from novafleet.capability.vm.xml import domain_xml
from novafleet.errors import CommandError, NotFoundError, NovaFleetError, SpaceError
from novafleet.model.command import Command
from novafleet.model.environment import Vm
from novafleet.model.facts import Domain, DomainEvent
from novafleet.model.plan import StepClass
from novafleet.plan.storage import DEFAULT_PATH, DEFAULT_POOL, seed_path
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry
from novafleet.render import cloudinit

OFF = frozenset(("stopped", "crashed"))
"""Events after which QEMU is gone."""

ASK_AGAIN = 5.0
"""Seconds between two presses of the power button."""

HANGS = frozenset(("NF-LV-110", "NF-LV-111", "NF-LV-112"))
"""Codes of a power button that nobody answers: QEMU hangs, or what libvirt asked it before has not ended."""

FORGET_SEED = 'rm -f -- "$1" "$1".sha256 "$1".part.*'


async def seed(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Write the NoCloud seed of ``args["vm"]``. Raises SpaceError NF-SEED-001."""
    vm = ctx.environment.vms[args["vm"]]
    files = cloudinit.seed(ctx.environment, vm)
    digest = cloudinit.digest(files)
    if DEFAULT_POOL not in ctx.facts.pools:
        await ctx.hypervisor.ensure_pool(DEFAULT_POOL, DEFAULT_PATH)
    path = seed_path(ctx.facts, ctx.environment.name, vm.name)
    write = Command.script(_script("seed.sh"), path, digest, become=True, mutates=True)
    try:
        await ctx.session.run(write, stdin=cloudinit.seed_image(files).reveal())
    except CommandError as error:
        if "No space left" not in error.stderr:
            raise
        raise SpaceError(
            f"no room for the cloud-init seed of {vm.name}",
            code="NF-SEED-001",
            where=ctx.host.name,
            cause=error.stderr.strip(),
            hints=(f"df -h {path.rpartition('/')[0]}   # on {ctx.host.name}",),
        ) from error
    return {"path": path, "digest": digest}


async def define(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Define ``args["vm"]``, or redefine it with its devices where they are. Raises GuardError NF-GUARD-002."""
    vm = ctx.environment.vms[args["vm"]]
    before = await _domain(ctx, vm.domain)
    if before is not None:
        refuse_foreign(ctx.environment, vm, before)
    await _define(ctx, vm, before)
    return {"uuid": vm.uuid}


async def _define(ctx: ActionContext, vm: Vm, before: Domain | None) -> None:
    await ctx.hypervisor.define_domain(_xml(ctx, vm, before))
    await ctx.hypervisor.set_domain_autostart(vm.domain, vm.autostart)


def _xml(ctx: ActionContext, vm: Vm, before: Domain | None) -> str:
    applied = shape.desired(vm, ctx.environment, ctx.facts)
    live = before.xml if before is not None else ""
    return domain_xml(vm, ctx.environment, ctx.facts, applied=applied, run=ctx.run_id, live=live)


async def _domain(ctx: ActionContext, name: str) -> Domain | None:
    try:
        return await ctx.hypervisor.domain(name)
    except NotFoundError:
        return None


async def change(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Plug the disks and NICs of the running guest ``args["vm"]`` in and out, then record the new definition."""
    vm = ctx.environment.vms[args["vm"]]
    before = await ctx.hypervisor.domain(vm.domain)
    refuse_foreign(ctx.environment, vm, before)
    done = plugs(before.xml, _xml(ctx, vm, before)) if before.state in ACTIVE else ()
    for plug in done:
        ctx.progress(f"{plug.verb} {plug.name}")
        await _plug(ctx, vm.domain, plug)
    held = await _held(ctx, vm.domain, [plug for plug in done if plug.verb is Verb.DETACH])
    # libvirt has given the new devices addresses by now; the definition keeps them.
    await _define(ctx, vm, await ctx.hypervisor.domain(vm.domain))
    return {"plugged": [f"{plug.verb} {plug.name}" for plug in done], "held": held}


async def _plug(ctx: ActionContext, domain: str, plug: Plug) -> None:
    calls = {
        Verb.ATTACH: ctx.hypervisor.attach_device,
        Verb.DETACH: ctx.hypervisor.detach_device,
        Verb.UPDATE: ctx.hypervisor.update_device,
    }
    await calls[plug.verb](domain, plug.xml, live=True)


async def _held(ctx: ActionContext, domain: str, detached: list[Plug]) -> list[str]:
    """Devices the guest has not let go of: one that boots or hangs does not answer, and keeps them until it stops."""
    if not detached:
        return []
    done = await ctx.session.run(Command(("virsh", "-q", "-c", "qemu:///system", "dumpxml", domain), become=True))
    running = names(done.text)
    held = [plug.name for plug in detached if plug.name in running]
    for name in held:
        ctx.progress(f"the guest still holds {name}: it lets go when it stops")
    return held


async def start(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Boot ``args["domain"]``, or let it go on when it was paused."""
    name = args["domain"]
    if (await ctx.hypervisor.domain_state(name)).state == "paused":
        await ctx.hypervisor.resume_domain(name)
    else:
        await ctx.hypervisor.start_domain(name)
    return {}


async def started(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome | None:
    """Does ``args["domain"]`` run already?"""
    state = await _state(ctx, args["domain"])
    return {"adopted": True} if state in RUNNING else None


async def stop(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Ask ``args["domain"]`` to power off, wait ``args["grace"]`` seconds for it, then pull the plug; 0: at once."""
    name, grace = args["domain"], float(args["grace"])
    state = await _state(ctx, name)
    if state not in ACTIVE:
        return {"absent": not state}
    orderly = state in RUNNING and grace > 0 and await _power_off(ctx, name, grace)
    if not orderly:
        if grace > 0:
            ctx.progress("the guest did not power itself off: pulling the plug")
        await ctx.hypervisor.destroy_domain(name)
    return {"orderly": orderly}


async def _power_off(ctx: ActionContext, name: str, grace: float) -> bool:
    """True when the guest did it by itself. Events are subscribed to before it is asked, so that none is missed."""
    async with ctx.hypervisor.events() as events:
        gone = asyncio.ensure_future(_gone(events, name))
        try:
            async with asyncio.timeout(grace):
                return await _ask(ctx, name, gone)
        except TimeoutError:
            return await _state(ctx, name) not in ACTIVE
        except NovaFleetError as error:
            if error.code not in HANGS:
                raise
            return False
        finally:
            gone.cancel()


async def _state(ctx: ActionContext, name: str) -> str:
    """A domain's state, empty where there is none. One whose QEMU hangs has one too, but tells no definition."""
    try:
        return (await ctx.hypervisor.domain_state(name)).state
    except NotFoundError:
        return ""


async def _ask(ctx: ActionContext, name: str, gone: asyncio.Future[bool]) -> bool:
    """Press the power button until the guest is gone: one that is still booting does not hear the first time."""
    await ctx.hypervisor.shutdown_domain(name)
    while not (await asyncio.wait({gone}, timeout=ASK_AGAIN))[0]:
        if await _state(ctx, name) not in RUNNING:
            break
        await ctx.hypervisor.shutdown_domain(name)
    return await gone


async def _gone(events: AsyncIterator[DomainEvent], name: str) -> bool:
    async for event in events:
        if event.domain == name and event.kind in OFF:
            return True
    return False


async def undefine(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Forget ``args["domain"]`` with its NVRAM, and the seed at ``args["seed"]`` when given; disks stay.

    The seed goes first: killed in between, the domain still tells that there is something to remove.
    """
    if args.get("seed"):
        await ctx.session.run(Command.script(FORGET_SEED, args["seed"], become=True, mutates=True))
    if args["domain"]:
        await ctx.hypervisor.undefine_domain(args["domain"])
    return {}


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


ACTIONS: Registry = {
    "vm.seed": Action(seed, StepClass.CONVERGENT),
    "vm.define": Action(define, StepClass.CONVERGENT),
    "vm.change": Action(change, StepClass.CONVERGENT),
    "vm.start": Action(start, StepClass.PROBED, started),
    "vm.stop": Action(stop, StepClass.CONVERGENT),
    "vm.undefine": Action(undefine, StepClass.CONVERGENT),
}

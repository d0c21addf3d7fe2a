"""What makes, changes and removes a libvirt network on a host. Each action may be repeated at will."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from novafleet.capability.network import xml
from novafleet.errors import NotFoundError
from novafleet.model.command import Command
from novafleet.model.plan import StepClass
from novafleet.ports import Action, ActionContext, Json, Outcome, Registry


async def define(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Define and start ``args["network"]``; guests that were in it while it was down are plugged in again."""
    return await _converge(ctx, args, restart=False)


async def restart(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """The same for an active network whose definition differs: it takes effect only by a stop and a start."""
    return await _converge(ctx, args, restart=True)


async def _converge(ctx: ActionContext, args: Mapping[str, Json], *, restart: bool) -> Outcome:
    network = ctx.environment.networks[args["network"]]
    name = network.libvirt_name
    if restart:  # before the new definition: killed here, the next plan sees a stopped network and starts it
        await ctx.hypervisor.stop_network(name)
    await ctx.hypervisor.define_network(xml.definition(ctx.environment.name, network, ctx.host.name))
    await ctx.hypervisor.start_network(name)
    await ctx.hypervisor.set_network_autostart(name, network.autostart)
    done = await ctx.session.run(Command.script(_replug(), name, become=True, mutates=True))
    return {"replugged": done.text.split()}


async def update(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Delete and add static leases and DNS names (``args["remove"]``, ``args["add"]``) of a running network."""
    network = ctx.environment.networks[args["network"]]
    for entry in args["remove"]:
        await ctx.hypervisor.update_network_host(network.libvirt_name, _entry(entry), add=False)
    for entry in args["add"]:
        await ctx.hypervisor.update_network_host(network.libvirt_name, _entry(entry), add=True)
    await ctx.hypervisor.define_network(xml.definition(ctx.environment.name, network, ctx.host.name))
    await ctx.hypervisor.set_network_autostart(network.libvirt_name, network.autostart)
    return {"removed": len(args["remove"]), "added": len(args["add"])}


async def remove(ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
    """Stop and forget the libvirt network ``args["name"]``; an absent one is fine."""
    try:
        await ctx.hypervisor.stop_network(args["name"])
    except NotFoundError:
        return {"absent": True}
    await ctx.hypervisor.undefine_network(args["name"])
    return {}


def _entry(entry: Mapping[str, str]) -> str:
    made = xml.lease(xml.Lease(**entry)) if "mac" in entry else xml.record(xml.Record(**entry))
    return ElementTree.tostring(made, encoding="unicode")


@cache
def _replug() -> str:
    return Path(__file__).with_name("replug.sh").read_text(encoding="utf-8")


ACTIONS: Registry = {
    "network.define": Action(define, StepClass.CONVERGENT),
    "network.restart": Action(restart, StepClass.CONVERGENT),
    "network.update": Action(update, StepClass.CONVERGENT),
    "network.remove": Action(remove, StepClass.CONVERGENT),
}

"""Freezing a guest's file systems for a moment, with a timer on the host that thaws them if nobody else does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from novafleet.capability.snapshot.look import OFF, script
from novafleet.capability.snapshot.plan import CRASH, FS, LIVE, OFFLINE
from novafleet.capability.snapshot.prepare import Prepared, prepare
from novafleet.errors import CommandError, HypervisorError, SnapshotError
from novafleet.model.command import Command
from novafleet.model.facts import Domain
from novafleet.ports import ActionContext, Json, Outcome

SECONDS = 30.0
"""How long a guest may stay frozen before its host thaws it."""
ACTIVE = 'systemctl -q is-active "$1.timer" && echo armed || true'
DISARM = 'systemctl stop "$1.timer" 2>/dev/null || true'


@dataclass(frozen=True, slots=True)
class Frozen:
    """``mode`` is what the snapshot will be; ``count`` file systems frozen at ``since`` (the loop's clock)."""

    mode: str
    why: str = ""
    count: int = 0
    since: float = 0.0
    domain: Domain | None = None


@dataclass(slots=True)
class Freezer:
    """Remembers for whom this run prepared a snapshot and whom it froze, and thaws them."""

    seconds: float = SECONDS
    frozen: dict[str, Frozen] = field(default_factory=dict)
    prepared: dict[str, Prepared] = field(default_factory=dict)

    async def ready(self, ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
        """Prepare the snapshot of ``args["label"]``, then freeze it. Raises what either raises."""
        self.prepared[args["label"]] = await prepare(ctx, args)
        return await self.freeze(ctx, args)

    async def freeze(self, ctx: ActionContext, args: Mapping[str, Json]) -> Outcome:
        """Freeze ``args["domain"]`` if ``args["mode"]`` is fs and it runs. Raises SnapshotError NF-SNAP-005 when
        ``args["require"]`` demands more than can be had."""
        domain = await ctx.hypervisor.domain(args["domain"])
        made = await self._attempt(ctx, domain, args["mode"])
        self.frozen[args["label"]] = made
        if args["require"] and args["require"] != made.mode and made.mode != OFFLINE:
            await self.thaw(ctx, args["label"])
            raise SnapshotError(
                f"{domain.name} cannot have a snapshot of mode {args['require']}",
                code="NF-SNAP-005",
                where=ctx.host.name,
                cause=made.why,
                hints=("start qemu-guest-agent in the guest, or take what can be had: leave --require out",),
            )
        if made.why:
            ctx.progress(f"{made.mode} instead of {args['mode']}: {made.why}")
        return {"mode": made.mode, "why": made.why, "frozen": made.count}

    async def _attempt(self, ctx: ActionContext, domain: Domain, mode: str) -> Frozen:
        if domain.state in OFF:
            return Frozen(OFFLINE, domain=domain)
        if mode != FS:
            return Frozen(LIVE if mode == LIVE else CRASH, domain=domain)
        if domain.state != "running":
            return Frozen(CRASH, f"the guest is {domain.state}", domain=domain)
        try:
            await self._arm(ctx, domain)
            count = await ctx.hypervisor.freeze(domain.name)
        except CommandError as error:
            return Frozen(CRASH, f"no timer on the host would thaw it: {error.stderr.strip() or error.what}")
        except HypervisorError as error:
            await self._disarm(ctx, domain)
            return Frozen(CRASH, error.what.rpartition(": ")[2] or error.what)
        return Frozen(FS, "", count, asyncio.get_running_loop().time(), domain)

    async def _arm(self, ctx: ActionContext, domain: Domain) -> None:
        """A guest that an earlier run left frozen is thawed first: its agent would refuse to freeze again."""
        unit = unit_of(domain)
        left = await ctx.session.run(Command.script(ACTIVE, unit, become=True))
        if left.text.strip():
            await ctx.hypervisor.thaw(domain.name)
        words = (unit, f"{math.ceil(self.seconds)}s", domain.uuid)
        await ctx.session.run(Command.script(script("arm.sh"), *words, become=True, mutates=True))

    async def _disarm(self, ctx: ActionContext, domain: Domain) -> None:
        await ctx.session.run(Command.script(DISARM, unit_of(domain), become=True))

    def of(self, label: str) -> Frozen:
        """How a VM was frozen."""
        return self.frozen.get(label, Frozen(CRASH))

    async def thaw(self, ctx: ActionContext, label: str) -> Frozen:
        """Thaw a VM if this run froze it; a repetition does nothing. ``mode`` of the answer is crash when it did not
        stay frozen until now. Raises HypervisorError when the agent does not answer: the host's timer will thaw it."""
        held = self.frozen.pop(label, None)
        if held is None or held.mode != FS or held.domain is None:
            return held or Frozen(CRASH)
        thawed = await ctx.hypervisor.thaw(held.domain.name)
        await self._disarm(ctx, held.domain)
        if thawed < held.count:
            return Frozen(CRASH, f"the guest did not stay frozen: {self.seconds:g} s were not enough")
        return held


def unit_of(domain: Domain) -> str:
    """The timer of a domain; a backup uses the same name, so either finds what the other left."""
    return f"nf-thaw-{domain.uuid}"

"""One VM's way from host to host: prepare, copy (mode by mode down the ladder), then what both hosts show decides
whether it goes on (verify, commit) or back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from novafleet.app.context import Reached, StepContext, silent
from novafleet.app.migrategates import GIVEN_UP, prove
from novafleet.capability.migration import note
from novafleet.capability.migration.cold import Copied, copy_cold
from novafleet.capability.migration.commit import commit
from novafleet.capability.migration.downtime import Watcher
from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.follow import name_of
from novafleet.capability.migration.gates import BOOTING
from novafleet.capability.migration.live import migrate_live, must_hold
from novafleet.capability.migration.power import go_on, power_off
from novafleet.capability.migration.prepare import prepare
from novafleet.capability.migration.rollback import rollback
from novafleet.capability.migration.route import Route, open_route
from novafleet.capability.migration.sides import Place, place_of
from novafleet.capability.migration.survey import Surveys
from novafleet.capability.migration.warm import copy_warm
from novafleet.errors import Location, MigrationError, NovaFleetError, Retry
from novafleet.model.encode import encode
from novafleet.model.environment import Environment
from novafleet.model.facts import HostFacts
from novafleet.model.migration import GateSeen, Mode, Move, Outcome, Path, Phase
from novafleet.model.plan import Step, StepClass
from novafleet.model.run import Record
from novafleet.plan.moving import Moving
from novafleet.ports import Action, ActionContext, Clock, Journal, Json, Registry
from novafleet.ports import Outcome as Told
from novafleet.together import together

NO_TUNNEL = "NF-MIG-103"
NOTE = "note"
"""Kind of the journal's records of a migration's phases; the first of a VM has its whole ``Move``."""
PATIENCE = 15.0
"""Seconds libvirt gets to clear up after a migration that broke off."""
STOPPING = 60.0
"""Seconds a guest that goes back has to shut down in, where its disks are shared."""
CONTROLLER = "controller"
"""Who measured the downtime of a guest that was stopped and started."""


@dataclass(slots=True)
class Trip:
    """One VM under way. ``undo`` seconds its disks stay in quarantine; ``watchers`` are hosts that may ask the guest
    how long it is silent. What is known when it has ended is in ``outcome``."""

    move: Move
    source: Reached
    destination: Reached
    journal: Journal
    clock: Clock
    run_id: str
    undo: float
    watchers: Sequence[Watcher] = ()
    surveys: Surveys = field(default_factory=Surveys)
    tried: list[Mapping[str, Any]] = field(default_factory=list)
    mode: Mode = Mode.AUTO
    downtimes: Mapping[str, float] = field(default_factory=dict)
    began: float = 0.0
    undo_until: float = 0.0
    verified: bool = False
    gates: Sequence[GateSeen] = ()
    _known: bool = False
    _held: bool = False
    """Do the guest's CPUs wait for us on the destination?"""

    @property
    def label(self) -> str:
        """``HOST/DOMAIN`` as it was."""
        return f"{self.move.source}/{self.move.domain}"

    @property
    def path(self) -> Path:
        """What carries the bytes: from host to host a stopped guest's go by tunnel only, a warm one's never."""
        if self.mode is Mode.WARM or (self.mode is Mode.COLD and self.move.path is not Path.TUNNEL):
            return Path.RELAY
        return self.move.path

    @property
    def outcome(self) -> Outcome:
        """What is told of it."""
        move = self.move
        known = (move.job, move.vm, move.domain, move.source, move.destination, self.mode, self.path)
        total = (self.clock.monotonic() - self.began) * 1000
        longest = max(self.downtimes.values(), default=-1.0)
        return Outcome(
            *known,
            round(total, 1),
            longest,
            self.downtimes,
            self.verified,
            self.undo_until,
            tuple(self.tried),
            tuple(self.gates),
        )

    def there(self) -> list[Step]:
        """The way there, which may be left."""
        return [self._step("prepare"), self._step("copy", "prepare", once=True)]

    def onward(self) -> list[Step]:
        """The rest of it, once the destination has the VM."""
        return [self._step("verify"), self._step("commit", "verify")]

    def back(self) -> list[Step]:
        """The way back, as long as the source has it."""
        return [self._step("rollback")]

    def registry(self) -> Registry:
        """What the steps do."""
        once, again = StepClass.ONCE, StepClass.CONVERGENT
        return {
            "migrate.prepare": Action(self._prepare, again),
            "migrate.copy": Action(self._copy, once),
            "migrate.verify": Action(self._verify, again),
            "migrate.commit": Action(self._commit, again),
            "migrate.rollback": Action(self._rollback, again),
        }

    def _step(self, verb: str, after: str = "", *, once: bool = False) -> Step:
        return Step(
            id=f"{self.label}/{verb}",
            action=f"migrate.{verb}",
            resource=self.label,
            host=self.move.source,
            step_class=StepClass.ONCE if once else StepClass.CONVERGENT,
            args={"job": self.move.job, "domain": self.move.domain, "destination": self.move.destination},
            after=(f"{self.label}/{after}",) if after else (),
            timeout=0.0,
            label=verb,
        )

    def ends(self, ctx: ActionContext | None = None, verb: str = "") -> Ends:
        """Both hosts, for the capability."""

        async def write(phase: Phase, values: Mapping[str, Json]) -> None:
            await self._note(verb, phase, values)

        def tell(text: str, done: int, total: int) -> None:
            if ctx is not None:
                ctx.progress(text, done, total)

        return Ends(self.source, self.destination, write, tell)

    def context(self, verb: str) -> StepContext:
        """The source, for what is done outside a step."""
        facts = HostFacts(self.move.source, self.clock.now())
        nothing = Environment("", Location(""))
        node = f"{self.label}/{verb}"
        return StepContext(self.source, nothing, facts, self.run_id, node, silent, self.clock.now)

    async def _note(self, verb: str, phase: Phase, values: Mapping[str, Json]) -> None:
        """The journal first; then the domain itself, so that another controller knows as much."""
        first = {} if self._known else {"move": encode(self.move)}
        now = {"phase": phase.value, "job": self.move.job, "mode": self.mode.value, "held": self._held}
        payload = {**now, **first, **values}
        record = Record(self.run_id, f"{self.label}/{verb}", 1, NOTE, 0, self.clock.now(), payload)
        await self.journal.append([record])
        self._known = True
        moving = Moving(
            self.move.job,
            phase,
            self.mode,
            self.move.source,
            self.move.destination,
            self.run_id,
            self.move.running,
            self.clock.now(),
            self._held,
        )
        ends = (self.source, self.destination)
        await together(*(note.write(end.hypervisor, self.move.domain, moving) for end in ends))

    async def _prepare(self, ctx: ActionContext, _args: Mapping[str, Json]) -> Told:
        self.began = self.clock.monotonic()
        self.mode = self.move.ladder[0]
        ends = self.ends(ctx, "prepare")
        await prepare(ends, self.move)
        return {"job": self.move.job, "destination": self.move.destination}

    async def _copy(self, ctx: ActionContext, _args: Mapping[str, Json]) -> Told:
        """Down the ladder. A mode that failed leaves the source as it was before the next is tried."""
        ends, ladder = self.ends(ctx, "copy"), self.move.ladder
        for number, self.mode in enumerate(ladder):
            try:
                await self._by(ends)
                break
            except NovaFleetError as error:
                self.tried.append({"mode": self.mode.value, "why": str(error), "code": error.code})
                rest = ladder[number + 1 :]
                if not rest or (await place_of(ends, self.move, patience=PATIENCE)).where is not Place.SOURCE:
                    raise
                ctx.progress(f"{self.mode.value} did not work ({error.what}); {rest[0].value} is tried")
                await self._undone(ends)
                await prepare(ends, replace(self.move, ladder=rest))
        return {"mode": self.mode.value, "downtimes": dict(self.downtimes), "tried": list(self.tried)}

    async def _by(self, ends: Ends) -> None:
        self._held = False
        await ends.note(Phase.COPYING, {})
        if self.mode in (Mode.LIVE, Mode.POSTCOPY):
            await self._live(ends)
            return
        copied = await (copy_warm(ends, self.move) if self.mode is Mode.WARM else self._cold(ends))
        self.downtimes = {CONTROLLER: copied.downtime_ms} if copied.downtime_ms >= 0 else {}

    async def _cold(self, ends: Ends) -> Copied:
        """From host to host by tunnel, which is there before the guest is stopped; else through the controller."""
        if self.path is not Path.RELAY:
            try:
                async with self._route(self.path, ends) as route:
                    return await copy_cold(ends, self.move, route)
            except MigrationError as error:
                self._to_relay(error)
        return await copy_cold(ends, self.move)

    @asynccontextmanager
    async def _route(self, path: Path, ends: Ends) -> AsyncIterator[Route]:
        known = await self.surveys.of(ends.source, ends.destination)
        async with open_route(path, ends.source, ends.destination, self.move.job, known) as route:
            yield route

    def _to_relay(self, error: MigrationError) -> None:
        """Raise the error, unless it is a tunnel that nobody asked for and that does not come up."""
        if error.code != NO_TUNNEL or self.move.wanted.path is not Path.AUTO:
            raise error
        self.tried.append({"mode": self.mode.value, "path": self.move.path.value, "why": str(error)})
        self.move = replace(self.move, path=Path.RELAY)

    async def _live(self, ends: Ends) -> None:
        """By the path of the dossier; when it chose a tunnel that does not come up, through the controller."""
        try:
            await self._over(ends)
        except MigrationError as error:
            self._to_relay(error)
            await self._over(ends)

    async def _over(self, ends: Ends) -> None:
        """libvirt refuses a domain with snapshots: it forgets them first; their XML is in the move."""
        move = self.move
        async with self._route(move.path, ends) as route:
            self._held = await must_hold(ends.source.hypervisor, move, self.mode)
            await ends.note(Phase.SWITCHING, {"path": move.path.value, "survives": route.survives_controller})
            for xml in reversed(move.snapshots):
                await ends.source.hypervisor.delete_snapshot(move.domain, name_of(xml), metadata_only=True)
            how = (ends, move, route, self.mode)
            moved = await migrate_live(*how, hold=self._held, seconds=self._left(), watchers=self.watchers)
        self.downtimes = moved.downtimes
        await ends.source.hypervisor.set_domain_autostart(move.domain, False)
        await ends.note(Phase.SWITCHED, {"downtimes": dict(moved.downtimes), "probe": moved.probe})

    def _left(self) -> float:
        """Seconds of the deadline that are left, 0 for no deadline."""
        if not self.move.wanted.deadline:
            return 0.0
        return max(1.0, self.move.wanted.deadline - (self.clock.monotonic() - self.began))

    async def _verify(self, ctx: ActionContext, _args: Mapping[str, Json]) -> Told:
        seen = await place_of(self.ends(ctx, "verify"), self.move, patience=PATIENCE)
        if seen.where is not Place.DESTINATION:
            raise unclear(self.move, seen.why)
        if self._held:
            await self.destination.hypervisor.resume_domain(self.move.domain)
        self.gates = await self._proven(ctx)
        self.verified = True
        await self._note("verify", Phase.VERIFIED, {"gates": encode(self.gates)})
        return {"verified": True, "gates": encode(self.gates)}

    async def _proven(self, ctx: ActionContext) -> Sequence[GateSeen]:
        """Its gates. Of a VM that was booted there the source has a whole copy: it goes back when they are not met."""
        gives_up = self.mode in BOOTING
        try:
            return await prove(cast("StepContext", ctx), self.destination, self.move, self.mode, gives_up=gives_up)
        except MigrationError as error:
            if error.code == GIVEN_UP:
                await self._give_up(ctx)
            raise

    async def _give_up(self, ctx: ActionContext) -> None:
        """From here on what the destination has is of no account. What both hosts write to is left in order."""
        ends = self.ends(ctx, "verify")
        await ends.note(Phase.RETURNING, {})
        if self.move.shares:
            with suppress(MigrationError):  # then it is switched off
                await power_off(replace(ends, source=ends.destination), self.move, STOPPING)

    async def _commit(self, ctx: ActionContext, _args: Mapping[str, Json]) -> Told:
        kept = await commit(self.ends(ctx, "commit"), self.move, self.mode, ttl=self.undo)
        self.undo_until = kept.until
        return dict(encode(self.outcome))

    async def _rollback(self, ctx: ActionContext, _args: Mapping[str, Json]) -> Told:
        await self._undone(self.ends(ctx, "rollback"))
        return {"rolled_back": True}

    async def _undone(self, ends: Ends) -> None:
        """As before on the source. A guest libvirt left paused when its migration broke off goes on."""
        await rollback(ends, self.move)
        await go_on(ends.source, self.move)


def unclear(move: Move, why: str) -> MigrationError:
    """Nobody may start anything now."""
    return MigrationError(
        f"where {move.domain} runs cannot be told; nothing was started or removed",
        code="NF-MIG-203",
        where=f"{move.source} -> {move.destination}",
        cause=why,
        hints=("novafleet migrate recover --explain",),
        retry=Retry.LATER,
    )

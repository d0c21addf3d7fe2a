"""``vm start|stop|restart``: journalled steps on each VM, whoever made it, under its lease."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from novafleet.app.party import Confirm, Done, Party, Selected, Watch, carry_out, leased, party, results_of, step
from novafleet.app.vmselect import Chosen
from novafleet.app.wiring import World
from novafleet.capability.vm.owned import RUNNING, refuse_second_copy, refuse_unfinished_move
from novafleet.capability.vm.power import REGISTRY
from novafleet.errors import NovaFleetError
from novafleet.execute.gather import gather
from novafleet.model.facts import FleetFacts
from novafleet.model.plan import Step
from novafleet.observe.registry import collectors


class Power(StrEnum):
    """What becomes of a VM; a restart ends its QEMU, so that a changed definition counts."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"


async def switch(asked: Selected, power: Power, watch: Watch, confirm: Confirm, *, grace: float = 0.0) -> Done:
    """Start, stop or restart every VM meant: a guest has ``grace`` seconds to power itself off, then its plug is
    pulled. What a VM is already is left alone.

    A VM that fails does not raise: see ``Done``. Raises what selecting raises.
    """
    async with party(asked) as crew:
        began = crew.world.clock.monotonic()
        refused = await _refused(crew, power)
        meant = [each for each in crew.chosen if each.label not in refused]
        lines = [f"{each.label} ({each.domain.state}): {power}" for each in meant]
        if power is not Power.START and meant and not confirm(lines):
            return Done(power, "", (), declined=True)
        async with leased(crew) as held:
            steps = [each for chosen in meant for each in _steps(chosen, power, grace)]
            results, cancelled = await carry_out(crew, held, f"vm {power}", steps, REGISTRY, watch)
        rows = results_of(crew, results, refused)
        return Done(power, crew.run_id, rows, crew.world.clock.monotonic() - began, cancelled)


def _steps(chosen: Chosen, power: Power, grace: float) -> Iterator[Step]:
    if power is not Power.START:
        yield step(chosen, "vm.stop", grace=grace)
    if power is not Power.STOP:
        yield step(chosen, "vm.start", ["stop"] if power is Power.RESTART else [])


async def _refused(crew: Party, power: Power) -> dict[str, NovaFleetError]:
    """VMs that must stay as they are, by label. One that is to run is looked for on every other host: it may have been
    moved by hand."""
    waking = [each for each in crew.chosen if power is not Power.STOP and each.domain.state not in RUNNING]
    facts = await _everywhere(crew.world) if waking else FleetFacts()
    refused: dict[str, NovaFleetError] = {}
    for each in crew.chosen:
        try:
            refuse_unfinished_move(each.domain, each.host.name)
            if each in waking:
                refuse_second_copy(each.domain, each.host.name, facts)
        except NovaFleetError as error:
            refused[each.label] = error
    return refused


async def _everywhere(world: World) -> FleetFacts:
    return await gather(world.sessions, list(world.fleet.hosts.values()), collectors(("libvirt",)), world.clock)

"""What every verb of ``snapshot`` needs beside ``party``: how VMs and stacks stand, and that nobody stays frozen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from novafleet.app.party import Leased, Party, Selected, context_of, party
from novafleet.app.vmselect import GLOB, Chosen
from novafleet.capability.snapshot import xml
from novafleet.capability.snapshot.freeze import Freezer
from novafleet.capability.snapshot.look import Survey, observe
from novafleet.capability.snapshot.volumes import Shelf, shelves
from novafleet.errors import NovaFleetError

log = logging.getLogger(__name__)

LOOKS = 8
"""VMs looked at together."""


@asynccontextmanager
async def crew_of(asked: Selected) -> AsyncIterator[Party]:
    """The party, without the VMs that keep nothing on a disk unless they were named or nobody else is meant: there is
    nothing of them to keep or to go back to. Raises as ``party``."""
    async with party(asked) as crew:
        named = not asked.environment and not any(GLOB & set(each) for each in asked.patterns)
        kept = tuple(each for each in crew.chosen if not each.domain.xml or xml.disks(xml.parse(each.domain.xml)))
        if named or not (kept or crew.stacks):
            yield crew
        else:
            left = tuple(each.label for each in crew.chosen if each not in kept)
            yield replace(crew, chosen=kept, left_out=left)


async def surveys(party: Party) -> tuple[Mapping[str, Survey], Mapping[str, NovaFleetError]]:
    """How each VM stands, by label, and why others could not be looked at."""
    seen: dict[str, Survey] = {}
    failed: dict[str, NovaFleetError] = {}
    slots = asyncio.Semaphore(LOOKS)

    async def one(chosen: Chosen) -> None:
        try:
            host = party.reached.get(chosen.host.name)
            if host is None:
                raise party.failed[chosen.host.name]
            async with slots:
                seen[chosen.label] = await observe(host.session, host.hypervisor, chosen.domain.name)
        except NovaFleetError as error:
            failed[chosen.label] = error.at(chosen.host.name)

    async with asyncio.TaskGroup() as group:
        for each in party.chosen:
            group.create_task(one(each))
    return seen, failed


async def shelves_of(party: Party) -> tuple[Mapping[str, Shelf], Mapping[str, NovaFleetError]]:
    """What is kept of each stack's volumes, by label, and why others could not be looked at."""
    seen: dict[str, Shelf] = {}
    failed: dict[str, NovaFleetError] = {}
    for each in party.stacks:
        try:
            if each.host.name in party.failed:
                raise party.failed[each.host.name]
            project = each.fact.project
            session = party.reached[each.host.name].session
            seen[each.label] = (await shelves(session, [project]))[project]
        except NovaFleetError as error:
            failed[each.label] = error.at(each.host.name)
    return seen, failed


async def thaw(party: Party, held: Leased, freezer: Freezer) -> None:
    """Whoever is frozen still: its own step never came."""
    for label in list(freezer.frozen):
        try:
            await freezer.thaw(context_of(party, held, label, f"{label}/thaw", lambda _event: None), label)
        except NovaFleetError as error:
            log.warning("%s is thawed by its host: %s", label, error)

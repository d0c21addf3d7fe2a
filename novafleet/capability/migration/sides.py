"""Which host has the VM, judged by nothing but what both show now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from novafleet.capability.migration.ends import End, Ends
from novafleet.errors import NotFoundError, NovaFleetError
from novafleet.model.facts import DomainState
from novafleet.model.migration import Move, Progress

POLL = 0.5
OFF = frozenset(("shutoff", "crashed"))
SPLIT = frozenset(("postcopy", "postcopy failed"))
"""Reasons of a guest whose memory is on both hosts."""
HALF_WAY = SPLIT | {"migration", "starting up"}
"""Reasons of a paused guest whose memory is not (or not only) here."""


class Place(StrEnum):
    """Where the VM is."""

    SOURCE = "source"
    DESTINATION = "destination"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Sides:
    """The verdict, and what it rests on in words."""

    where: Place
    why: str


async def place_of(ends: Ends, move: Move, *, patience: float = 0.0) -> Sides:
    """Look at both, again for ``patience`` seconds while it is unclear: libvirt needs a moment to clear up after a
    migration that broke off. A host that does not answer makes it unclear."""
    clock = asyncio.get_running_loop().time
    until = clock() + patience
    seen = await _look(ends, move)
    while seen.where is Place.UNCLEAR and clock() < until:
        await asyncio.sleep(POLL)
        seen = await _look(ends, move)
    return seen


async def _look(ends: Ends, move: Move) -> Sides:
    try:
        here, there = await asyncio.gather(_domain(ends.source, move), _domain(ends.destination, move))
        job = await ends.source.hypervisor.migration(move.domain) if here is not None else Progress()
    except NovaFleetError as error:
        return Sides(Place.UNCLEAR, str(error))
    why = f"on {ends.source.host.name} it is {_words(here)}, on {ends.destination.host.name} {_words(there)}"
    if job.kind in ("bounded", "unbounded"):
        return Sides(Place.UNCLEAR, f"{why}, and its migration is under way")
    return Sides(judge(here, there, running=move.running), why)


async def _domain(end: End, move: Move) -> DomainState | None:
    """The move's own domain; another that only has its name is none."""
    try:
        found = await end.hypervisor.domain_state(move.domain)
    except NotFoundError:
        return None
    return found if found.uuid == move.uuid else None


def judge(here: DomainState | None, there: DomainState | None, *, running: bool) -> Place:
    """Pure, when no migration is under way. ``running``: it ran before. A guest that runs is where it runs; two that
    run are nobody's to decide; one that is paused half-way is on neither side for sure, nor is one that runs there
    on memory the source has lost; one that left by a live migration is not to be started again."""
    lives_here, lives_there = _lives(here), _lives(there)
    runs_here = here is not None and here.state == "running" and here.reason not in HALF_WAY
    if runs_here and (_half_way(there) or _held(there)):
        return Place.SOURCE  # what came is not whole and nobody finishes it, or it waited for a word that never came
    if _half_way(here) or _half_way(there):
        alone = there is None and here is not None and here.reason == "migration"
        return Place.SOURCE if alone else Place.UNCLEAR
    if (lives_here and lives_there) or _half_lost(here, there) or (_held(there) and _may_have_run(here)):
        return Place.UNCLEAR
    if lives_there:
        return Place.DESTINATION
    if lives_here:
        return Place.SOURCE
    if not running and there is not None and there.persistent:
        return Place.DESTINATION
    return Place.SOURCE if here is not None and here.reason != "migrated" else Place.UNCLEAR


def _lives(domain: DomainState | None) -> bool:
    return domain is not None and domain.state not in OFF


def _half_way(domain: DomainState | None) -> bool:
    return domain is not None and domain.state == "paused" and domain.reason in HALF_WAY


def _held(domain: DomainState | None) -> bool:
    """So libvirt says of one that waits for our word (VIR_MIGRATE_PAUSED)."""
    return domain is not None and (domain.state, domain.reason) == ("paused", "user")


def _may_have_run(domain: DomainState | None) -> bool:
    """On the source, after what waits on the destination came there: it did not see it leave."""
    return domain is not None and domain.reason != "migrated"


def _half_lost(here: DomainState | None, there: DomainState | None) -> bool:
    """Does it run on memory that nobody can bring any more?"""
    return there is not None and there.reason in SPLIT and here is not None and here.reason != "migrated"


def _words(domain: DomainState | None) -> str:
    return "not there" if domain is None else f"{domain.state} ({domain.reason})"

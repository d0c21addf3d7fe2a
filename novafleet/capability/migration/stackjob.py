"""A stack's migration as its destination remembers it, and what both hosts show of it now."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.manifest import FOLDER, read_manifest
from novafleet.capability.migration.recover import Facts, Seen
from novafleet.capability.migration.stack import StackMove, containers_up
from novafleet.capability.migration.written import write
from novafleet.model.command import Command
from novafleet.model.encode import decode, encode
from novafleet.model.migration import Mode, Phase

RECORD = "stack.json"
"""Beside the manifest, and gone with it: while it is there the migration has not ended."""
READ = 'for record in "$1"/*/"$2"; do [ ! -f "$record" ] || { cat -- "$record" && echo; }; done'
THERE = '[ ! -e "$1" ] || echo there'


@dataclass(frozen=True, slots=True)
class StackJob:
    """One migration, how far it was and when that was written down (seconds since the epoch)."""

    move: StackMove
    phase: Phase
    at: float


async def keep_stack(destination: End, job: StackJob) -> None:
    """Write it down, over what was written before."""
    await write(destination, f"{FOLDER}/{job.move.job}/{RECORD}", json.dumps(encode(job)).encode())


async def kept_stacks(destination: End) -> tuple[StackJob, ...]:
    """All of one destination. What nobody can understand is left out, and alone."""
    said = (await destination.session.run(Command.script(READ, FOLDER, RECORD, become=True))).text
    found = [_read(line) for line in said.splitlines() if line.strip()]
    return tuple(job for job in found if job is not None and job.move.destination == destination.host.name)


def _read(line: str) -> StackJob | None:
    try:
        return decode(StackJob, json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


async def look_stack(job: StackJob, source: End | None, destination: End | None) -> Facts:
    """What both show, in the words for VMs: containers that are up run it; what could be started is off."""
    here, there = await _source(job.move, source), await _destination(job.move, destination)
    return Facts(job.phase, Mode.WARM, job.move.up > 0, here, there)


async def _source(move: StackMove, end: End | None) -> Seen:
    if end is None:
        return Seen(reachable=False)
    up, count = await containers_up(end, move.engine, move.label)
    if up or await _there(end, move.root):
        return Seen(state="running" if up else "shutoff", reason=f"{up} of {count} containers up")
    return Seen()


async def _destination(move: StackMove, end: End | None) -> Seen:
    """Less than what ran on the source is not it."""
    if end is None:
        return Seen(reachable=False)
    up, count = await containers_up(end, move.runs_by, move.label)
    if up and up >= move.up:
        return Seen(state="running", reason=f"{up} of {count} containers up")
    if count or await _there(end, move.root) or await read_manifest(end, move.job) is not None:
        return Seen(state="shutoff", reason=f"{up} of {move.up} containers up")
    return Seen()


async def _there(end: End, path: str) -> bool:
    return bool((await end.session.run(Command.script(THERE, path, become=True))).text.strip())


def at_phase(job: StackJob, phase: Phase, at: float) -> StackJob:
    """The same, further on."""
    return replace(job, phase=phase, at=at)

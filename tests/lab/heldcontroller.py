"""The command line, held at a moment of a migration: ``python -m tests.lab.heldcontroller MOMENT FOLDER WORDS...``.

All it does is what ``novafleet`` does; at the moment it writes FOLDER/reached and goes no further until FOLDER/go is
there, its connections and what they carry alive. FOLDER/job has the name of the migration.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from novafleet.app.migratetrip import Trip
from novafleet.capability.migration import across, commit, downtime, live, prepare, relay, rounds
from novafleet.capability.migration.through import ThroughController
from novafleet.cli.main import app
from novafleet.hypervisor.hypervisor import LibvirtHypervisor
from novafleet.model.migration import Phase

LOOK = 0.02
SOME = 20
"""Pieces of a stream."""


class Hold:
    """The moment, which comes once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reached = False
        self.phase: Phase | None = None
        """What was written down last."""

    def reach(self) -> None:
        """Tell of it; somebody else waits."""
        self.reached = True
        (self._folder / "reached").touch()

    async def wait(self) -> None:
        """Until the test has done what it came for."""
        while not (self._folder / "go").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(LOOK)

    async def __call__(self) -> None:
        if not self.reached:
            self.reach()
            await self.wait()

    def note(self, job: str, phase: Phase) -> None:
        """What the migration is called, and how far it is."""
        (self._folder / "job").write_text(job)
        self.phase = phase


def before(owner: Any, name: str, phase: Phase, nth: int = 1) -> Callable[[Hold], None]:
    """Held when it is called in a phase for the ``nth`` time."""

    def patch(hold: Hold) -> None:
        original, calls = getattr(owner, name), count(1)

        async def held(*words: Any, **named: Any) -> Any:
            if hold.phase is phase and next(calls) == nth:
                await hold()
            return await original(*words, **named)

        setattr(owner, name, held)

    return patch


def after(owner: Any, name: str) -> Callable[[Hold], None]:
    """Held when it has done its work."""

    def patch(hold: Hold) -> None:
        original = getattr(owner, name)

        async def held(*words: Any, **named: Any) -> Any:
            done = await original(*words, **named)
            await hold()
            return done

        setattr(owner, name, held)

    return patch


def noted(phase: Phase) -> Callable[[Hold], None]:
    """Held when a phase is written down everywhere, and nothing of it is done."""

    def patch(hold: Hold) -> None:
        original = Trip._note

        async def held(trip: Trip, verb: str, now: Phase, values: Mapping[str, Any]) -> None:
            await original(trip, verb, now, values)
            if now is phase:
                await hold()

        Trip._note = held  # type: ignore[method-assign]

    return patch


def memory(hold: Hold) -> None:
    """Held while the memory of the guest is under way; libvirt goes on."""
    original = live._Drive._decide

    async def held(drive: Any, now: Any) -> None:
        if now.iteration:
            await hold()
        await original(drive, now)

    live._Drive._decide = held  # type: ignore[method-assign]


class Stalled:
    """A channel whose bytes do not get through while the moment lasts."""

    def __init__(self, channel: Any, hold: Hold) -> None:
        self._channel, self._hold = channel, hold

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def write(self, data: bytes) -> None:
        """Later."""
        if self._hold.reached:
            await self._hold.wait()
        await self._channel.write(data)


def stalled(kind: str, *, daemon: bool) -> Callable[[Hold], None]:
    """Held when an event of ``kind`` came: from then on lanes of the relay are stuck, libvirt's or all others."""

    def patch(hold: Hold) -> None:
        hear, far = downtime._hear, relay._far

        async def hearing(events: Any, domain: str, seen: Callable[[Any], None]) -> None:
            def told(event: Any) -> None:
                if event.kind == kind and not hold.reached:
                    hold.reach()
                seen(event)

            await hear(events, domain, told)

        async def opened(destination: Any, lane: Any) -> Any:
            channel = await far(destination, lane)
            return Stalled(channel, hold) if lane.daemon is daemon else channel

        downtime._hear, relay._far = hearing, opened

    return patch


def early(_hold: Hold) -> None:
    """Post-copy begins in the first pass, as it does for a guest that is too busy for a second."""
    original = live._Drive._decide

    async def decide(drive: Any, now: Any) -> None:
        await original(drive, replace(now, iteration=2) if now.iteration else now)

    live._Drive._decide = decide  # type: ignore[method-assign]


Patch = Callable[[Hold], None]
MOMENTS: Mapping[str, tuple[Patch, ...]] = {
    "preparing": (before(prepare, "carry", Phase.PREPARING),),  # files are made, volumes are not
    "copying": (noted(Phase.COPYING),),
    "sending": (  # a stopped guest's disks, half-way
        before(ThroughController, "_wait", Phase.COPYING, SOME),
        before(across, "finished", Phase.COPYING),
    ),
    "round": (before(rounds, "pour", Phase.COPYING),),  # a running guest's disks, read by a backup job
    "memory": (memory,),
    "handover": (stalled("suspended", daemon=True),),  # stopped here, not started there: libvirts cannot talk
    "postcopy": (early, stalled("resumed", daemon=False)),  # runs there, with half of its memory here
    "defined": (before(LibvirtHypervisor, "start_domain", Phase.SWITCHING),),  # there, and nowhere started
    "switched": (noted(Phase.SWITCHED),),
    "verified": (noted(Phase.VERIFIED),),
    "committing": (after(commit, "put_away"),),  # the disks are in quarantine, the definition is not gone
}


def main(moment: str, folder: str, *words: str) -> None:
    """Run a command line that is held."""
    hold = Hold(Path(folder))
    original = Trip._note

    async def noting(trip: Trip, verb: str, now: Phase, values: Mapping[str, Any]) -> None:
        await original(trip, verb, now, values)
        hold.note(trip.move.job, now)

    Trip._note = noting  # type: ignore[method-assign]
    for patch in MOMENTS[moment]:
        patch(hold)
    app(list(words), prog_name="novafleet")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The command line, held at a moment of a stack's migration: ``python -m tests.lab.heldstack MOMENT FILE WORDS...``.

It does what ``novafleet`` does; at the moment it makes FILE, goes no further, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from novafleet.app import stacktrip
from novafleet.app.stacktrip import StackTrip
from novafleet.capability.migration import stack
from novafleet.cli.main import app

PHASES = ("preparing", "copying", "switching", "switched")
MOMENTS = (*PHASES, "copied", "stopped", "started", "put-away")


def hold_at(moment: str, reached: Path) -> None:
    """Patch what is held there."""

    def tell() -> None:
        reached.touch()

    async def hold() -> None:
        tell()
        await asyncio.Event().wait()

    if moment in PHASES:
        note = StackTrip._note

        async def noted(self: StackTrip, phase: Any, values: Any) -> None:
            await note(self, phase, values)
            if phase.value == moment:
                await hold()

        StackTrip._note = noted  # type: ignore[method-assign]
        return
    owner, name, wanted = {
        "copied": (stacktrip, "sync_stack", {"changes": False}),
        "stopped": (StackTrip, "_stop", {}),
        "started": (StackTrip, "_run", {"recreate": True}),
        "put-away": (stack, "put_away", {}),
    }[moment]
    original = getattr(owner, name)

    async def done(*words: Any, **named: Any) -> Any:
        result = await original(*words, **named)
        if wanted.items() <= named.items():
            await hold()
        return result

    setattr(owner, name, done)


if __name__ == "__main__":
    hold_at(sys.argv[1], Path(sys.argv[2]))
    app(sys.argv[3:])

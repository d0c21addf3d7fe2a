"""The whole move beside the manifest on its destination: another controller can put it right when ours is lost."""

from __future__ import annotations

import json
from dataclasses import replace

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.manifest import FOLDER
from novafleet.errors import NotFoundError
from novafleet.model.command import Command
from novafleet.model.encode import decode, encode
from novafleet.model.migration import Move

MAKE = 'umask 077; mkdir -p -- "$1"'


async def keep(destination: End, move: Move) -> None:
    """Write it down; it goes with the manifest."""
    folder = f"{FOLDER}/{move.job}"
    await destination.session.run(Command.script(MAKE, folder, become=True, mutates=True))
    text = json.dumps(encode(move)).encode()
    await destination.session.push(text, f"{folder}/move.json", mode=0o600, become=True)


async def kept(destination: End, job: str) -> Move | None:
    """The move of a job; None where none was kept, or nobody can understand it."""
    try:
        text = await destination.session.pull(f"{FOLDER}/{job}/move.json", become=True)
    except NotFoundError:
        return None
    try:
        return move_of(json.loads(text))
    except (ValueError, TypeError, KeyError):
        return None


def move_of(data: object) -> Move:
    """The move that ``encode`` made ``data`` of. Raises ValueError, TypeError or KeyError for anything else."""
    move = decode(Move, data)
    return replace(move, wanted=replace(move.wanted, consent=frozenset(move.wanted.consent)))

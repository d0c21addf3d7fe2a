"""The whole move beside the manifest on its destination: another controller can put it right when ours is lost."""

from __future__ import annotations

import json
from dataclasses import replace

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.manifest import FOLDER
from novafleet.capability.migration.written import write
from novafleet.errors import NotFoundError
from novafleet.model.encode import decode, encode
from novafleet.model.migration import Move


async def keep(destination: End, move: Move) -> None:
    """Write it down; it goes with the manifest."""
    await write(destination, f"{FOLDER}/{move.job}/move.json", json.dumps(encode(move)).encode())


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

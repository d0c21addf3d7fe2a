"""A look at what a bitmap calls unchanged: bitmaps have lied before, in QEMU and elsewhere, and nobody noticed."""

from __future__ import annotations

import asyncio
import random

from novafleet.ports import BlockSource

SAMPLES = 6
LENGTH = 64 << 10


async def missed(source: BlockSource, before: BlockSource, chance: random.Random) -> int | None:
    """Compare a few ranges that are not dirty with the last copy: where one differs, or None.

    A miss is proof; none is no proof, but a bitmap that lies is found out after some backups.
    """
    ends = min(source.size, before.size) // LENGTH
    places = [chance.randrange(ends) * LENGTH for _ in range(SAMPLES if ends else 0)]
    found = await asyncio.gather(*(_differs(source, before, place) for place in places))
    return next((place for place, differs in zip(places, found, strict=True) if differs), None)


async def _differs(source: BlockSource, before: BlockSource, place: int) -> bool:
    extents = await source.extents(place, LENGTH)
    if any(each.dirty for each in extents):
        return False
    was = await before.extents(place, LENGTH)
    if all(each.zero for each in (*extents, *was)):
        return False
    return await source.read(place, LENGTH) != await before.read(place, LENGTH)

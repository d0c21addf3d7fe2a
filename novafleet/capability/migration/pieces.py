"""Which pieces of a file have to be carried. Pure; offsets and lengths are bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from novafleet.errors import MigrationError

PIECE = 64 << 20
"""A piece ends where a multiple of this does: what is compared, and sent again, at once."""
GAP = 4 << 20
"""Holes shorter than this are carried along: packed they are nothing, and each piece costs a process on both hosts."""
BATCH = 512 << 20
"""Bytes sent in one go; meanwhile those before are compared."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of a file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A file: its size, and where it holds data. ``size`` -1: there is none."""

    size: int
    data: tuple[Piece, ...] = ()


def layouts(text: str, mark: str) -> tuple[str, tuple[Layout, ...]]:
    """What ``extents.sh`` says: the codec, and each file. Raises MigrationError NF-MIG-411."""
    codec, found = "none", []
    for answer in text.split(f"{mark} ")[1:]:
        head, _, rest = answer.partition("\n")
        word, _, value = head.partition(" ")
        if word == "codec":
            codec = value
        else:
            found.append(_layout(int(value), rest) if word == "file" and value.isdecimal() else Layout(-1))
    return codec, tuple(found)


def _layout(size: int, text: str) -> Layout:
    try:
        data = tuple(_data(json.loads(text), size))
    except (ValueError, TypeError, KeyError) as exc:
        raise MigrationError("the map of a file cannot be read", code="NF-MIG-411", cause=repr(exc)) from exc
    return Layout(size, data)


def _data(entries: Sequence[dict[str, object]], size: int) -> Iterator[Piece]:
    end = 0
    for entry in entries:
        start, length = entry["start"], entry["length"]
        if not isinstance(start, int) or not isinstance(length, int) or start < end or length < 0:
            raise ValueError(f"an extent of {length!r} bytes at {start!r} behind {end}")
        end = start + length
        if entry["data"] and start < size:
            yield Piece(start, min(length, size - start))  # qemu-img counts in sectors


def cut(*layouts: Layout) -> tuple[Piece, ...]:
    """What any of the files has data at, small gaps included, in pieces within the bounds of ``PIECE``."""
    return tuple(piece for run in _runs(layouts) for piece in _split(run))


def _runs(layouts: Iterable[Layout]) -> Iterator[Piece]:
    last: Piece | None = None
    for each in sorted((piece for layout in layouts for piece in layout.data), key=lambda piece: piece.offset):
        if last is not None and each.offset <= last.offset + last.length + GAP:
            end = max(last.offset + last.length, each.offset + each.length)
            last = Piece(last.offset, end - last.offset)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last


def _split(run: Piece) -> Iterator[Piece]:
    at, end = run.offset, run.offset + run.length
    while at < end:
        stop = min(end, at - at % PIECE + PIECE)
        yield Piece(at, stop - at)
        at = stop


def batches(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """The pieces in groups of about ``BATCH`` bytes."""
    batch: list[Piece] = []
    for piece in pieces:
        batch.append(piece)
        if total(batch) >= BATCH:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


def total(pieces: Iterable[Piece]) -> int:
    """Bytes."""
    return sum(piece.length for piece in pieces)


def listed(pieces: Iterable[Piece]) -> bytes:
    """As the scripts read them."""
    return "".join(f"{piece.offset} {piece.length}\n" for piece in pieces).encode()

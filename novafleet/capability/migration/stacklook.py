"""A stack and the host it is to go to, looked at before anything is decided: sizes, images, ports, room."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from novafleet.capability.migration.ends import End
from novafleet.capability.migration.manifest import FOLDER, IN_THE_WAY
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.stack import PAUSE, StackMove

TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class StackImage:
    """An image its containers were made of; ``present`` under that name on the destination."""

    name: str
    size: int
    present: bool


@dataclass(frozen=True, slots=True)
class StackSeen:
    """``sizes`` in bytes by volume, the bundle under ""; ``ports`` its containers publish on the source (``8080/tcp``),
    ``taken`` those of them somebody listens on at the destination; ``bound`` folders of the host they use beside the
    bundle; ``in_the_way`` what the destination has of that name; ``room`` free bytes by folder there."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    images: tuple[StackImage, ...] = ()
    ports: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    in_the_way: tuple[str, ...] = ()
    room: Mapping[str, int] = field(default_factory=dict)
    link_rate: float = 0.0


async def look_there(source: End, destination: End, move: StackMove) -> StackSeen:
    """One command on the source, two on the destination. Raises what their sessions raise."""
    paths = (move.root, *(each.path for each in move.volumes))
    said = await source.session.run(script("stack_look.sh", move.engine, move.label, *paths), timeout=TIMEOUT)
    rows = [line.split(" ", 1) for line in said.text.splitlines() if " " in line]
    sizes = [int(value) for word, value in rows if word == "size"]
    documents = [each for word, value in rows if word == "container" for each in _documents(value)]
    images = {name: int(size) for word, value in rows if word == "image" for size, _, name in [value.partition(" ")]}
    wanted = [name for name in images if PAUSE not in name]
    there = await destination.session.run(script("stack_room.sh", move.runs_by, *wanted), timeout=TIMEOUT)
    known = [line.split(" ", 2) for line in there.text.splitlines()]
    present = {row[1] for row in known if row[0] == "image"}
    ports = tuple(sorted({port for each in documents for port in _ports(each)}))
    listening = {row[1] for row in known if row[0] == "port"}
    return StackSeen(
        sizes=dict(zip(("", *(each.name for each in move.volumes)), sizes, strict=False)),
        images=tuple(StackImage(name, images[name], name in present) for name in wanted),
        ports=ports,
        taken=tuple(port for port in ports if port in listening),
        bound=tuple(sorted({path for each in documents for path in _bound(each, move.root)})),
        in_the_way=await _in_the_way(destination, move),
        room={row[2]: int(row[1]) for row in known if row[0] == "room" and len(row) == 3},
    )


def _documents(text: str) -> Iterator[Mapping[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return
    if isinstance(found, dict):
        yield found


def _ports(document: Mapping[str, Any]) -> Iterator[str]:
    """``8080/tcp`` of ``{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}``, as both engines have it."""
    for inner, places in (document.get("ports") or {}).items():
        for place in places or ():
            if str(place.get("HostPort", "")).isdecimal():
                yield f"{place['HostPort']}/{inner.rpartition('/')[2]}"


def _bound(document: Mapping[str, Any], root: str) -> Iterator[str]:
    for mount in document.get("mounts") or ():
        path = str(mount.get("Source", ""))
        if mount.get("Type") == "bind" and path != root and not path.startswith(f"{root}/"):
            yield path


async def _in_the_way(destination: End, move: StackMove) -> tuple[str, ...]:
    words = [word for each in move.volumes for word in (each.name, "")]
    asked = (f"{FOLDER}/{move.job}", move.runs_by, move.project, move.root, move.uuid, "\n".join(move.left), *words)
    done = await destination.session.run(script("stack_make.sh", "look", *asked), check=False, timeout=TIMEOUT)
    if done.status != IN_THE_WAY:
        return ()
    return tuple(line.removeprefix("there ") for line in done.text.splitlines() if line.startswith("there "))

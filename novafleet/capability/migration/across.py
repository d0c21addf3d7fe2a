"""Pieces of a file from host to host, over the migration's route: the source's ``qemu-img`` writes to a ``qemu-nbd`` of
the destination, and the controller sees none of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from novafleet.capability.migration.ends import Ends
from novafleet.capability.migration.pieces import listed
from novafleet.capability.migration.route import Route
from novafleet.capability.migration.scripts import script
from novafleet.capability.migration.through import Arrived, Load, Sender, ThroughController, finished, told
from novafleet.model.command import Command
from novafleet.model.migration import Move

EXPORT = "image"
SECTOR = 512
"""QEMU writes nothing smaller; a file's end may be."""


@dataclass(frozen=True, slots=True)
class Across:
    """``Sender`` over an open route whose disks' end is a socket or a loopback port."""

    disks_uri: str
    unit: str
    other: Sender
    """For what QEMU cannot write: the odd end of a file."""

    async def send(self, ends: Ends, load: Load, tell: Arrived) -> None:
        """See ``Sender``."""
        odd = [piece for piece in load.pieces if piece.offset % SECTOR or piece.length % SECTOR]
        even = [piece for piece in load.pieces if piece not in odd]
        if even:
            await self._send(ends, replace(load, pieces=even), tell)
        if odd:
            await self.other.send(ends, replace(load, pieces=odd), tell)

    async def _send(self, ends: Ends, load: Load, tell: Arrived) -> None:
        words = (self.unit, EXPORT, "raw", load.target.replace("$", "$$"), "", "write", *self._listen())
        await ends.destination.session.run(script("serve.sh", *words, mutates=True))
        try:
            file = json.dumps(
                {"driver": "host_device" if load.source.startswith("/dev/") else "file", "filename": load.source}
            )
            export = json.dumps({"driver": "nbd", "export": EXPORT, "server": self._server()})
            push = script("push.sh", file, export, "fresh" if load.packed.fresh else "over")
            async with ends.source.session.stream(push, stdin=told(listed(load.pieces))) as running:
                await finished(ends, load, running, tell)
        finally:
            stop = Command(("systemctl", "stop", f"{self.unit}.service"), become=True)
            await ends.destination.session.run(stop, check=False)

    def _listen(self) -> tuple[str, ...]:
        place = urlsplit(self.disks_uri)
        return (place.path,) if place.scheme == "unix" else (place.hostname or "", str(place.port))

    def _server(self) -> dict[str, str]:
        place = urlsplit(self.disks_uri)
        if place.scheme == "unix":
            return {"type": "unix", "path": place.path}
        return {"type": "inet", "host": place.hostname or "", "port": str(place.port)}


def sender(move: Move, route: Route | None) -> Sender:
    """The way for a move's files: over its route where that leads from host to host, else through the controller."""
    through = ThroughController(move.wanted.bandwidth)
    if route is None or not route.survives_controller or not route.disks_uri or move.wanted.bandwidth:
        return through
    return Across(route.disks_uri, f"nf-migrate-{move.job}-image", through)

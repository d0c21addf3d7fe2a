"""Exact numbers of bytes out of a channel, and what is wrong with them as errors."""

from __future__ import annotations

import struct

from novafleet.errors import BlockError, NovaFleetError, Retry
from novafleet.ports import Channel

PIECE = 1024 * 1024
"""The most to take from a channel at once; it hands over what it has, so a small message does not wait."""


class Wire:
    """One NBD connection. ``where`` says which export errors speak of."""

    def __init__(self, channel: Channel, where: str) -> None:
        self.where = where
        self._channel = channel
        self._piece = b""
        self._at = 0

    async def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes. Raises BlockError NF-NBD-001 when the other side is gone."""
        parts, missing = [], count
        while missing:
            if self._at == len(self._piece):
                self._piece, self._at = await self._receive(), 0
            taken = self._piece[self._at : self._at + missing]
            self._at += len(taken)
            missing -= len(taken)
            parts.append(taken)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def unpack(self, shape: struct.Struct) -> tuple[int, ...]:
        """The next numbers."""
        return shape.unpack(await self.exactly(shape.size))

    async def send(self, data: bytes) -> None:
        """A whole message. Raises BlockError NF-NBD-001 when the other side is gone."""
        try:
            await self._channel.write(data)
        except NovaFleetError as exc:
            raise self.lost(str(exc)) from exc

    async def close(self) -> None:
        """End the channel."""
        await self._channel.close()

    async def _receive(self) -> bytes:
        try:
            piece = await self._channel.read(PIECE)
        except NovaFleetError as exc:
            raise self.lost(str(exc)) from exc
        if not piece:
            raise self.lost("the other side ended the connection")
        return piece

    def lost(self, cause: str) -> BlockError:
        """The connection is gone."""
        return BlockError("the connection to a disk export was lost", where=self.where, cause=cause)

    def broken(self, cause: str) -> BlockError:
        """The other side does not speak NBD as it is written."""
        return BlockError(
            "the server of a disk export broke the NBD protocol",
            code="NF-NBD-002",
            where=self.where,
            cause=cause,
            retry=Retry.NEVER,
        )

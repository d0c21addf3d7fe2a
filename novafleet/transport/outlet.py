"""Bulk data as it leaves: what ``intake`` is for what arrives. asyncssh copies each byte nine times, and puts an empty
packet before each full one."""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novafleet.transport.intake import BEFORE, DATA, KNOWN

BLOCK, LEAST_PADDING = 16, 4
"""An AES-GCM packet without its length is a multiple of blocks, at least so many bytes of it padding (RFC 4253, 6)."""


class Outlet:
    """Stands before ``write`` of an open channel. What begins a write, and what finds no room in the window, goes to
    asyncssh: it renews keys when their time has come, and keeps what must wait."""

    def __init__(self, channel: Any) -> None:
        self._chan = channel
        self._conn = channel._conn
        self._usual = channel.write
        self._key = b""
        self._gcm: AESGCM | None = None

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Queue data."""
        most = self._chan._send_pktsize
        self._usual(data[:most], datatype)
        view = memoryview(data)[most:]
        while view and self._free():
            piece = view[: min(self._chan._send_window, most)]
            self._packet(piece)
            view = view[len(piece) :]
        if view:
            self._usual(bytes(view), datatype)

    def _free(self) -> bool:
        """May a packet of data leave now, and is it AES-GCM?"""
        chan, conn = self._chan, self._conn
        return (
            bool(chan._send_window)
            and not chan._send_buf
            and chan._send_state == "open"
            and conn._kex_complete
            and conn._compressor is None
            and type(conn._send_encryption).__name__ == "GCMEncryption"
        )

    def _packet(self, piece: memoryview) -> None:
        chan, conn = self._chan, self._conn
        cipher = conn._send_encryption._cipher
        if self._gcm is None or cipher._key != self._key:
            self._key, self._gcm = cipher._key, AESGCM(cipher._key)
        padding = LEAST_PADDING + -(BEFORE + len(piece) + LEAST_PADDING) % BLOCK
        size = BEFORE + len(piece) + padding
        length = size.to_bytes(4, "big")
        to, content = chan._send_chan.to_bytes(4, "big"), len(piece).to_bytes(4, "big")
        plain = b"".join((bytes((padding, DATA)), to, content, piece, os.urandom(padding)))
        sealed = self._gcm.encrypt(cipher._iv, plain, length)
        cipher._update_iv()
        conn._send(length + sealed)
        conn._send_seq = (conn._send_seq + 1) & 0xFFFFFFFF
        conn._rekey_bytes_sent += size
        chan._send_window -= len(piece)


def hasten(channel: Any, version: str) -> None:
    """Let an ``Outlet`` send what is written to this channel from now on. ``version`` is asyncssh's."""
    if version.startswith(KNOWN):
        channel.write = Outlet(channel).write

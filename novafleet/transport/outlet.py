"""Bulk data as it leaves: what ``intake`` is for what arrives. asyncssh copies each byte nine times, and puts an empty
packet before each full one."""

from __future__ import annotations

import os
import time
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novafleet.transport.intake import BEFORE, DATA, KNOWN

BLOCK, LEAST_PADDING = 16, 4
"""An AES-GCM packet without its length is a multiple of blocks, at least so many bytes of it padding (RFC 4253, 6)."""


class Outlet:
    """Empties an open channel's buffer, as far as the other side's window lets it. Keys whose time has come are renewed
    by asyncssh, which does the rest, too: it holds writers up, lets them go, and ends."""

    def __init__(self, channel: Any) -> None:
        self._chan = channel
        self._conn = channel._conn
        self._usual = channel._flush_send_buf
        self._key = b""
        self._gcm: AESGCM | None = None

    def flush(self) -> None:
        """Send what may be sent."""
        chan = self._chan
        while chan._send_buf and chan._send_window and self._free():
            content, kind = chan._send_buf[0]
            if kind is not None:
                break
            size = min(len(content), chan._send_window, chan._send_pktsize)
            with memoryview(content) as whole, whole[:size] as piece:
                self._packet(piece)
            del content[:size]
            if not content:
                del chan._send_buf[0]
            chan._send_window -= size
            chan._send_buf_len -= size
        self._usual()

    def _free(self) -> bool:
        """May a packet leave, and is it AES-GCM?"""
        conn = self._conn
        due = conn._rekey_bytes_sent >= conn._rekey_bytes
        due = due or bool(conn._rekey_seconds and time.monotonic() >= conn._rekey_time)
        ours = type(conn._send_encryption).__name__ == "GCMEncryption" and conn._compressor is None
        return ours and conn._kex_complete and not due

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


def hasten(channel: Any, version: str) -> None:
    """Let an ``Outlet`` send what is written to this channel from now on. ``version`` is asyncssh's."""
    if version.startswith(KNOWN):
        channel._flush_send_buf = Outlet(channel).flush

"""Bulk data as it arrives: each packet decrypted where it lies, its content copied once.

asyncssh cuts packets from the front of one ``bytes``, copies what is left each time, and passes each through some
thirty calls: half of the processor time of a backup. Here only what is plainly data for one of our channels is taken
out of the stream. Every other packet, and every one that is not as it should be, goes to asyncssh as it came.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from novafleet.transport.channel import Stream

WINDOW = 2 * 1024 * 1024
BULK_WINDOW = 16 * 1024 * 1024
BULK_PACKET = 128 * 1024
"""Bytes of a packet the server may send: what a packet costs is paid a quarter as often as with the usual 32 KiB."""
KNOWN = "2.24."
"""The asyncssh whose insides these are; with any other everything goes its usual way."""
DATA = 94
"""SSH_MSG_CHANNEL_DATA: its number, channel, length, content (RFC 4254, 5.2)."""
LENGTH, TAG = 4, 16
"""Bytes before an AES-GCM packet (how long it is, in the clear but authenticated) and behind it (RFC 5647, 7.3)."""
BEFORE = 10
"""Bytes before the content of ``DATA``: how much padding there is, and its other fields."""


class Intake:
    """Stands before ``data_received`` of a connection that is logged in (``asyncssh.SSHClientConnection``)."""

    def __init__(self, connection: Any) -> None:
        self._conn = connection
        self._usual = connection.data_received
        self._rest = b""
        self._key = b""
        self._gcm: AESGCM | None = None

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """What asyncio calls, or the connection to a jump host."""
        ours = self._ours()
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not ours:
            self._usual(data, datatype)
            return
        self._conn._reset_keepalive_timer()
        view = memoryview(data)
        while packet := self._first(view):
            view = view[len(packet) :]
            if self._bulk(packet):
                continue
            self._usual(bytes(packet))
            if not self._ours():
                if view:
                    self._usual(bytes(view))
                return
        self._rest = bytes(view)

    def _ours(self) -> bool:
        """Is asyncssh between two packets, and the cipher AES-GCM? The beginning of a packet that it holds is ours."""
        conn = self._conn
        encryption = conn._recv_encryption
        if type(encryption).__name__ != "GCMEncryption" or conn._decompressor is not None:
            return False
        if conn._recv_handler == conn._recv_packet:
            conn._inpbuf, conn._packet, conn._recv_handler = conn._packet + conn._inpbuf, b"", conn._recv_pkthdr
        if conn._recv_handler != conn._recv_pkthdr:
            return False
        if conn._inpbuf:
            self._rest, conn._inpbuf = conn._inpbuf, b""
        return True

    def _first(self, view: memoryview) -> memoryview:
        """A whole packet, or nothing. One that is too long is the last that asyncssh will look at."""
        if len(view) < LENGTH:
            return view[:0]
        size = int.from_bytes(view[:LENGTH], "big")
        whole = len(view) if size > self._conn._max_recv_pktlen else LENGTH + size + TAG
        return view[:whole] if whole <= len(view) else view[:0]

    def _bulk(self, packet: memoryview) -> bool:
        """Hand data to its channel; False, and nothing has happened, when it is anything else."""
        conn = self._conn
        cipher = conn._recv_encryption._cipher
        if self._gcm is None or cipher._key != self._key:
            self._key, self._gcm = cipher._key, AESGCM(cipher._key)
        try:
            plain = self._gcm.decrypt(cipher._iv, packet[LENGTH:], packet[:LENGTH])
        except InvalidTag:
            return False
        size = len(plain) - BEFORE - plain[0]
        if plain[1] != DATA or size != int.from_bytes(plain[6:BEFORE], "big"):
            return False
        channel = conn._channels.get(int.from_bytes(plain[2:6], "big"))
        if channel is None or not isinstance(channel._session, Stream):
            return False
        if channel._recv_state != "open" or size > channel._recv_window:
            return False
        cipher._update_iv()
        channel._accept_data(plain[BEFORE : BEFORE + size])
        conn._finish_recv_packet(DATA, conn._recv_seq)
        return True


def sizes(connection: Any, version: str) -> dict[str, Any]:
    """Window and packets of a channel for much data; an ``Intake`` takes in what this connection receives from now on.
    ``version`` is asyncssh's."""
    if version.startswith(KNOWN) and "data_received" not in vars(connection):
        connection.data_received = Intake(connection).data_received
    return {"window": BULK_WINDOW, "max_pktsize": BULK_PACKET}

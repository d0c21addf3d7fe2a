"""What is left out of the SSH library."""

from __future__ import annotations

from typing import Any

from novafleet.transport.lean import without_decoys

IGNORE, CHANNEL_DATA = 2, 94


def test_only_the_empty_packets_are_left_out() -> None:
    sent: list[Any] = []
    send = without_decoys(lambda *packet, **options: sent.append((packet, options)))
    send(IGNORE, b"\0\0\0\0")
    send(CHANNEL_DATA, b"data", handler=None)
    assert sent == [((CHANNEL_DATA, b"data"), {"handler": None})]

"""The SSH library without what it does in vain."""

from __future__ import annotations

import ctypes.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SOUGHT = {"oqs", "liboqs", "nettle", "libnettle", "libnettle-6"}
_NEVER_USED = "asyncssh.crypto.x509"
_MSG_IGNORE = 2
"""RFC 4253, 11.2."""


@contextmanager
def lean_loading() -> Iterator[None]:
    """For the block that imports asyncssh (2.24): a fifth of its time and eleven processes less at each start.

    It looks for liboqs (sntrup761, which ML-KEM has followed) and nettle (the UMAC of ciphers without authentication,
    ours come with theirs) by running ldconfig, gcc and ld (``ctypes.util.find_library``), and loads X.509 certificates
    where it can, which no OpenSSH speaks. It does without any of them, as on machines that lack them. What its own
    library warns it of (Diffie-Hellman, and some servers have nothing else) is nothing that users can mend.
    """
    warnings.filterwarnings("ignore", module=r"asyncssh\.crypto\b")
    search = ctypes.util.find_library
    ctypes.util.find_library = lambda name: None if name in _SOUGHT else search(name)
    sys.modules.setdefault(_NEVER_USED, None)  # type: ignore[arg-type]  # None: "not there" (reference, 5.3.1)
    try:
        yield
    finally:
        ctypes.util.find_library = search


def without_decoys(send: Callable[..., None]) -> Callable[..., None]:
    """``SSHConnection.send_packet`` without the empty packet that asyncssh puts before each: half of all it sends. It
    keeps others from choosing what CBC goes on from (RFC 4251, 9.3.1), and none of our ciphers does that."""

    def send_packet(kind: int, *fields: bytes, **options: Any) -> None:
        if kind != _MSG_IGNORE:
            send(kind, *fields, **options)

    return send_packet

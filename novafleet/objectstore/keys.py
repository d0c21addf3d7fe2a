"""Which names objects may have: what every store takes, and what leads nowhere outside it."""

from __future__ import annotations

import re

from novafleet.errors import StoreError

_PART = r"[a-z0-9_][a-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_PART}(/{_PART})*")
_LONGEST = 900
"""Bytes; S3 allows 1,024 with the prefix."""


def is_key(name: str) -> bool:
    """Whether an object may be called so. Else it is somebody else's: ``Thumbs.db``, ``@eaDir/…``, ``.nfs…``."""
    return len(name) <= _LONGEST and _KEY.fullmatch(name) is not None


def checked(key: str) -> str:
    """The key itself. Raises StoreError NF-STORE-002 for one that is empty, leaves the store or is not lower case."""
    if not is_key(key):
        raise StoreError(f"{key[:80]!r} is no name for an object", code="NF-STORE-002")
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself: empty, or keys' leading parts with the ``/`` behind them. Raises StoreError NF-STORE-002."""
    if prefix and not prefix.endswith("/"):
        raise StoreError(f"the prefix {prefix[:80]!r} does not end with '/'", code="NF-STORE-002")
    if prefix:
        checked(prefix[:-1])
    return prefix

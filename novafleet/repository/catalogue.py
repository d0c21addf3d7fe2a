"""Snapshots as objects: ``snapshots/ID``, sealed JSON, created once and never changed."""

from __future__ import annotations

import json
import re

from novafleet.model.backup import Snapshot
from novafleet.model.encode import decode, encode
from novafleet.repository.seal import SNAPSHOT, Keyring, Kind, damaged, newer

PREFIX = "snapshots/"
ID = re.compile("[0-9a-hjkmnp-tv-z]{26}")
"""A lower-case ULID (lease.new_id): sorts by time."""


def is_id(text: str) -> bool:
    """Whether it can be one: what a store lists is untrusted."""
    return ID.fullmatch(text) is not None


def seal(snapshot: Snapshot, keyring: Keyring) -> bytes:
    """The object; bound to the snapshot's id, so that none can take another's place."""
    content = json.dumps(encode(snapshot), sort_keys=True, separators=(",", ":")).encode()
    return keyring.seal(SNAPSHOT, Kind.SNAPSHOT, content, _name(snapshot.id))


def unseal(snapshot_id: str, sealed: bytes, keyring: Keyring, where: str) -> Snapshot:
    """Raises RepositoryError NF-REPO-010 when it is damaged, NF-REPO-004 when it says what we do not know."""
    content = keyring.unseal(SNAPSHOT, Kind.SNAPSHOT, sealed, where, _name(snapshot_id))
    try:
        snapshot = decode(Snapshot, json.loads(content))
    except (ValueError, TypeError, KeyError) as exc:
        raise newer(where, str(exc)) from exc
    if snapshot.id != snapshot_id:
        raise damaged(where, f"it is snapshot {snapshot.id}")
    return snapshot


def _name(snapshot_id: str) -> bytes:
    return snapshot_id.encode().ljust(32, b"\0")

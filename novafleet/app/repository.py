"""Opens a backup repository for a use-case, and closes its store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from novafleet.errors import ConfigError, RepositoryError
from novafleet.objectstore.open import open_store
from novafleet.ports import ObjectStore
from novafleet.repository import KeySource, Repository
from novafleet.repository.keys import Key


def key_source(file: Path | None, passphrase: str = "") -> KeySource:
    """What ``--key-file`` and ``--passphrase`` say; the latter goes before NOVAFLEET_KEY_FILE.

    Raises ConfigError NF-REPO-041 for none or both of them, RepositoryError NF-REPO-007 for a ``~USER`` of nobody.
    """
    if passphrase and file and str(file) == os.environ.get("NOVAFLEET_KEY_FILE"):
        file = None
    if bool(file) == bool(passphrase):
        raise ConfigError(
            "give one key of the repository" + (", not two" if file else ""),
            code="NF-REPO-041",
            hints=("--key-file PATH, or --passphrase env:NAME, file:PATH, credential:NAME or keyring:NAME",),
        )
    try:
        return KeySource(file.expanduser() if file else None, passphrase)
    except RuntimeError as exc:
        what = "the key file's ~ is no home directory"
        raise RepositoryError(what, code="NF-REPO-007", where=str(file), hints=("--key-file /WHOLE/PATH",)) from exc


@asynccontextmanager
async def opened_store(url: str) -> AsyncIterator[ObjectStore]:
    """The store at a URL. Raises ConfigError NF-REPO-040 without one, NF-STORE-* for one that is wrong."""
    if not url:
        raise ConfigError(
            "which repository?",
            code="NF-REPO-040",
            hints=("--repo URL", "export NOVAFLEET_REPO=/srv/backup"),
        )
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_repository(url: str, key: Key) -> AsyncIterator[Repository]:
    """The repository at a URL. Raises RepositoryError (NF-REPO-002 there is none, -005 another key), StoreError."""
    async with opened_store(url) as store:
        yield await Repository.open(store, key)

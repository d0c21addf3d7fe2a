"""The object ``config``: plain JSON, written once, that says what kind of repository this is."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from novafleet.errors import ConfigError, RepositoryError
from novafleet.model.encode import decode, encode
from novafleet.repository.seal import newer

KEY = "config"
VERSION = 1
CELL = 1 << 20
SMALLEST, LARGEST = 256 << 10, 4 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """``id`` is 32 random hexadecimal digits, ``cell`` the grid in bytes; the rest names the only suite there is."""

    version: int
    id: str
    cell: int
    cipher: str = "aes-256-gcm"
    hash: str = "blake3-256"
    compression: str = "zstd"


def new(cell: int) -> Config:
    """Raises ConfigError NF-CFG-005 unless ``cell`` is a power of two from 256 KiB to 4 MiB."""
    if not _is_cell(cell):
        what = f"--cell takes a power of two from 256KiB to 4MiB, not {cell} bytes"
        raise ConfigError(what, code="NF-CFG-005", hints=("--cell 1MiB",))
    return Config(VERSION, secrets.token_hex(16), cell)


def dump(config: Config) -> bytes:
    """The object; keys are bound to these very bytes."""
    return json.dumps(encode(config), indent=1).encode() + b"\n"


def load(content: bytes, where: str) -> Config:
    """Raises RepositoryError: NF-REPO-004 of a newer format, NF-REPO-006 damaged."""
    try:
        document = json.loads(content)
        version = int(document["version"])
        if version != VERSION:
            raise newer(where, f"version {version}")
        config = decode(Config, document)
        sound = len(bytes.fromhex(config.id)) == 16 and _is_cell(config.cell)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        raise _damaged(where, str(exc)) from exc
    if not sound:
        raise _damaged(where, "its id or cell cannot be")
    suite = (config.cipher, config.hash, config.compression)
    if suite != ("aes-256-gcm", "blake3-256", "zstd"):
        raise newer(where, ", ".join(suite))
    return config


def _is_cell(cell: int) -> bool:
    return SMALLEST <= cell <= LARGEST and cell & (cell - 1) == 0


def _damaged(where: str, cause: str) -> RepositoryError:
    return RepositoryError(
        "the repository's config is damaged",
        code="NF-REPO-006",
        where=where,
        cause=cause,
        hints=("put back the object 'config' from another copy of the repository",),
    )

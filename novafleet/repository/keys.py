"""What opens a repository: key files and passphrases, each wrapping the one master key in a slot ``keys/ID``.

A slot is plain JSON. Its wrapped part is AES-256-GCM of the master key (32 B) and the BLAKE3 of the ``config``
object (32 B), so that a changed ``config`` is noticed. The wrapping key comes from Argon2id (RFC 9106, second
recommendation) for a passphrase and from HKDF-SHA256 for a key file, each with the slot's own random salt.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from novafleet.errors import RepositoryError, Retry
from novafleet.model.encode import decode, encode
from novafleet.model.secret import Secret
from novafleet.ports import ObjectStore

PREFIX = "keys/"
LEAST = 32
"""Bytes a key file must have."""
MOST = 1 << 20
"""Bytes of a key file or passphrase that are read at most."""
SLOTS = 64
"""Slots that are tried at most: what a repository says is untrusted."""
ITERATIONS, MEMORY_KIB, LANES = 3, 64 * 1024, 4
MAX_ITERATIONS, MAX_MEMORY_KIB, MAX_LANES = 64, 1024 * 1024, 64
OTHER_CONFIG = "the key opens a slot, which was made for another config"
REFERENCES = "env:NAME, file:PATH, credential:NAME or keyring:NAME"
SERVICE = "novafleet"
"""Under which a keyring keeps passphrases, by name."""
NONCE = bytes(12)
"""A wrapping key is used once: its salt is random."""


class SlotKind(StrEnum):
    """What a slot is opened with."""

    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """The secret itself, read."""

    kind: SlotKind
    secret: Secret

    def read(self) -> KeyMaterial:
        """Itself: what was read from a pipe cannot be read again."""
        return self


class Key(Protocol):
    """A key wherever it comes from: ``KeySource``, or ``KeyMaterial`` once it is read."""

    def read(self) -> KeyMaterial:
        """The secret."""


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a key comes from; exactly one of the two is given.

    ``file`` is a key file: 32 random bytes (``new_key_file``) or any file of at least 32. ``passphrase`` is
    ``env:NAME``, ``file:PATH``, ``credential:NAME`` (systemd, ``$CREDENTIALS_DIRECTORY/NAME``) or ``keyring:NAME`` (the
    desktop's or operating system's, by the Python package keyring): never the words.
    """

    file: Path | None = None
    passphrase: str = ""

    def read(self) -> KeyMaterial:
        """The secret. Raises RepositoryError NF-REPO-007 when it cannot be had."""
        if self.file is not None:
            return KeyMaterial(SlotKind.FILE, Secret.of(_key_file(self.file)))
        scheme, _, name = self.passphrase.partition(":")
        words = _passphrase(scheme, name).rstrip("\r\n")
        if not words:
            raise _unusable(f"the passphrase from {self.passphrase} is empty")
        try:
            return KeyMaterial(SlotKind.PASSPHRASE, Secret.of(canonical(words)))
        except UnicodeEncodeError:  # its words would be in the cause
            raise _unusable(f"the passphrase from {self.passphrase} is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Slot:
    """The object ``keys/ID``; ``salt`` and ``wrapped`` are hexadecimal, ``created`` seconds since the epoch."""

    id: str
    kind: SlotKind
    salt: str
    wrapped: str
    label: str = ""
    created: float = 0.0
    iterations: int = 0
    memory_kib: int = 0
    lanes: int = 0
    version: int = 1


async def unlock(store: ObjectStore, config: bytes, material: KeyMaterial) -> Secret:
    """The master key. ``config`` is the bytes of the object ``config``.

    Raises RepositoryError: NF-REPO-005 when no slot opens, NF-REPO-006 when one does but for another ``config``.
    """
    failure: RepositoryError | None = None
    for key in (await _names(store))[:SLOTS]:
        try:
            slot = _slot(key, await store.get(key), store.url)
        except RepositoryError as exc:
            failure = failure or exc
            continue
        opened = await asyncio.to_thread(_unwrap, slot, material) if slot.kind is material.kind else None
        if opened is not None and opened[32:] == blake3(config).digest():
            return Secret.of(opened[:32])
        if opened is not None:  # left by a creation that was interrupted, unless it is the only one
            failure = _of_another_config(store.url)
    if failure is not None and failure.cause == OTHER_CONFIG:
        raise failure
    raise RepositoryError(
        f"the repository does not open with this {'key file' if material.kind is SlotKind.FILE else 'passphrase'}",
        code="NF-REPO-005",
        where=store.url,
        cause=str(failure or ""),
        retry=Retry.AFTER_FIX,
        hints=("give the key file or passphrase it was made with, or the code of its recovery sheet",),
    )


def _of_another_config(url: str) -> RepositoryError:
    return RepositoryError(
        "the repository's config is damaged",
        code="NF-REPO-006",
        where=f"{url}: config",
        cause=OTHER_CONFIG,
        hints=("put back the object 'config' from another copy of the repository",),
    )


async def _names(store: ObjectStore) -> list[str]:
    return sorted([each.key async for each in store.list(PREFIX)])


async def slots(store: ObjectStore) -> tuple[Slot, ...]:
    """All key slots, oldest first."""
    found = [_slot(key, await store.get(key), store.url) for key in await _names(store)]
    return tuple(sorted(found, key=lambda slot: (slot.created, slot.id)))


async def opened_by(store: ObjectStore, material: KeyMaterial, config: bytes = b"") -> tuple[str, ...]:
    """The slots a key opens; with ``config``, those that open the repository."""
    fitting = [slot for slot in (await slots(store))[:SLOTS] if slot.kind is material.kind]
    opened = await asyncio.gather(*(asyncio.to_thread(_unwrap, slot, material) for slot in fitting))
    digest = blake3(config).digest() if config else b""
    found = ((slot.id, inner) for slot, inner in zip(fitting, opened, strict=True) if inner is not None)
    return tuple(name for name, inner in found if inner.endswith(digest))


async def add_slot(
    store: ObjectStore, config: bytes, master: Secret, material: KeyMaterial, *, label: str, at: float
) -> Slot:
    """Let one more key open the repository."""
    slot = await asyncio.to_thread(_wrap, config, master, material, label, at)
    if not await store.create(PREFIX + slot.id, json.dumps(encode(slot), sort_keys=True).encode()):
        raise RepositoryError("a key slot of this name exists already", where=f"{store.url}: {PREFIX}{slot.id}")
    return slot


async def remove_slot(store: ObjectStore, slot_id: str) -> None:
    """Take a key's right away (who copied the master key keeps it). The last slot stays: NF-REPO-016."""
    present = [slot.id for slot in await slots(store)]
    if slot_id not in present:
        raise RepositoryError(f"there is no key slot {slot_id}", code="NF-REPO-016", where=store.url)
    if len(present) == 1:
        raise RepositoryError(
            "this is the last key of the repository: without it nothing could ever be restored",
            code="NF-REPO-016",
            where=f"{store.url}: {PREFIX}{slot_id}",
            hints=("add another key first",),
        )
    await store.delete(PREFIX + slot_id)


def new_master() -> bytes:
    """A master key."""
    return secrets.token_bytes(32)


def new_key_file(path: Path) -> None:
    """Write 32 random bytes to a new file of mode 0600. Raises RepositoryError NF-REPO-007 when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LEAST))
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise _unusable("the key file cannot be made", path, exc) from exc


def recovery_code() -> str:
    """A passphrase of 160 random bits made for paper: ``NFRK`` and nine groups of four letters and digits.

    The last group is a check, so that a slip in typing is told from a wrong code.
    """
    body = base64.b32encode(secrets.token_bytes(20)).decode()
    return "NFRK-" + "-".join((body + _check(body))[n : n + 4] for n in range(0, 36, 4))


def canonical(words: str) -> str:
    """A passphrase as it is hashed: a recovery code may be typed in any case, with any dashes and blanks."""
    bare = "".join(words.split()).replace("-", "").upper()
    if len(bare) != 40 or not bare.startswith("NFRK"):
        return words
    body, check = bare[4:36], bare[36:]
    if _check(body) != check:
        raise _unusable("the recovery code has a slip in it: its last group does not fit the others")
    return "-".join(bare[n : n + 4] for n in range(0, 40, 4))


def recovery_sheet(url: str, repository: str, code: str, slot: Slot) -> str:
    """The text to print and lay in a safe: all that is needed beside the repository itself."""
    made = time.strftime("%Y-%m-%d", time.gmtime(slot.created))
    return (
        "NovaFleet recovery sheet\n\n"
        f"Repository   {url}\n"
        f"Id           {repository}\n"
        f"Key slot     {slot.id}, made {made}\n"
        f"Code         {code}\n\n"
        "Whoever holds this sheet and the repository can read every backup in it.\n"
        "Keep it on paper, apart from the repository.\n\n"
        "With NovaFleet:     put the code into a file and give --passphrase file:PATH instead of --key-file.\n"
        "Without NovaFleet:  reader.py of the repository (Python >= 3.11; pip install cryptography zstandard blake3):\n"
        "                    python reader.py DIRECTORY --passphrase-file PATH ls\n"
        "                    python reader.py DIRECTORY --passphrase-file PATH restore SNAPSHOT DISK OUT\n"
    )


def _check(body: str) -> str:
    return base64.b32encode(blake3(body.encode()).digest()[:5])[:4].decode()


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
    except OSError as exc:
        raise _unusable("the key file cannot be read", path, exc) from exc
    if not LEAST <= len(content) <= MOST:
        raise _unusable(f"a key file has {LEAST} bytes to 1 MiB, this one {len(content)}", path)
    return content


def _passphrase(scheme: str, name: str) -> str:
    if scheme == "env":
        return os.environ.get(name, "")
    if scheme == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder or "/" in name:
            raise _unusable(f"systemd gave this process no credential {name!r}")
        return _text(Path(folder, name))
    if scheme == "file":
        return _text(_home(Path(name)))
    if scheme == "keyring":
        return _kept_in_keyring(name)
    raise _unusable(f"a passphrase is given as {REFERENCES}")


def _kept_in_keyring(name: str) -> str:
    """What ``keyring set novafleet NAME`` has put there."""
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError as exc:
        what = "the keyring needs the Python package keyring (pip install 'novafleet[keyring]')"
        raise _unusable(what, cause=exc) from exc
    try:
        found = keyring.get_password(SERVICE, name)
    except keyring.errors.KeyringError as exc:
        raise _unusable("the keyring cannot be asked; on a server use credential:NAME", cause=exc) from exc
    if found is None:
        raise _unusable(f"the keyring holds nothing for {SERVICE} {name} (keyring set {SERVICE} {name})")
    return str(found)


def _home(path: Path) -> Path:
    """With ``~`` as a shell has it, which leaves one that does not begin a word alone."""
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise _unusable("the passphrase cannot be read", path, exc) from exc


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST)
    except (OSError, UnicodeDecodeError) as exc:
        raise _unusable("the passphrase cannot be read", path, exc) from exc


def _unusable(what: str, where: Path | None = None, cause: BaseException | None = None) -> RepositoryError:
    return RepositoryError(
        what,
        code="NF-REPO-007",
        where=str(where or ""),
        cause=str(cause or ""),
        retry=Retry.AFTER_FIX,
        hints=(f"give --key-file PATH, or a passphrase as {REFERENCES}",),
    )


def _slot(key: str, content: bytes, url: str) -> Slot:
    try:
        slot = decode(Slot, json.loads(content))
        bytes.fromhex(slot.salt), bytes.fromhex(slot.wrapped), datetime.fromtimestamp(slot.created, UTC)
        sound = (
            slot.id == key.removeprefix(PREFIX)
            and isinstance(slot.label, str)
            and 0 <= slot.iterations <= MAX_ITERATIONS
            and 0 <= slot.memory_kib <= MAX_MEMORY_KIB
            and 0 <= slot.lanes <= MAX_LANES
        )
    except (ValueError, TypeError, KeyError, OSError, OverflowError, RecursionError) as exc:
        raise _damaged(f"{url}: {key}", str(exc)) from exc
    if slot.version != 1 or not sound:
        raise _damaged(f"{url}: {key}", f"version {slot.version}")
    return slot


def _damaged(where: str, cause: str) -> RepositoryError:
    return RepositoryError(
        "a key slot is damaged or was made by a newer NovaFleet",
        code="NF-REPO-006",
        where=where,
        cause=cause,
        hints=("move the object away if another key opens the repository",),
    )


def _wrap(config: bytes, master: Secret, material: KeyMaterial, label: str, at: float) -> Slot:
    slow = material.kind is SlotKind.PASSPHRASE
    slot = Slot(
        id=secrets.token_hex(8),
        kind=material.kind,
        salt=secrets.token_hex(32),
        wrapped="",
        label=label,
        created=at,
        iterations=ITERATIONS if slow else 0,
        memory_kib=MEMORY_KIB if slow else 0,
        lanes=LANES if slow else 0,
    )
    inner = master.reveal() + blake3(config).digest()
    sealed = AESGCM(_wrapping_key(slot, material)).encrypt(NONCE, inner, _bound(slot))
    return decode(Slot, encode(slot) | {"wrapped": sealed.hex()})


def _unwrap(slot: Slot, material: KeyMaterial) -> bytes | None:
    try:
        key = _wrapping_key(slot, material)
        inner = AESGCM(key).decrypt(NONCE, bytes.fromhex(slot.wrapped), _bound(slot))
    except (InvalidTag, ValueError):
        return None
    return inner if len(inner) == 64 else None


def _bound(slot: Slot) -> bytes:
    return f"novafleet key slot 1\0{slot.id}\0{slot.kind}".encode()


def _wrapping_key(slot: Slot, material: KeyMaterial) -> bytes:
    salt, secret = bytes.fromhex(slot.salt), material.secret.reveal()
    if slot.kind is SlotKind.FILE:
        return HKDF(SHA256(), 32, salt, b"novafleet key file 1").derive(secret)
    return Argon2id(
        salt=salt, length=32, iterations=slot.iterations, lanes=slot.lanes, memory_cost=slot.memory_kib
    ).derive(secret)

"""Key files, passphrases, recovery sheets: what opens a repository, and what is said when it does not."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from novafleet.errors import ConfigError, RepositoryError
from novafleet.repository import KeySource, Repository, keys, reader
from tests.fakes.memorystore import MemoryStore, StoppedError
from tests.unit.repository.disks import CELL, fresh, key_file, lay_out


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MEMORY_KIB", 64)
    monkeypatch.setattr(keys, "ITERATIONS", 1)


async def test_a_passphrase_from_each_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    (tmp_path / "words").write_text("correct horse\n")
    monkeypatch.setenv("NF_WORDS", "correct horse")
    monkeypatch.setenv("NF_LINE", "correct horse\r\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    await repository.add_key(KeySource(passphrase="env:NF_WORDS"), label="me", at=2.0)
    for source in ("env:NF_WORDS", "env:NF_LINE", f"file:{tmp_path}/words", "file:~/words", "credential:words"):
        assert (await Repository.open(store, KeySource(passphrase=source))).id == repository.id
    assert [slot.label for slot in await repository.slots()] == ["first", "me"]


@pytest.mark.parametrize(
    "source",
    [
        *("env:NF_NOT_SET", "env:NF_BYTES", "file:/nowhere", "file:~nobody.here/x"),
        *("credential:../x", "credential:x", "words", ""),
    ],
)
async def test_a_passphrase_that_is_not_there(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("NF_BYTES", "words\udcff")
    with pytest.raises(RepositoryError) as caught:
        KeySource(passphrase=source).read()
    assert caught.value.code == "NF-REPO-007"


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * ((1 << 20) + 1)])
async def test_a_key_file_of_the_wrong_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(RepositoryError) as caught:
        KeySource(file=tmp_path / "key").read()
    assert caught.value.code == "NF-REPO-007"


def test_a_new_key_file_is_private_and_never_replaces_one(tmp_path: Path) -> None:
    keys.new_key_file(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert len(KeySource(file=tmp_path / "key").read().secret.reveal()) == 32
    with pytest.raises(RepositoryError, match="cannot be made"):
        keys.new_key_file(tmp_path / "key")


async def test_keys_come_and_go(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    keys.new_key_file(tmp_path / "second")
    await repository.add_key(KeySource(file=tmp_path / "second"), label="second", at=2.0)
    first, second = await repository.slots()
    await repository.remove_key(first.id)
    with pytest.raises(RepositoryError) as caught:
        await Repository.open(store, key_file(tmp_path))
    assert caught.value.code == "NF-REPO-005"
    await Repository.open(store, KeySource(file=tmp_path / "second"))
    for slot in (second.id, first.id):
        with pytest.raises(RepositoryError) as caught:
            await repository.remove_key(slot)
        assert caught.value.code == "NF-REPO-016"


async def test_a_recovery_sheet_is_enough(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    sheet, _ = await repository.recovery_sheet(at=3.0)
    found = re.search(r"Code\s+(NFRK(?:-[A-Z2-7]{4}){9})\n", sheet)
    assert found is not None
    assert repository.id in sheet
    assert store.url in sheet
    typed = tmp_path / "typed"
    typed.write_text(found[1].lower().replace("-", "  ") + "\n")
    assert (await Repository.open(store, KeySource(passphrase=f"file:{typed}"))).id == repository.id
    folder = lay_out(store.objects, tmp_path / "repo")
    assert reader.unlock(folder, "passphrase", reader.passphrase(typed.read_text().rstrip("\n"))) is not None


def test_a_slip_in_a_recovery_code_is_told() -> None:
    code = keys.recovery_code()
    assert keys.canonical(code) == code
    wrong = code[:-6] + ("A" if code[-6] != "A" else "B") + code[-5:]
    with pytest.raises(RepositoryError, match="slip"):
        keys.canonical(wrong)
    assert keys.canonical("some other words") == "some other words"


async def test_the_key_is_in_no_object_and_no_text(tmp_path: Path) -> None:
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    master = repository._master.reveal()
    shown = repr(repository.keyring) + repr(vars(repository)["_master"])
    assert master.hex() not in shown
    assert not [key for key, content in store.objects.items() if master in content or master.hex().encode() in content]


async def test_a_damaged_slot_does_not_lock_out_another(tmp_path: Path) -> None:
    store = MemoryStore()
    await fresh(tmp_path, store)
    store.objects["keys/0000000000000000"] = b"{"
    await Repository.open(store, key_file(tmp_path))
    hostile = next(content for key, content in store.objects.items() if len(content) > 200 and key.startswith("keys/"))
    store.objects["keys/0000000000000001"] = hostile.replace(b'"memory_kib": 0', b'"memory_kib": 999999999')
    await Repository.open(store, key_file(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_kib", 1 << 31),
        ("iterations", 65),
        ("lanes", 10**30),
        ("created", "x"),
        ("created", 1e300),
        ("label", 1),
    ],
)
async def test_a_hostile_slot_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: object
) -> None:
    monkeypatch.setenv("WORDS", "words")
    store = MemoryStore()
    repository = await fresh(tmp_path, store)
    name = f"keys/{(await repository.add_key(KeySource(passphrase='env:WORDS'), label='', at=1.0)).id}"
    store.objects[name] = json.dumps({**json.loads(store.objects[name]), field: value}).encode()
    with pytest.raises(RepositoryError) as raised:
        await repository.slots()
    assert raised.value.code == "NF-REPO-006"
    if field in reader.BOUNDS:
        with pytest.raises(reader.ReaderError):
            reader.unlock(lay_out(store.objects, tmp_path / "r"), "passphrase", b"words")


async def test_create_twice(tmp_path: Path) -> None:
    store = MemoryStore()
    await fresh(tmp_path, store)
    before = dict(store.objects)
    with pytest.raises(RepositoryError) as caught:
        await fresh(tmp_path, store)
    assert caught.value.code == "NF-REPO-003"
    assert store.objects == before
    assert {"config", "reader.py", "readme.txt"} <= set(before)


async def test_create_killed_anywhere_can_be_done_again(tmp_path: Path) -> None:
    for left in range(1, 5):
        store = MemoryStore(left=left)
        with pytest.raises(StoppedError):
            await fresh(tmp_path, store)
        again = MemoryStore(store.objects)
        await fresh(tmp_path, again)
        await Repository.open(again, key_file(tmp_path))


async def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError) as caught:
        await Repository.open(MemoryStore(), key_file(tmp_path))
    assert caught.value.code == "NF-REPO-002"
    with pytest.raises(ConfigError, match="cell"):
        await Repository.create(MemoryStore(), key_file(tmp_path), at=0.0, cell=CELL + 1)


class KeyringError(Exception):
    """What the package keyring raises."""


def test_a_passphrase_from_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the package's own interface: ``get_password(service, name)``, None for what is not there."""

    def get_password(service: str, name: str) -> str | None:
        if name == "locked":
            raise KeyringError("locked")
        return {("novafleet", "fleet"): "correct horse"}.get((service, name))

    errors = SimpleNamespace(KeyringError=KeyringError)
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=get_password, errors=errors))
    material = KeySource(passphrase="keyring:fleet").read()
    assert (material.kind, material.secret.reveal()) == (keys.SlotKind.PASSPHRASE, b"correct horse")
    for name, said in (("absent", "keyring set novafleet absent"), ("locked", "credential:NAME")):
        with pytest.raises(RepositoryError, match=re.escape(said)) as caught:
            KeySource(passphrase=f"keyring:{name}").read()
        assert caught.value.code == "NF-REPO-007"
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(RepositoryError, match=r"novafleet\[keyring\]"):
        KeySource(passphrase="keyring:fleet").read()

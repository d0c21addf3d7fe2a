"""The rules of files as objects, on file systems that lack something."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from novafleet.errors import MissingObjectError, Retry, SpaceError, StoreError
from novafleet.objectstore.directory import LocalFiles
from novafleet.objectstore.files import FileStore


class Lacking(LocalFiles):
    """Fails with an errno in calls of some names."""

    def __init__(self, root: Path, **errnos: int) -> None:
        super().__init__(root)
        self.errnos = errnos
        self.links = 0

    def _fail(self, name: str) -> None:
        if name in self.errnos:
            raise OSError(self.errnos[name], "as asked")

    def link(self, path: str, target: str) -> None:
        self._fail("link")
        super().link(path, target)
        self._fail("linked")

    def write(self, path: str, data: bytes) -> None:
        super().write(path, data[: len(data) // 2] if "write" in self.errnos else data)
        self._fail("write")

    def read(self, path: str, offset: int, length: int | None) -> bytes:
        if self.errnos.get("stale", 0) > 0:
            self.errnos["stale"] -= 1
            raise OSError(errno.ESTALE, "stale")
        return super().read(path, offset, length)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
async def test_creates_where_there_are_no_links(tmp_path: Path, reason: int) -> None:
    store = FileStore("here", Lacking(tmp_path, link=reason))
    assert [await store.create("a/b", body) for body in (b"one", b"two")] == [True, False]
    assert await store.get("a/b") == b"one"
    assert names(tmp_path) == ["b"]
    await store.close()


async def test_a_link_whose_answer_was_lost_is_ours(tmp_path: Path) -> None:
    """NFS: the server linked, the answer was lost, the repeated request says EEXIST."""
    store = FileStore("here", Lacking(tmp_path, linked=errno.EEXIST))
    assert await store.create("a", b"one")
    assert not await store.create("a", b"two")
    assert names(tmp_path) == ["a"]
    await store.close()


@pytest.mark.parametrize(
    ("reason", "error", "code", "retry"),
    [
        (errno.ENOSPC, SpaceError, "NF-DISK-003", Retry.AFTER_FIX),
        (errno.EDQUOT, SpaceError, "NF-DISK-003", Retry.AFTER_FIX),
        (errno.EACCES, StoreError, "NF-STORE-010", Retry.AFTER_FIX),
        (errno.EROFS, StoreError, "NF-STORE-010", Retry.AFTER_FIX),
        (errno.EIO, StoreError, "NF-STORE-011", Retry.LATER),
        (errno.ESTALE, StoreError, "NF-STORE-011", Retry.LATER),
    ],
)
async def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, reason: int, error: type[StoreError], code: str, retry: Retry
) -> None:
    await FileStore("here", LocalFiles(tmp_path)).put("kept", b"kept")
    store = FileStore("here", Lacking(tmp_path, write=reason))
    for verb in (store.put, store.create):
        for key in ("kept", "a/b"):
            with pytest.raises(error) as caught:
                await verb(key, b"whole")
            assert (caught.value.code, caught.value.retry, caught.value.where) == (code, retry, f"here {key}")
    assert names(tmp_path) == ["kept"]
    assert await store.get("kept") == b"kept"
    await store.close()


async def test_a_file_replaced_under_its_reader(tmp_path: Path) -> None:
    store = FileStore("here", Lacking(tmp_path, stale=5))
    await store.put("a", b"x")
    assert await store.get("a") == b"x"
    await store.close()


async def test_links_are_no_objects(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"of somebody else")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(secret)
    (root / "b").symlink_to(tmp_path)
    store = FileStore("here", LocalFiles(root))
    assert [found async for found in store.list("")] == []
    with pytest.raises(StoreError):
        await store.get("a")
    await store.put("a", b"mine")
    assert secret.read_bytes() == b"of somebody else"
    await store.delete("a")
    with pytest.raises(MissingObjectError):
        await store.get("a")
    await store.close()

"""The rules of files as objects, on file systems that lack something."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from novafleet.errors import MissingObjectError, Retry, SpaceError, StoreError
from novafleet.objectstore.directory import DirectoryStore, LocalFiles
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


async def _refuses_all(store: DirectoryStore) -> None:
    for act in (
        *(store.put("a", b""), store.create("leases/b", b""), store.get("config"), store.stat("config")),
        *(store.delete("config"), anext(store.list("snapshots/"))),
    ):
        with pytest.raises(StoreError, match="still mounted") as caught:
            await act
        assert caught.value.code == "NF-STORE-011"


async def test_a_directory_that_was_unmounted_is_not_made_anew(tmp_path: Path) -> None:
    """The rest of a backup would lie hidden below the mount point, and a list of snapshots would be empty."""
    root = tmp_path / "mount" / "repository"
    store = DirectoryStore(root)
    await store.put("config", b"{}")
    assert await store.get("config") == b"{}"
    root.parent.rename(tmp_path / "disk")
    root.parent.mkdir()
    await _refuses_all(store)
    assert not list(root.parent.iterdir())
    root.parent.rmdir()
    (tmp_path / "disk").rename(root.parent)
    await store.put("a", b"")
    assert await store.get("config") == b"{}"
    await store.close()


def _done(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


async def test_a_mount_point_that_was_unmounted_is_not_written_to(tmp_path: Path) -> None:
    if os.geteuid() or not _done("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)):
        pytest.skip("no file system can be mounted here")
    store = DirectoryStore(tmp_path)
    try:
        await store.put("config", b"{}")
        assert await store.get("config") == b"{}"
    finally:
        assert _done("umount", "--lazy", str(tmp_path))
    (tmp_path / ".tmp").mkdir()
    await _refuses_all(store)
    assert names(tmp_path) == []
    await store.close()

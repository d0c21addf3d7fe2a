"""A disk out of a repository as a file of this machine."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.app.restorefile import FileRequest, restore_file
from novafleet.app.restorepoint import moment
from novafleet.errors import BackupError, ConfigError, RepositoryError
from tests.qemunbd import needs_qemu, qemu_img
from tests.unit.restore.repositories import AT, MIB, SIZE, disk_content, stored


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(each.name for each in folder.iterdir())


async def _request(folder: Path, **fields: object) -> FileRequest:
    url, key, snapshot = await stored(folder, {"vda": disk_content()})
    return replace(FileRequest(url, key, snapshot.id, "vda", folder / "disk.img"), **fields)  # type: ignore[arg-type]


async def test_a_raw_file_is_identical_sparse_and_private(tmp_path: Path) -> None:
    request, told = await _request(tmp_path), []
    done = await restore_file(request, lambda what, count, total: told.append((what, count, total)))
    assert request.path.read_bytes() == disk_content()
    assert (done.size, done.written) == (SIZE, SIZE - 4 * MIB)
    assert stat.S_IMODE(request.path.stat().st_mode) == 0o600
    assert request.path.stat().st_blocks * 512 < SIZE - 3 * MIB
    assert told[-1] == ("web vda", SIZE - 4 * MIB, SIZE - 4 * MIB)
    assert names(tmp_path) == ["disk.img", "key", "repo"]


@needs_qemu
async def test_a_qcow2_image_is_identical(tmp_path: Path) -> None:
    request = await _request(tmp_path, format="qcow2")
    await restore_file(request, quiet)
    raw = tmp_path / "expected"
    raw.write_bytes(disk_content())
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "raw", request.path, raw)
    assert stat.S_IMODE(request.path.stat().st_mode) == 0o600
    assert request.path.stat().st_blocks * 512 < SIZE - 3 * MIB


async def test_without_qemu_img_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = await _request(tmp_path, format="qcow2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match="qemu-img") as caught:
        await restore_file(request, quiet)
    assert caught.value.code == "NF-BAK-032"
    assert "--format raw" in caught.value.hints[1]
    assert not request.path.exists()


async def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    request = await _request(tmp_path)
    request.path.write_text("precious")
    with pytest.raises(ConfigError) as caught:
        await restore_file(request, quiet)
    assert caught.value.code == "NF-BAK-030"
    assert request.path.read_text() == "precious"
    await restore_file(replace(request, force=True), quiet)
    assert request.path.stat().st_size == SIZE


async def test_a_damaged_repository_leaves_no_file(tmp_path: Path) -> None:
    request = await _request(tmp_path)
    for pack in (tmp_path / "repo").rglob("*"):
        if pack.is_file() and pack.stat().st_size > MIB:
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:MIB])
    with pytest.raises(RepositoryError):
        await restore_file(request, quiet)
    assert names(tmp_path) == ["key", "repo"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"disk": "vdz"}, "NF-BAK-031"),
        ({"format": "vmdk"}, "NF-BAK-040"),
        ({"path": Path("/nowhere/at/all")}, "NF-BAK-040"),
        ({"snapshot": "web", "until": AT - 1}, "NF-BAK-038"),
        ({"snapshot": "db", "until": AT + 1}, "NF-BAK-038"),
    ],
)
async def test_what_cannot_be_is_said(tmp_path: Path, fields: dict[str, object], code: str) -> None:
    request = await _request(tmp_path, **fields)
    with pytest.raises(ConfigError) as caught:
        await restore_file(request, quiet)
    assert caught.value.code == code


async def test_until_chooses_the_newest_snapshot_before_it(tmp_path: Path) -> None:
    for at, seed in ((AT, 1), (AT + 100, 2), (AT + 200, 3)):
        url, key, _ = await stored(tmp_path, {"vda": disk_content(seed)}, at=at)
    done = tmp_path / "disk.img"
    await restore_file(FileRequest(url, key, "kvm1/web", "vda", done, until=AT + 199), quiet)
    assert done.read_bytes() == disk_content(2)


def test_times() -> None:
    assert moment("") == 0.0
    assert moment("2026-11-21T08:30:00+00:00") == 1795249800.0
    assert moment("2026-11-21T08:30:00Z") == 1795249800.0
    assert moment("2026-11-21") - moment("2026-11-21T00:00:00") == 86399
    with pytest.raises(ConfigError):
        moment("yesterday")

"""Files out of a snapshot, as a person asks for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from novafleet.app.browse import Place, fetch, listing, parts
from novafleet.cli.main import app
from novafleet.errors import ConfigError, FileSystemError
from tests.unit.filesystem.test_ext import gpt, made, needs_mkfs
from tests.unit.restore.repositories import MIB, disk_content, stored

pytestmark = needs_mkfs
TEXT = "LABEL=root / ext4\n"


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    """A snapshot with data alone on one disk, and a partition with a file system on another."""
    guest = tmp_path / "guest"
    (guest / "etc").mkdir(parents=True)
    (guest / "etc/fstab").write_text(TEXT)
    (guest / "etc/current").symlink_to("fstab")
    os.truncate(guest / "etc/fstab", len(TEXT))
    (guest / b"odd-\xff".decode("utf-8", "surrogateescape")).touch()
    image = made(tmp_path, root=guest, size="8M")
    disk = gpt((2048, 2047 + len(image) // 512, "root")).ljust(MIB, b"\0") + image
    url, key, snapshot = await stored(tmp_path, {"vda": disk_content(), "vdb": disk})
    return Place(url, key, snapshot.id)


def quiet(_name: str, _done: int, _total: int) -> None:
    """Nobody watches."""


async def test_parts_directories_and_files(place: Place, tmp_path: Path) -> None:
    snapshot, found = await parts(place)
    assert snapshot == place.snapshot
    assert [(each.disk, each.partition, each.kind, each.name) for each in found] == [
        ("vda", 0, "", ""),
        ("vdb", 1, "ext4", "root"),
    ]
    listed = {each.name: (each.kind, each.size, each.link) for each in await listing(place, "/etc")}
    assert listed == {"fstab": ("file", len(TEXT), ""), "current": ("link", 5, "fstab")}
    assert "odd-\ufffd" in {each.name for each in await listing(place, "/")}
    done = await fetch(place, "/etc/current", tmp_path, quiet)
    assert (done.disk, done.partition, done.size) == ("vdb", 1, len(TEXT))
    assert (tmp_path / "current").read_text() == TEXT
    with pytest.raises(ConfigError) as caught:
        await fetch(place, "/etc/current", tmp_path, quiet)
    assert caught.value.code == "NF-BAK-030"
    with pytest.raises(ConfigError, match="is a directory"):
        await fetch(place, "/etc", tmp_path / "etc", quiet)


async def test_what_is_not_there(place: Place, tmp_path: Path) -> None:
    with pytest.raises(FileSystemError) as caught:
        await fetch(place, "/etc/shadow", tmp_path, quiet)
    assert caught.value.code == "NF-FS-002"
    assert not (tmp_path / "shadow").exists()


def test_as_typed(place: Place, tmp_path: Path) -> None:
    where = ("--repo", place.repository, "--key-file", str(tmp_path / "key"))
    said = CliRunner().invoke(app, ["backup", "browse", place.snapshot, "/", *where, "-o", "json"])
    assert {each["name"] for each in json.loads(said.stdout)["files"]} >= {"etc", "lost+found"}
    said = CliRunner().invoke(app, ["backup", "get", place.snapshot, "/etc/fstab", str(tmp_path / "out"), *where])
    assert said.exit_code == 0, said.output
    assert (tmp_path / "out").read_text() == TEXT

"""``--until``: which moment is meant, and which snapshot of which VM."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.app.restorepoint import choose, moment
from novafleet.errors import ConfigError
from tests.unit.repository.disks import snapshot_of
from tests.unit.repository.upkeep import Shelf, noise

AT = 1_800_000_000.0


@pytest.fixture
def _berlin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_berlin")
@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-07-01T12:00", "2026-07-01T10:00:00"),
        ("2026-12-01T12:00", "2026-12-01T11:00:00"),
        ("2026-12-01T12:00Z", "2026-12-01T12:00:00"),
        ("2026-12-01", "2026-12-01T22:59:59"),
    ],
)
def test_a_moment(text: str, utc: str) -> None:
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment(text))) == utc


@pytest.mark.usefixtures("_berlin")
@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "0001-01-01T00:00", "0001-01-01", "1970-01-01T00:00Z", "10000-01-01"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        moment(text)
    assert raised.value.code == "NF-BAK-040"


def test_the_last_years_are_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", "America/New_York")
    time.tzset()
    with pytest.raises(ConfigError):
        moment("9999-12-31")
    monkeypatch.undo()
    time.tzset()


async def _stored(shelf: Shelf, at: float, *, uuid: str = "u", host: str = "kvm1") -> str:
    """A snapshot of a VM of that name, by that clock."""
    async with shelf.repository.backup(shelf.clock) as backup:
        disk = await backup.disk(1 << 20)
        await disk.data(0, noise())
        root, _ = await disk.finish(1 << 20)
        made = replace(snapshot_of(root, 1 << 20, at=at), uuid=uuid, host=host, domain="vm")
        return (await backup.commit(made)).id


async def test_a_time_as_it_is_shown_means_that_snapshot(tmp_path: Path) -> None:
    shelf = await Shelf.make(tmp_path)
    await _stored(shelf, AT - 100)
    made = await _stored(shelf, AT + 0.7)
    assert (await choose(shelf.repository, "vm", AT)).id == made


async def test_a_vm_made_anew_under_its_name_is_one_vm(tmp_path: Path) -> None:
    shelf = await Shelf.make(tmp_path)
    await _stored(shelf, AT, uuid="before")
    newest = await _stored(shelf, AT + 10, uuid="after")
    assert (await choose(shelf.repository, "kvm1/vm", AT + 20)).id == newest
    moved = await _stored(shelf, AT + 15, uuid="after", host="kvm2")
    assert (await choose(shelf.repository, "kvm2/vm", AT + 20)).id == moved
    with pytest.raises(ConfigError) as raised:
        await choose(shelf.repository, "vm", AT + 20)
    assert (raised.value.code, raised.value.cause) == ("NF-BAK-038", "kvm1/vm, kvm2/vm")

"""A guest that writes all the time, and a backup that gives way to it: judged by what the backup itself says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backupbench import Shop
from tests.lab.movebench import VIRSH, Traveller
from tests.lab.restorebench import new_shop
from tests.lab.test_migrate import Pinned
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.thorough]
HOST = "kvm2"
PACE = ("--bandwidth", "12M", "--full")
"""Slow enough for many looks at how the guest does."""


@pytest.fixture
def guest(lab: Lab) -> Iterator[Traveller]:
    """It writes, and waits until that is durable, without end."""
    made = Pinned(lab, "bkgentle")
    made.remove(HOST)
    made.create(HOST)
    made.start(HOST)
    yield made
    made.remove(HOST)
    lab.on(HOST, "rm", "-f", made.log)


def load(guest: Traveller) -> tuple[int, float]:
    """Requests that the disk it writes to has answered so far, and the seconds that took, as virsh says it."""
    said = guest.lab.on(HOST, *VIRSH, "domblkstat", guest.name, "vdb")
    found = {key: int(value) for key, value in re.findall(r"(\w+) (\d+)$", said, re.MULTILINE)}
    kinds = ("rd", "wr", "flush")
    requests = found["rd_req"] + found["wr_req"] + found["flush_operations"]
    return requests, sum(found[f"{kind}_total_times"] for kind in kinds) / 1e9


def took(guest: Traveller) -> float:
    """Seconds a request takes now, over some."""
    first = load(guest)
    guest.counts(HOST, beyond=guest.said(HOST) + 20, seconds=300)
    last = load(guest)
    return (last[1] - first[1]) / (last[0] - first[0])


async def test_a_backup_gives_way_to_its_guest(guest: Traveller, lab: Lab, fleet_home: Path, tmp_path: Path) -> None:
    shop = await new_shop(lab, HOST, fleet_home, tmp_path)
    usual = took(guest)
    free = backed_up(shop, guest, "--latency", "10s")
    assert free["paused"] == 0
    held = backed_up(shop, guest, "--latency", f"{usual * 1e3 / 5:.6f}ms")
    times = f"{free['seconds']:.1f} s free, {held['seconds']:.1f} s held, paused {held['paused']:.1f} s"
    print(f"a request takes {usual * 1e3:.2f} ms; {times}")
    assert held["paused"] >= 1
    assert held["seconds"] >= free["seconds"] + 0.7 * held["paused"], "what was paused for was waited for"
    assert held["bytes"] == free["bytes"], "it goes on all the same"


def backed_up(shop: Shop, guest: Traveller, *limits: str) -> Any:
    """The row of one run, while the guest counts on, and the bytes of its disks."""
    said = guest.said(HOST)
    [row] = shop.run("backup", "run", f"{HOST}/{guest.name}", *PACE, *limits)["vms"]
    assert row["state"] == "done"
    guest.counts(HOST, beyond=said, seconds=300)
    return {**row, "bytes": sum(disk["size"] for disk in row["disks"])}

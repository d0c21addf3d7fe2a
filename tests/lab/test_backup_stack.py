"""Backups of container stacks on real engines: bundle and volumes come back as they were, containers go on."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backupbench import kill, until
from tests.lab.restorebench import new_shop
from tests.lab.stackbench import CASES, IMAGE, PROJECT, Stack, brought_up, row
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.thorough]
READER = Path(__file__).parents[2] / "novafleet" / "repository" / "reader.py"


@pytest.fixture(params=CASES)
async def stack(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Any:
    shop = await new_shop(lab, CASES[request.param], fleet_home, tmp_path)
    with brought_up(shop, request.param, tmp_path, "bkstk-two") as made:
        yield made


def test_bundle_and_volumes_come_back(stack: Stack, tmp_path: Path) -> None:
    shop = stack.shop
    before, bundle = stack.content(), shop.on("cat", f"/var/lib/novafleet/stacks/{PROJECT}/note.txt")
    first = row(shop.run("backup", "run", "--environment", "bkstk"))
    assert {disk["name"] for disk in first["disks"]} == {"bundle", f"volume.{stack.volume}", f"image.{IMAGE}"}
    assert first["consistency"] == "fs"
    assert stack.states() == {"running"}
    second = row(shop.run("backup", "run", "bkstk/stack.app"))
    assert sum(disk["bytes_stored"] for disk in second["disks"]) < sum(d["bytes_stored"] for d in first["disks"]) / 10
    assert [disk["bytes_read"] for disk in second["disks"] if disk["name"].startswith("image.")] == [0]
    assert shop.run("backup", "verify", first["snapshot"])

    shop.run("restore", first["snapshot"], "--stack", "app", "--yes", status=1)  # it is there
    stack.novafleet("down", str(stack.file), "--volumes")
    stack.forget_image()  # as on new hardware, without a registry
    done = shop.run("restore", first["snapshot"], "--stack", "app", "--yes")
    assert (done["state"], done["started"]) == ("done", True)
    assert stack.content() == before
    assert shop.on("cat", f"/var/lib/novafleet/stacks/{PROJECT}/note.txt") == bundle
    assert stack.states() == {"running"}
    nodes = {step["node"] for step in stack.novafleet("up", str(stack.file))["steps"]}
    assert "stack.app/start" not in nodes  # it is its environment's again, as the file wants it

    read_without_novafleet(stack, second["snapshot"], tmp_path / "volume.tar")
    as_a_copy(stack, first["snapshot"], before)
    in_place(stack, first["snapshot"], before)


def read_without_novafleet(stack: Stack, snapshot: str, target: Path) -> None:
    """The reader alone makes a tar file of a volume."""
    shop = stack.shop
    words = (
        str(shop.repository),
        "--key-file",
        str(shop.key),
        "restore",
        snapshot,
        f"volume.{stack.volume}",
        str(target),
    )
    subprocess.run((sys.executable, str(READER), *words), check=True, timeout=120)
    with tarfile.open(target) as archive:
        found = archive.extractfile("./sub/deep/file")
        assert found is not None
        assert found.read() == b"one\n"
        assert archive.getmember("./big").size == (1 << 30) + 4


def as_a_copy(stack: Stack, snapshot: str, before: str) -> None:
    """Under another name, beside the original."""
    done = stack.shop.run("restore", snapshot, "--stack", "app", "--as", "bkstk-two", "--yes")
    assert done["started"]
    assert stack.content("bkstk-two_data") == before
    assert stack.states("bkstk-two") == {"running"}


def in_place(stack: Stack, snapshot: str, before: str) -> None:
    """In the place of what is damaged, which is kept."""
    shop = stack.shop
    stack.sh('rm -rf "$("$1" volume inspect --format "{{.Mountpoint}}" "$2")/sub"', stack.volume)
    said = shop.run("restore", snapshot, "--stack", "app", "--in-place", "--yes", status=1)
    assert said["error"]["code"] == "NF-BAK-036"
    stack.sh('"$1" stop -t 1 $("$1" ps -q --filter "$2")', f"label=com.docker.compose.project={PROJECT}")
    done = shop.run("restore", snapshot, "--stack", "app", "--in-place", "--yes")
    assert stack.content() == before
    assert stack.states() == {"running"}
    kept = [note.rpartition(" ")[2] for note in done["notes"]]
    assert any(each.startswith("/var/lib/") and ".before-" in each for each in kept)
    shop.on("rm", "-rf", *kept)


def test_a_killed_controller_leaves_nothing_paused(stack: Stack) -> None:
    process = stack.shop.start("backup", "run", "bkstk/stack.app", "--bandwidth", "1M")
    until(lambda: stack.states() == {"paused"})
    kill(process)
    until(lambda: stack.states() == {"running"}, 60)  # the host's own doing
    row(stack.shop.run("backup", "run", "bkstk/stack.app"))
    assert stack.states() == {"running"}

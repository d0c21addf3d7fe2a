"""Backups of container stacks on real engines: bundle and volumes come back as they were, containers go on."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.backupbench import Shop, kill, until
from tests.lab.ownimage import own_image
from tests.lab.restorebench import new_shop
from tests.labfixture import Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.thorough]
READER = Path(__file__).parents[2] / "novafleet" / "repository" / "reader.py"
PROJECT = "bkstk-app"
IMAGE = "localhost/bkstk/httpd:1"
COMPOSE = """
services:
  web:
    image: localhost/bkstk/httpd:1
    command: [httpd, -f, -p, "80", -h, /srv/www]
    volumes: [data:/srv/www, ./note.txt:/note.txt:ro]
volumes:
  data: {}
"""
ENVIRONMENT = """
environment: bkstk
stacks:
  app:
    host: %s
    compose: bundle
    images: {"localhost/bkstk/httpd:1": {path: %s}}
"""
LISTING = (
    'cd "$("$1" volume inspect --format "{{.Mountpoint}}" "$2")" && find . -printf "%P %m %U:%G %l %s\\n" | sort && '
)
CONTENT = LISTING + "find . -type f ! -name big -exec sha256sum {} + | sort"
FILL = """\
cd "$("$1" volume inspect --format "{{.Mountpoint}}" "$2")" || exit
mkdir -p sub/deep && echo one >sub/deep/file && chown 1234:4321 sub/deep/file && chmod 4750 sub/deep/file
ln -s file sub/deep/link && ln sub/deep/file sub/hard && truncate -s 1G big && echo end >>big
head -c 3000000 /dev/urandom >random
"""


class Stack:
    """One on a host, with what writes into it and what looks."""

    def __init__(self, shop: Shop, engine: str, folder: Path) -> None:
        self.shop = shop
        self.engine = engine
        self.file = folder / "env.yml"
        (folder / "bundle").mkdir()
        (folder / "bundle" / "compose.yaml").write_text(COMPOSE)
        (folder / "bundle" / "note.txt").write_text("in the bundle\n")
        archive = own_image(shop.lab.httpd, IMAGE, folder / "image.tar")
        self.file.write_text(ENVIRONMENT % (shop.host, archive))

    @property
    def volume(self) -> str:
        return f"{PROJECT}_data"

    def novafleet(self, *words: str) -> Any:
        program = str(Path(sys.executable).parent / "novafleet")
        words = (program, "-i", str(self.shop.lab.inventory), *words, "--yes", "-o", "json")
        done = subprocess.run(
            words, capture_output=True, check=False, env=fleet_environment(self.shop.home), timeout=300
        )
        assert done.returncode == 0, (done.stderr + done.stdout).decode()
        return json.loads(done.stdout)

    def sh(self, text: str, *words: str) -> str:
        return self.shop.on("sh", "-c", text, "sh", self.engine, *words)

    def states(self, project: str = PROJECT) -> set[str]:
        label = f"label=com.docker.compose.project={project}"
        ids = '"$1" container inspect --format "{{.State.Status}}" $("$1" ps -aq --filter "$2")'
        return set(self.sh(ids, label).split())

    def content(self, volume: str = "") -> str:
        return self.sh(CONTENT, volume or self.volume)

    def forget_image(self) -> None:
        """What containers were made of, and what brought it."""
        self.sh('"$1" rmi "$2" >/dev/null', IMAGE)
        assert not self.shop.lab.answers(self.shop.host, self.engine, "image", "inspect", IMAGE)

    def remove(self, *projects: str) -> None:
        """Past NovaFleet."""
        for project in (PROJECT, *projects):
            label = f"label=com.docker.compose.project={project}"
            self.sh('ids=$("$1" ps -aq --filter "$2"); [ -z "$ids" ] || "$1" rm -f $ids', label)
            self.sh('ids=$("$1" volume ls -q --filter "$2"); [ -z "$ids" ] || "$1" volume rm -f $ids', label)
            self.sh('ids=$("$1" network ls -q --filter "$2"); [ -z "$ids" ] || "$1" network rm $ids', label)
            self.shop.on("rm", "-rf", f"/var/lib/novafleet/stacks/{project}")
        self.sh('"$1" rmi "$2" >/dev/null 2>&1; :', IMAGE)


CASES = {"docker": "kvm2", "podman": "kvm1"}


@pytest.fixture(params=CASES)
async def stack(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Any:
    shop = await new_shop(lab, CASES[request.param], fleet_home, tmp_path)
    made = Stack(shop, request.param, tmp_path)
    made.remove("bkstk-two")
    made.novafleet("up", str(made.file))
    made.sh(FILL, made.volume)
    yield made
    made.remove("bkstk-two")


def row(said: Any) -> Any:
    """The one of a run."""
    [found] = said["vms"]
    assert (found["state"], found["kind"], found["vm"]) == ("done", "stack", "stack.app"), found
    return found


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

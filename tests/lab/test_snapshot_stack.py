"""Volumes of real stacks in the snapshots of their environment: on docker and podman, paused, stopped, killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ownimage import own_image
from tests.lab.snapshotguest import until
from tests.lab.stackbench import COMPOSE, CONTENT, FILL, IMAGE
from tests.labfixture import Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600), pytest.mark.thorough]
ENV, PROJECT = "snstk", "snstk-app"
ENVIRONMENT = """
environment: snstk
stacks:
  app:
    host: %s
    compose: bundle
    images: {"localhost/bkstk/httpd:1": {path: %s}}
"""
REMOVE = """label=label=com.docker.compose.project=$2
for each in $("$1" ps -aq --filter "$label"); do "$1" rm -f "$each"; done
for each in $("$1" volume ls -q --filter "$label"); do "$1" volume rm -f "$each"; done
for each in $("$1" network ls -q --filter "$label"); do "$1" network rm "$each"; done
rm -rf "/var/lib/novafleet/stacks/$2" "/var/lib/novafleet/volumes/$2"
"""
STATES = (
    """for each in $("$1" ps -aq --filter "$2"); do "$1" container inspect --format '{{.State.Status}}' "$each"; done"""
)
SPOIL = """cd "$("$1" volume inspect --format '{{.Mountpoint}}' "$2")" && rm -rf sub && echo new >new
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """One of an environment of its own."""

    lab: Lab
    host: str
    engine: str
    home: Path
    file: Path

    def command(self, *words: str) -> list[str]:
        program = str(Path(sys.executable).parent / "novafleet")
        return [program, "-i", str(self.lab.inventory), *words]

    def novafleet(self, *words: str) -> Any:
        command, home = self.command(*words, "-o", "json"), fleet_environment(self.home)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=home, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def snapshot(self, verb: str, *words: str) -> Any:
        [row] = self.novafleet("snapshot", verb, "--environment", ENV, *words)["vms"]
        assert row["vm"] == "stack.app"
        return row

    def sh(self, text: str, *words: str) -> str:
        return self.lab.on(self.host, "sh", "-c", text, "sh", self.engine, *words)

    def states(self) -> set[str]:
        return set(self.sh(STATES, f"label=com.docker.compose.project={PROJECT}").split())

    def content(self) -> str:
        return self.sh(CONTENT, f"{PROJECT}_data")


@pytest.fixture(params=[("kvm1", "podman"), ("kvm2", "docker")], ids=["podman", "docker"])
def stack(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path, tmp_path: Path) -> Iterator[Stack]:
    host, engine = request.param
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "bundle" / "note.txt").write_text("in the bundle\n")
    (tmp_path / "env.yml").write_text(ENVIRONMENT % (host, own_image(lab.httpd, IMAGE, tmp_path / "image.tar")))
    made = Stack(lab, host, engine, fleet_home, tmp_path / "env.yml")
    made.sh(REMOVE, PROJECT)
    made.novafleet("up", str(made.file), "--yes")
    made.sh(FILL, f"{PROJECT}_data")
    yield made
    made.sh(REMOVE, PROJECT)


def test_the_volumes_of_an_environment(stack: Stack) -> None:
    before = stack.content()
    made = stack.snapshot("create", "--name", "a", "--ttl", "7d")["outcome"]
    assert (made["mode"], list(made["volumes"])) == ("paused", [f"{PROJECT}_data"])
    assert stack.states() == {"running"}
    [shown] = stack.snapshot("show", "a")["snapshots"]
    assert (shown["kind"], shown["mode"], list(shown["images"])) == ("volumes", "paused", [f"{PROJECT}_data"])
    assert 3_000_000 < shown["size"] < 8_000_000, "the hole of 1 GiB is not filled"

    stack.sh(SPOIL, f"{PROJECT}_data")
    spoilt = stack.content()
    assert spoilt != before
    safety = stack.snapshot("revert", "a", "--yes")["outcome"]["safety"]
    assert (stack.content(), stack.states()) == (before, {"running"})
    stack.snapshot("revert", safety, "--yes", "--no-safety")
    assert (stack.content(), stack.states()) == (spoilt, {"running"})

    assert stack.snapshot("create", "--name", "b", "--stacks", "stop")["outcome"]["mode"] == "stopped"
    assert stack.states() == {"running"}
    assert stack.novafleet("up", str(stack.file), "--yes")["changed"] == 0
    assert stack.snapshot("prune", "--yes", "--keep-last", "1")["outcome"]["removed"] == ["a"], "safety has its time"
    stack.snapshot("rm", "--all", "--yes")
    assert stack.lab.on(stack.host, "ls", "-A", f"/var/lib/novafleet/volumes/{PROJECT}").split() == []


def test_a_controller_killed_meanwhile(stack: Stack) -> None:
    grow = 'cd "$("$1" volume inspect --format "{{.Mountpoint}}" "$2")" && head -c 300000000 /dev/urandom >large'
    stack.sh(grow, f"{PROJECT}_data")
    command = stack.command("snapshot", "create", "--environment", ENV, "--name", "a")
    with subprocess.Popen(command, env=fleet_environment(stack.home)) as running:
        until(lambda: "paused" in stack.states())
        running.kill()
    until(lambda: stack.states() == {"running"}, 120)
    again = ("--lock-wait", "60")
    stack.snapshot("prune", "--yes", *again)
    stack.snapshot("create", "--name", "b", *again)
    names = {each["name"] for each in stack.snapshot("ls")["snapshots"]}
    assert names - {"a"} == {"b"}
    assert not stack.snapshot("ls")["unfinished"]
    stack.snapshot("rm", "--all", "--yes")

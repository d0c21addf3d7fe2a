"""Container stacks on the lab's hosts: made by NovaFleet, filled, looked at and removed past it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.backupbench import Shop
from tests.lab.ownimage import own_image
from tests.labfixture import fleet_environment

CASES = {"docker": "kvm2", "podman": "kvm1"}
"""A host for each engine."""
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

    def __init__(self, shop: Shop, engine: str, folder: Path, compose: str = COMPOSE, more: str = "") -> None:
        self.shop = shop
        self.engine = engine
        self.file = folder / "env.yml"
        (folder / "bundle").mkdir()
        (folder / "bundle" / "compose.yaml").write_text(compose)
        (folder / "bundle" / "note.txt").write_text("in the bundle\n")
        archive = own_image(shop.lab.httpd, IMAGE, folder / "image.tar")
        self.file.write_text(ENVIRONMENT % (shop.host, archive) + more)

    @property
    def volume(self) -> str:
        return f"{PROJECT}_data"

    def novafleet(self, *words: str) -> Any:
        """The JSON a command prints that changes something."""
        done = self._run(*words)
        assert done.returncode == 0, (done.stderr + done.stdout).decode()
        return json.loads(done.stdout)

    def complaint(self, *words: str) -> str:
        """Of a command that fails."""
        done = self._run(*words)
        assert done.returncode == 1, (done.stderr + done.stdout).decode()
        return done.stderr.decode()

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        program = str(Path(sys.executable).parent / "novafleet")
        argv = (program, "-i", str(self.shop.lab.inventory), *words, "--yes", "-o", "json")
        environment = fleet_environment(self.shop.home)
        return subprocess.run(argv, capture_output=True, check=False, env=environment, timeout=300)

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


def row(said: Any) -> Any:
    """The one of a run."""
    [found] = said["vms"]
    assert (found["state"], found["kind"], found["vm"]) == ("done", "stack", "stack.app"), found
    return found


@contextmanager
def brought_up(
    shop: Shop, engine: str, folder: Path, *copies: str, compose: str = COMPOSE, more: str = ""
) -> Iterator[Stack]:
    """A stack that runs, its volume filled; gone at the end, as are ``copies``. ``more`` is added to its file."""
    made = Stack(shop, engine, folder, compose, more)
    made.remove(*copies)
    made.novafleet("up", str(made.file))
    made.sh(FILL, made.volume)
    try:
        yield made
    finally:
        made.remove(*copies)

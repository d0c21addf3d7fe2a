"""Images of a stack: told by scripts that run for real on an engine of paper, stored once, given back where absent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from novafleet.capability.backup.history import History
from novafleet.capability.backup.look import script
from novafleet.capability.backup.order import Order
from novafleet.capability.backup.read import Pace
from novafleet.capability.backup.stack_images import LOAD, SAVE, image_copies, images, load_images
from novafleet.errors import BackupError
from novafleet.model.backup import Consistency, CopyMode, DiskCopy, Snapshot, SnapshotKind
from novafleet.model.command import Command, Completed, Output
from novafleet.model.fleet import Host
from novafleet.ports import ActionContext
from novafleet.repository import Repository
from tests.unit.repository.disks import StillClock, fresh

ENGINE = """#!/bin/sh
case "$1 $2" in
  'ps -aq') echo "c1 c2" ;;
  'container inspect') cat "$STATE/containers" ;;
  'image inspect') for last; do :; done
    file="$STATE/$(echo "$last" | tr / _)"
    case $4$last in *gone) exit 1 ;; *Size*) echo 4096 ;; *) cat "$file" 2>/dev/null ;; esac ;;
  'save '*) echo "saved $2" ;;
  'load '*) cat >"$STATE/loaded"; [ -z "$TAGS" ] || echo sha256:new >"$STATE/$TAGS"
    echo "Loaded image ID: sha256:new" ;;
  'tag '*) echo "$2" >"$STATE/$3" ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    program = tmp_path / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    return program


def run(engine: Path, text: str, *words: str, stdin: str = "", tags: str = "") -> str:
    argv = ("sh", "-c", text, "novafleet", str(engine), *words)
    environment = {**os.environ, "STATE": str(engine.parent), "TAGS": tags}
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_the_images_of_containers(engine: Path) -> None:
    (engine.parent / "containers").write_text("sha256:b db:1\nsha256:a web\nsha256:a web\nsha256:gone old\n")
    said = run(engine, script("stack_images.sh"), "dev-edge")
    assert said.splitlines() == ["sha256:a 4096 web", "sha256:b 4096 db:1", "sha256:gone -1 old"]


def test_an_image_is_saved_by_its_name_unless_that_means_another(engine: Path) -> None:
    (engine.parent / "web").write_text("sha256:a\n")
    assert run(engine, SAVE, "sha256:a", "web") == "saved web"
    (engine.parent / "web").write_text("sha256:newer\n")
    assert run(engine, SAVE, "sha256:a", "web") == "saved sha256:a"


@pytest.mark.parametrize("tags", ["", "web"])
def test_a_loaded_image_has_its_name(engine: Path, tags: str) -> None:
    run(engine, LOAD, "web", stdin="archive", tags=tags)
    assert (engine.parent / "loaded").read_text() == "archive"
    assert (engine.parent / "web").read_text() == "sha256:new\n"


class Host1:
    """Says of its images what it is told to, saves and loads them."""

    def __init__(self, said: str = "", content: bytes = b"layers" * 50_000) -> None:
        self.host = Host("kvm1", "192.0.2.1")
        self.session = self
        self.said = said
        self.content = content
        self.there: dict[str, str] = {}
        self.loaded: dict[str, bytes] = {}
        self.saves = 0

    def progress(self, *_said: Any) -> None:
        """Nobody looks."""

    async def run(self, command: Command, **_options: Any) -> Completed:
        inspected = "{{.Id}}" in command.argv[2]
        said = self.there.get(command.argv[-1], "") if inspected else self.said
        return Completed(command.argv, 0, said.encode(), b"")

    @asynccontextmanager
    async def stream(self, command: Command, *, stdin: Any = None) -> AsyncIterator[Any]:
        if stdin is not None:
            self.loaded[command.argv[-1]] = b"".join([piece async for piece in stdin])
            yield Running([])
        else:
            self.saves += 1
            yield Running([Output(1, self.content)])


class Running:
    """A command that writes this and ends well."""

    def __init__(self, outputs: list[Output]) -> None:
        self._outputs = outputs

    async def __aiter__(self) -> AsyncIterator[Output]:
        for each in self._outputs:
            yield each

    async def status(self) -> int:
        return 0


def context(host: Host1) -> ActionContext:
    return cast("ActionContext", host)


async def test_what_is_left_out() -> None:
    said = "sha256:a 9 web:1\nsha256:p 9 localhost/podman-pause:4.3.1-0\nsha256:c 9 db@sha256:0f\nsha256:d -1 old\n"
    found = await images(context(Host1(said)), "podman", "dev-edge")
    assert {each.name: each.skip for each in found} == {
        "web:1": "",
        "db@sha256:0f": "its registry has it under that digest",
        "old": "its engine does not have it any more",
    }
    with pytest.raises(BackupError) as caught:
        await images(context(Host1("babble")), "docker", "dev-edge")
    assert caught.value.code == "NF-BAK-061"


class Shelf:
    """A repository with the snapshots of one stack."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.clock = StillClock()

    async def keep(self, host: Host1, parent: Snapshot | None = None) -> Snapshot:
        order = Order("stack.edge", "stack.edge", "", "", Pace(self.clock, 0), History(self.repository))
        found = await images(context(host), "docker", "dev-edge")
        async with self.repository.backup(self.clock, after=parent.id if parent else "") as store:
            copies = await image_copies(context(host), self.repository, store, order, "docker", found, parent)
            facts = {"engine": "docker", "images": {each.name: each.id for each in found}}
            snapshot = Snapshot("", "stack.edge", "stack.dev-edge", "u", "kvm1", 0.0, Consistency.FS, copies)
            snapshot = replace(snapshot, facts=facts, kind=SnapshotKind.STACK, parent=parent.id if parent else "")
            return await store.commit(snapshot)

    async def content(self, copy: DiskCopy) -> bytes:
        return await (await self.repository.disk(copy)).read(0, copy.size)


async def test_an_image_is_read_once(tmp_path: Path) -> None:
    shelf, host = Shelf(await fresh(tmp_path)), Host1("sha256:a 9 web:1\n")
    first = await shelf.keep(host)
    second = await shelf.keep(host, first)
    copy = second.disks["image.web:1"]
    assert (host.saves, copy.mode, copy.bytes_read) == (1, CopyMode.INCREMENTAL, 0)
    assert await shelf.content(copy) == host.content
    host.said, host.content = "sha256:b 9 web:1\n", b"other" * 1000
    third = (await shelf.keep(host, second)).disks["image.web:1"]
    assert (host.saves, third.bytes_read) == (2, 5000)
    assert await shelf.content(third) == host.content


async def test_a_host_is_given_what_it_lacks(tmp_path: Path) -> None:
    shelf, host = Shelf(await fresh(tmp_path)), Host1("sha256:a 9 web:1\n")
    snapshot = await shelf.keep(host)
    assert await load_images(context(host), shelf.repository, snapshot, "docker") == ()
    assert host.loaded == {"web:1": host.content}
    host.there, host.loaded = {"web:1": "sha256:a"}, {}
    assert await load_images(context(host), shelf.repository, snapshot, "docker") == ()
    host.there = {"web:1": "sha256:newer"}
    [note] = await load_images(context(host), shelf.repository, snapshot, "docker")
    assert "web:1 is another image on kvm1" in note
    assert await load_images(context(host), shelf.repository, snapshot, "podman") == (), "engines count differently"
    assert host.loaded == {}

"""Whatever happens to a disk, every backup restores to the very bytes it had at that moment."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from novafleet.repository import reader
from tests.e2e.conftest import Write
from tests.e2e.controller import Controller
from tests.e2e.guestdisk import GuestDisks
from tests.labfixture import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed here"),
]

STEPS = int(os.environ.get("NOVAFLEET_EXACT_STEPS", "16"))
SEED = os.environ.get("NOVAFLEET_EXACT_SEED", "novafleet")
KIB, MIB = 1024, 1024 * 1024
TEXT = """
defaults: {vm: {memory: 96MiB, boot: mini, stop_timeout: 0s}}
vms:
  vm: {host: HOST, disks: {data: {size: 12MiB}, raw: {size: 4MiB, format: raw}}}
"""


@dataclass
class Story:
    """A VM, its repository, what happened, and what each backup must restore to."""

    controller: Controller
    disks: GuestDisks
    folder: Path
    chance: random.Random
    sizes: dict[str, int] = field(default_factory=lambda: {"data": 12 * MIB, "raw": 4 * MIB})
    told: list[str] = field(default_factory=list)
    expected: dict[str, dict[str, Path]] = field(default_factory=dict)
    modes: set[str] = field(default_factory=set)
    overlays: int = 0

    @property
    def repository(self) -> list[str]:
        return ["--repo", str(self.folder / "repository"), "--key-file", str(self.folder / "key")]

    def change(self) -> None:
        """Write, zero or discard somewhere."""
        name = self.chance.choice(sorted(self.sizes))
        start = self.chance.randrange(0, self.sizes[name] - 64 * KIB, 512)
        length = self.chance.randrange(512, min(MIB, self.sizes[name] - start), 512)
        kind = self.chance.choice(("write", "write", "zero", "discard"))
        cells = f"{start // (64 * KIB) * 64 * KIB} {max(64, length // (64 * KIB) * 64) * KIB}"
        command = {
            "write": f"write -P {self.chance.randrange(1, 255)} {start} {length}",
            "zero": f"write -z {start} {length}",
            "discard": f"discard {cells}",
        }[kind]
        self.told.append(f"{name}: {command}")
        self.disks.io(name, command)

    def grow(self) -> None:
        """The new area is in no bitmap."""
        name = self.chance.choice(sorted(self.sizes))
        self.sizes[name] += self.chance.choice((64 * KIB, MIB + 512, 3 * MIB))
        self.told.append(f"{name}: grown to {self.sizes[name]}")
        self.disks.grow(name, self.sizes[name])
        self.disks.io(name, f"write -P 9 {self.sizes[name] - 32 * KIB} {32 * KIB}")

    def switch(self) -> None:
        """On when off, off when on."""
        self.told.append("power switched")
        self.disks.power(not self.disks.running)

    def crash(self) -> None:
        """kill -9 of QEMU."""
        if self.disks.running:
            self.told.append("QEMU killed")
            self.disks.kill()

    def overlay(self) -> None:
        """A new file on top, made by somebody else's tool."""
        if self.disks.running and self.overlays < 2:
            self.overlays += 1
            self.told.append("external snapshot")
            self.disks.overlay(self.overlays)

    def killed_backup(self) -> None:
        """kill -9 of the controller."""
        seconds = self.chance.uniform(0.5, 4.0)
        self.told.append(f"backup killed after {seconds:.2f} s")
        process = self.controller.start("backup", "run", self.disks.domain, *self.repository)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        self.change()
        self.backup()  # libvirt refuses to resize or overlay a disk whose backup job the killed run left

    def backup(self, *words: str) -> None:
        """Back up, and keep a copy of the disks as they are."""
        shown = self.controller.json("backup", "run", self.disks.domain, *self.repository, *words)
        [vm] = shown["vms"]
        modes = {disk["name"]: disk["mode"] for disk in vm["disks"]}
        self.told.append(f"backup {vm['snapshot']}: {modes}")
        self.modes |= set(modes.values())
        copies = {name: self.disks.copy(name, self.folder / f"{vm['snapshot']}.{name}") for name in self.sizes}
        self.expected[vm["snapshot"]] = copies

    def full_backup(self) -> None:
        """One that reads everything."""
        self.backup("--full")

    def check(self) -> None:
        """Restore every disk of every backup, twice: by NovaFleet, and by the reader that needs none of it."""
        for snapshot, copies in self.expected.items():
            for name, copy in copies.items():
                self._same(copy, self._restored(snapshot, name), f"{snapshot} {name}")
                self._same(copy, self._read(snapshot, name), f"{snapshot} {name} by the standalone reader")

    def _restored(self, snapshot: str, name: str) -> Path:
        out = self.folder / "restored"
        self.controller.ok("restore", snapshot, *self.repository, "--disk", name, "--to-file", str(out), "--force")
        return out

    def _read(self, snapshot: str, name: str) -> Path:
        out = self.folder / "read"
        out.unlink(missing_ok=True)
        words = [str(self.folder / "repository"), "--key-file", str(self.folder / "key")]
        argv = [sys.executable, "-I", reader.__file__, *words, "restore", snapshot, name, str(out)]
        subprocess.run(argv, check=True, timeout=120)
        return out

    def _same(self, copy: Path, restored: Path, what: str) -> None:
        argv = ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(copy), str(restored)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        same = done.returncode == 0 and copy.stat().st_size == restored.stat().st_size
        assert same, "\n".join((f"{what}: {done.stdout}{done.stderr}", *self.told))


EVENTS: tuple[tuple[Callable[[Story], Any], int], ...] = (
    (Story.change, 6),
    (Story.backup, 5),
    (Story.switch, 2),
    (Story.grow, 1),
    (Story.crash, 1),
    (Story.overlay, 1),
    (Story.killed_backup, 1),
    (Story.full_backup, 1),
)


@pytest.fixture
def story(lab: Lab, controller: Controller, environment: Write, tmp_path: Path, host: str) -> Iterator[Story]:
    file = environment("exact", TEXT.replace("HOST", host))
    controller.ok("up", str(file), "--yes")
    disks = GuestDisks(lab, host, "exact-vm", {"data": "vda", "raw": "vdb"})
    told = Story(controller, disks, tmp_path, random.Random(f"{SEED} {host}"))
    controller.ok("repo", "init", *told.repository[1:])
    try:
        yield told
    finally:
        lab.on(host, "sh", "-c", "rm -f /var/lib/libvirt/images/exact.vm.*.s[0-9]", check=False)


@pytest.mark.parametrize("host", ["kvm1", "kvm2"])
def test_every_backup_restores_to_the_very_bytes(story: Story) -> None:
    story.change()
    story.backup()
    events, weights = zip(*EVENTS, strict=True)
    for event in story.chance.choices(events, weights, k=STEPS):
        try:
            event(story)
        except AssertionError as failure:
            failure.add_note("\n".join(story.told))
            raise
    story.backup()
    story.check()
    assert story.modes >= {"full", "hash-incremental"}, story.told

"""Whatever happens to a disk, every backup restores to the very bytes it had at that moment.

``NOVAFLEET_EXACT_STEPS`` is how much happens on each host, ``NOVAFLEET_EXACT_SEED`` (several: with commas) what.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from novafleet.repository import reader
from tests.e2e.conftest import Write
from tests.e2e.controller import Controller, Process, wait_for
from tests.e2e.guestdisk import IMAGES, GuestDisks
from tests.labfixture import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed here"),
]

STEPS = int(os.environ.get("NOVAFLEET_EXACT_STEPS", "9"))
SEEDS = os.environ.get("NOVAFLEET_EXACT_SEED", "novafleet").split(",")
KIB, MIB = 1024, 1024 * 1024
TEXT = """
defaults: {vm: {memory: 96MiB, boot: mini, stop_timeout: 0s}}
vms:
  vm: {host: HOST, disks: {data: {size: 12MiB}, raw: {size: 4MiB, format: raw}}}
"""
PAIRS = {"kvm1": ("kvm1", "kvm2"), "kvm2": ("kvm2", "kvm3")}
"""Where a VM that was made on a host wanders: QEMU 7.2 does not know the machines of 10.0."""
LAYERS = 3
"""Images of a disk that lie upon each other, at most."""


@dataclass
class Story:
    """A VM, its repository, what happened, and what each backup must restore to."""

    controller: Controller
    disks: GuestDisks
    folder: Path
    hosts: tuple[str, str]
    chance: random.Random
    sizes: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    expected: dict[str, dict[str, Path]] = field(default_factory=dict)
    modes: set[str] = field(default_factory=set)
    overlays: int = 0
    made: int = 0
    inside: tuple[str, str] = ("", "")
    taken: list[str] = field(default_factory=list)
    frozen: dict[str, Path] = field(default_factory=dict)
    copied: int = 0

    @property
    def repository(self) -> list[str]:
        return ["--repo", str(self.folder / "repository"), "--key-file", str(self.folder / "key")]

    def tell(self, what: str, refused: str = "") -> bool:
        """Remember what happened; whether it did."""
        self.told.append(f"{what}: REFUSED {refused}" if refused else what)
        return not refused

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
        self.tell(f"{name}: {command}")
        self.disks.io(name, command)

    def grow(self) -> None:
        """The new area is in no bitmap."""
        name = self.chance.choice(sorted(self.sizes))
        size = self.sizes[name] + self.chance.choice((64 * KIB, MIB + 512, 3 * MIB))
        if self.tell(f"{name}: grown to {size}", self.disks.grow(name, size)):
            self.sizes[name] = size
            self.disks.io(name, f"write -P 9 {size - 32 * KIB} {32 * KIB}")

    def switch(self) -> None:
        """On when off, off when on."""
        self.tell("power switched")
        self.disks.power(not self.disks.running)

    def crash(self) -> None:
        """kill -9 of QEMU."""
        if self.disks.running:
            self.tell("QEMU killed")
            self.disks.kill()

    def overlay(self) -> None:
        """A new file on top, made by somebody else's tool."""
        if self.overlays < LAYERS:
            self.made += 1
            done = self.tell(f"external snapshot s{self.made}", self.disks.overlay(self.made))
            self.overlays += done

    def merge(self) -> None:
        """And such files gone again."""
        if self.overlays and self.disks.running and not self.taken:
            for name, image in self.disks.images().items():
                if image.format == "qcow2":
                    self.tell(f"{name}: overlays merged", self.disks.merge(name))
            self.overlays = 0

    def plug(self) -> None:
        """A disk more, hot when the VM runs."""
        if "more" not in self.sizes:
            self._add("more", self.chance.choice(("qcow2", "raw")))

    def replace(self) -> None:
        """Another disk in the place of one, under its name."""
        if "more" in self.sizes and not self.taken:
            if self.disks.running:
                self.switch()
            self.tell("more: removed")
            self.disks.remove("more")
            del self.sizes["more"]
            if self.chance.random() < 0.8:
                self._add("more", "qcow2")

    def _add(self, name: str, form: str) -> None:
        self.made += 1
        size = (2 + self.made) * MIB
        self.tell(f"{name}: a new disk of {size} bytes, {form}, {'running' if self.disks.running else 'off'}")
        self.disks.add(name, "vdf", size, form)
        self.sizes[name] = size
        self.disks.io(name, f"write -P {self.chance.randrange(1, 255)} 0 {MIB}")

    def internal(self) -> None:
        """A snapshot inside an image, made by somebody else's tool while the VM is off; or back to the last one."""
        if self.disks.running:
            self.switch()
        path, inside = self.inside
        if path != self.disks.images()["data"].path:
            self.made += 1
            name = f"i{self.made}"
            if self.tell(f"data: internal snapshot {name}", self.disks.keep("data", name)):
                self.inside = self.disks.images()["data"].path, name
            return
        refused = self.disks.back("data", inside)
        self.tell(f"data: back to internal snapshot {inside}" + (f" without bitmaps ({refused})" if refused else ""))
        self.sizes = self.disks.sizes()

    def snapshot(self) -> None:
        """One of our own, or back to one."""
        words = [self.disks.domain, *(self.taken[-1:] if self.taken and self.chance.random() < 0.6 else [])]
        if len(words) == 1:
            self.made += 1
            mode = self.chance.choice(("crash", "live"))
            done = self._snapshot("create", words[0], "--name", f"o{self.made}", "--mode", mode)
            self.taken += [f"o{self.made}"] if done else []
        elif self._snapshot("revert", *words, "--no-safety", "--yes"):
            self.sizes = self.disks.sizes()

    def forget(self) -> None:
        """All of our own snapshots go: overlays are merged."""
        if self.taken and self._snapshot("rm", self.disks.domain, "--all", "--yes"):
            self.taken = []

    def _snapshot(self, *words: str) -> bool:
        done = self.controller.run("snapshot", *words)
        assert done.returncode == 0 or "NF-SNAP" in done.stderr, done.stderr
        return self.tell(f"snapshot {' '.join(words)}", done.stderr if done.returncode else "")

    def migrate(self) -> None:
        """To the other host: live where it runs (refused while an image holds snapshots), cold where it is off."""
        here, there = self.disks.host, next(host for host in self.hosts if host != self.disks.host)
        mode = "live" if self.disks.running else "cold"
        words = (f"{here}/{self.disks.domain}", "--to", there, "--mode", mode, "--path", "relay", "--yes")
        done = self.controller.run("migrate", *words)
        assert done.returncode == 0 or "NF-MIG" in done.stderr, done.stderr
        if self.tell(f"migrated to {there}, {mode}", done.stderr if done.returncode else ""):
            self.disks, self.overlays = replace(self.disks, host=there), 0

    def killed_backup(self) -> None:
        """kill -9 of the controller; the next run, whenever that is, takes it up or cleans up after it."""
        self.frozen = self.copies()
        seconds = self.chance.uniform(0.5, 4.0)
        self.tell(f"backup killed after {seconds:.2f} s")
        process = self.controller.start("backup", "run", self.disks.domain, *self.repository)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        self.committed()
        if not self.disks.running:
            wait_for(self.disks.unread, 30, "the host lets go of images that nobody reads any more")

    def committed(self) -> list[str]:
        """What a run that was killed or failed committed all the same: the disks of the moment when it began."""
        listed = self.controller.json("backup", "ls", *self.repository)["snapshots"]
        found = [each["id"] for each in listed if each["id"] not in self.expected]
        self.expected |= dict.fromkeys(found, self.frozen)
        return found

    def copies(self) -> dict[str, Path]:
        """The disks as they are."""
        self.copied += 1
        return {name: self.disks.copy(name, self.folder / f"{self.copied}.{name}") for name in self.sizes}

    def backup(self, *words: str) -> None:
        """Back up, and keep a copy of the disks as they are."""
        began = time.time()
        shown = self.controller.json("backup", "run", self.disks.domain, *self.repository, *words, "--lock-wait", "60")
        [vm] = shown["vms"]
        modes = {disk["name"]: disk["mode"] for disk in vm["disks"]}
        self.modes |= set(modes.values())
        listed = self.controller.json("backup", "ls", *self.repository)["snapshots"]
        taken_up = next(each["at"] for each in listed if each["id"] == vm["snapshot"]) < began
        self.tell(f"backup {vm['snapshot']}{' of the killed run' if taken_up else ''}: {modes}")
        self.expected[vm["snapshot"]] = copies = self.frozen if taken_up else self.copies()
        assert modes.keys() == copies.keys()
        self.frozen = {}

    def full_backup(self) -> None:
        """One that reads everything."""
        self.backup("--full")

    def check(self) -> None:
        """Restore every disk of every backup, twice: by NovaFleet, and by the reader that needs none of it."""
        self.controller.ok("repo", "check", "--read-data", self.repository[1], *self.repository[2:])
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


OFTEN = (Story.change, Story.backup, Story.backup, Story.switch)
SELDOM = (
    Story.grow,
    Story.crash,
    Story.overlay,
    Story.merge,
    Story.plug,
    Story.replace,
    Story.internal,
    Story.internal,
    Story.snapshot,
    Story.snapshot,
    Story.forget,
    Story.migrate,
    Story.killed_backup,
    Story.full_backup,
)


def events(chance: random.Random) -> Iterator[Callable[[Story], Any]]:
    """Everything that happens seldom in some order, and what happens often in between; without end."""
    while True:
        for event in chance.sample(SELDOM, len(SELDOM)):
            yield event
            yield chance.choice(OFTEN)


@pytest.fixture(params=SEEDS)
def story(
    request: pytest.FixtureRequest, lab: Lab, controller: Controller, environment: Write, tmp_path: Path, host: str
) -> Iterator[Story]:
    name = f"exact{host[-1]}"
    file = environment(name, TEXT.replace("HOST", host))
    controller.ok("up", str(file), "--yes")
    disks = GuestDisks(lab, host, f"{name}-vm")
    told = Story(controller, disks, tmp_path, PAIRS[host], random.Random(f"{request.param} {host}"), disks.sizes())
    controller.ok("repo", "init", *told.repository[1:])
    yield told
    print(f"\nseed {request.param} on {host}:", *told.told, sep="\n  ")
    lab.on(told.disks.host, "virsh", "destroy", disks.domain, check=False)
    keep = ("!", "-name", "*.vm.data.qcow2", "!", "-name", "*.vm.raw.raw", "!", "-name", "*seed*")
    for each in told.hosts:
        lab.on(each, "find", IMAGES, "-maxdepth", "1", "-name", f"{name}.vm.*", *keep, "-delete")


@pytest.mark.parametrize("host", [pytest.param("kvm1", marks=pytest.mark.thorough), "kvm2"])
def test_every_backup_restores_to_the_very_bytes(story: Story) -> None:
    story.change()
    story.backup()
    for event in islice(events(story.chance), STEPS):
        try:
            event(story)
        except AssertionError as failure:
            failure.add_note("\n".join(story.told))
            raise
    story.backup()
    story.check()
    assert story.modes >= {"full"}, story.told


@pytest.mark.disturbs
@pytest.mark.thorough
@pytest.mark.parametrize("host", ["kvm1", "kvm2"])
def test_libvirtd_is_killed_in_the_middle(story: Story) -> None:
    """The run says so or goes on; the next one cleans up after it and is incremental."""
    story.change()
    story.backup()
    story.disks.io("data", f"write -P {story.chance.randrange(1, 255)} {MIB} {8 * MIB}")
    ended_in_the_middle(story)
    story.change()
    story.backup()
    assert "data': 'incremental'" in story.told[-1], story.told
    story.backup()
    story.check()


def ended_in_the_middle(story: Story) -> None:
    """A slow backup during which libvirtd is killed, and what it committed all the same."""
    slow = story.controller.start("backup", "run", story.disks.domain, *story.repository, "--bandwidth", "2M")
    wait_for(lambda: begun(story, slow), 60, "the backup begins")
    story.frozen = story.copies()
    story.disks.kill_libvirtd()
    story.change()
    _, said = slow.communicate(timeout=240)
    made = story.committed()
    story.tell(f"libvirtd killed; the run ended with {slow.returncode} and made {made}: {said[-300:]}")
    assert bool(made) == (slow.returncode == 0), story.told


def begun(story: Story, process: Process) -> bool:
    """Does QEMU serve a backup?"""
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    return not story.disks.may("virsh", "backup-dumpxml", story.disks.domain)

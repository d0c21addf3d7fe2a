"""A random life of a real VM between backups; whatever happened, every snapshot is what the disks were.

``NOVAFLEET_WALK=SEED[:STEPS]`` walks another way; a failure names its own.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from tests.lab.backupbench import SLOW, TWO, Machine, kill, machine, reading, shop, until

__all__ = ["machine", "shop"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800), pytest.mark.thorough]
SEED, _, STEPS = os.environ.get("NOVAFLEET_WALK", "3:14").partition(":")
MIB = 1 << 20


class Walk:
    """What may happen to a VM, and what it needs for that."""

    def __init__(self, vm: Machine, chance: random.Random) -> None:
        self.vm = vm
        self.chance = chance
        self.sizes = {target: int(size.removesuffix("M")) for target, _, size in TWO}
        self.running = True
        self.layers = self.made = 0
        self.told: list[str] = []

    def step(self) -> None:
        """One thing, and now and then a backup."""
        always = [self.write, self.write, self.zero, self.discard, self.back_up, self.back_up]
        online = [self.stop, self.kill, self.grow, self.plug, self.overlay, self.merge, self.abandon]
        act: Callable[[], None] = (
            self.chance.choice(always + online)
            if self.running
            else self.chance.choice([self.start, self.start, self.back_up, self.full])
        )
        self.told.append(act.__name__)
        act()

    def _place(self) -> tuple[str, int, int]:
        target = self.chance.choice(sorted(self.sizes))
        length = self.chance.choice((4096, 65536, 300 * 1024, 3 * MIB))
        return target, self.chance.randrange(0, self.sizes[target] * MIB - length) & ~511, length

    def write(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            target, offset, length = self._place()
            self.vm.write(target, f"write -P {self.chance.randrange(1, 256)} {offset} {length}")

    def zero(self) -> None:
        target, offset, length = self._place()
        self.vm.write(target, f"write -z {self.chance.choice(('', '-u '))}{offset} {length}")

    def discard(self) -> None:
        target, offset, length = self._place()
        self.vm.write(target, f"discard {offset} {length}")

    def back_up(self) -> None:
        self.vm.back_up("--lock-wait", "60")

    def full(self) -> None:
        self.vm.back_up("--full")

    def stop(self) -> None:
        self.vm.shop.virsh("destroy", self.vm.name)
        self.running = False

    def kill(self) -> None:
        self.vm.kill_qemu()
        self.running = False

    def start(self) -> None:
        self.vm.start()
        self.running = True

    def grow(self) -> None:
        target = self.chance.choice(sorted(self.sizes))
        self.sizes[target] += self.chance.choice((1, 7))
        self.vm.shop.virsh("blockresize", self.vm.name, target, f"{self.sizes[target]}M")

    def plug(self) -> None:
        target = f"vd{chr(ord('a') + len(self.sizes))}"
        if len(self.sizes) == 4:
            return
        element = ElementTree.tostring(self.vm.disk(target, self.chance.choice(("qcow2", "raw")), "8M"), "unicode")
        path = f"{self.vm.folder}/{target}.xml"
        self.vm.shop.lab.on(self.vm.shop.host, "sh", "-c", 'cat >"$1"', "sh", path, stdin=element)
        self.vm.shop.virsh("attach-device", self.vm.name, path, "--live", "--config")
        self.sizes[target] = 8

    def overlay(self) -> None:
        """libvirt carries bitmaps into the overlays it makes."""
        if self.layers == 2:
            return
        self.layers, self.made = self.layers + 1, self.made + 1
        words = ("--disk-only", "--no-metadata", "--atomic")
        disks = [
            word
            for target in self.vm.disks
            for word in ("--diskspec", f"{target},file={self.vm.folder}/{target}-{self.made}.qcow2")
        ]
        self.vm.shop.virsh("snapshot-create-as", self.vm.name, f"s{self.made}", *words, *disks)
        self.vm.disks = {target: f"{self.vm.folder}/{target}-{self.made}.qcow2" for target in self.vm.disks}

    def merge(self) -> None:
        """All overlays down into the images they began with."""
        if not self.layers:
            return
        self.layers = 0
        for target, path in self.vm.disks.items():
            chain = self.vm.shop.on("qemu-img", "info", "-U", "--backing-chain", path)
            base = re.findall(r"^image: (.+)$", chain, re.MULTILINE)[-1]
            if base != path:
                self.vm.shop.virsh("blockcommit", self.vm.name, target, "--active", "--pivot")
                self.vm.disks[target] = base

    def abandon(self) -> None:
        """A controller that dies while it reads; until the next backup its job stands in the way of other changes."""
        self.vm.write("vda", f"write -P {self.chance.randrange(1, 256)} 0 6M")
        before = self.vm.digests()
        process = self.vm.shop.start("backup", "run", f"{self.vm.shop.host}/{self.vm.name}", *SLOW)
        until(lambda: reading(self.vm) or process.poll() is not None)
        kill(process)
        killed = time.time()
        self.write()
        row = self.vm.back_up("--lock-wait", "60")
        if row["at"] < killed:  # taken up at the same moment
            self.vm.taken[row["snapshot"]] = before


def test_a_random_life(machine: Machine) -> None:
    machine.create(*TWO)
    machine.start()
    machine.write("vda", "write -P 0x11 0 9M", "write -P 0x22 20M 300k")
    walk = Walk(machine, random.Random(int(SEED)))
    walk.back_up()
    try:
        for _ in range(int(STEPS or 14)):
            walk.step()
        walk.back_up()
        machine.verify()
    finally:
        print(f"NOVAFLEET_WALK={SEED}:{STEPS or 14}", *walk.told)
    assert machine.left_over() == ""
    assert len(machine.checkpoints()) <= 1

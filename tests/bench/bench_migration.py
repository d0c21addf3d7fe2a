"""Moving VMs beside ``virsh migrate`` and ``scp``, on two of the lab's hosts, in turns.

``python -m tests.bench.bench_migration`` prints the figures as JSON; it makes VMs, an image and a key on both hosts and
removes them. NOVAFLEET_BENCH_MOVES (3) says how often each moves a guest.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import peers
from tests.bench.figure import Figure, Section
from tests.bench.movelab import NAME, A, B, Pair, Vm
from tests.bench.movers import AT_ONCE, Moved, Ours, Peers
from tests.bench.program import SMALL, installed, until_idle

MOVES = int(os.environ.get("NOVAFLEET_BENCH_MOVES", "1" if SMALL else "10"))
COPIES = 1 if SMALL else 2
VMS = 4 if SMALL else 20
QUIET = 1 if SMALL else 5
"""Seconds a turn waits at most for an idle machine."""
SIZE, DATA, MEMORY = (512, 192, 128) if SMALL else (8192, 2000, 1024)
IDLE = Vm(f"{NAME}-idle", SIZE, DATA, boots=True, memory=MEMORY)
BUSY = Vm(f"{NAME}-busy", SIZE, DATA, boots=True, busy=True, memory=MEMORY)
TINY = Vm(f"{NAME}-tiny", 512, 192, boots=True)
OFF = Vm(f"{NAME}-off", 256 if SMALL else 2048, 24 if SMALL else 204, form="raw")
MANY = tuple(Vm(f"{NAME}-{number}", 64, 8, memory=64) for number in range(VMS))
OURS, VIRSH = "direct", "virsh migrate"
BOOTED = "cloud-init: done"
METHOD = """\
Two hosts with the same QEMU, either direction in turn; seconds are those of the whole command, the dossier with its
measurements, the check of the guest and the quarantine of its disks included. virsh runs on the source:
`virsh migrate --live --p2p --persistent --undefinesource --copy-storage-all --migrate-disks vda`, libvirt to libvirt
by `qemu+ssh` with a key put there for this, memory and disk over plain TCP. NovaFleet's *direct* path carries them the
same way; *tunnel*, what it takes by itself where hosts have no TLS, encrypts them. Guests without KVM: {memory} MiB of
memory, a qcow2 disk of {size} MiB with {data} MiB of data; the busy one writes 8 MiB of memory and 1 MiB to its disk
some times a second; the tiny one has {tiny} MiB of data, so that what does not grow with a guest counts most. The link
and the guest's memory are measured while it moves. Medians of {moves}; downtime is libvirt's own figure. Cold:
{off} MiB raw with {off_data} MiB of data, compared on both hosts, {copies} times. Drain: {vms} running VMs of {small}
MiB, {at_once} at once (the policies' `parallel`); virsh's loop runs on the host."""
Way = Callable[[str, str], Moved]


@dataclass(frozen=True)
class Bench:
    """The hosts, and who moves VMs between them."""

    pair: Pair
    ours: Ours
    peers: Peers

    def by(self, vm: Vm, *options: str) -> Way:
        """NovaFleet."""
        return lambda here, there: self.ours.move(vm, here, there, *options)

    def live(self, vm: Vm, paths: Sequence[str]) -> dict[str, dict[str, float]]:
        """``{way: {seconds, downtime}}``, medians; a way is one of ours or virsh's."""
        self.pair.make(A, vm)
        self.pair.start(A, vm)
        self._until(lambda: BOOTED in self.pair.said(A, vm))
        ways = {path: self.by(vm, "--mode", "live", "--path", path) for path in paths}
        ways[VIRSH] = lambda here, there: self.peers.virsh([vm], here, there)
        try:
            return self._turns(vm, ways, MOVES)
        finally:
            for host in (A, B):
                self.pair.remove(host, vm)

    def cold(self, vm: Vm) -> dict[str, dict[str, float]]:
        """The same for a VM that is off; peers carry only its disk."""
        self.pair.make(A, vm)
        try:
            found = {"novafleet": self._turns(vm, {"novafleet": self.by(vm, "--mode", "cold")}, COPIES)["novafleet"]}
            here, there = self._places(vm)
            for name, copy in (("scp", self.peers.scp), ("tar -S, ssh", self.peers.tar)):
                taken = []
                for _ in range(COPIES):
                    until_idle(seconds=QUIET)
                    taken.append(copy(vm, here, there))
                    self.pair.left(there, vm)
                found[name] = _medians(taken)
        finally:
            for host in (A, B):
                self.pair.remove(host, vm)
        return found

    def drain(self, vms: Sequence[Vm]) -> dict[str, float]:
        """Seconds of each; virsh brings home what NovaFleet took away."""
        self.pair.make(A, *vms)
        self.pair.start(A, *vms)
        until_idle(seconds=QUIET)
        try:
            ours = self.ours.drain(vms, A, B).seconds
        finally:
            self.ours.reopen(A)
        self.pair.left(A, *vms)
        until_idle(seconds=QUIET)
        return {"novafleet": ours, VIRSH: self.peers.virsh(vms, B, A).seconds}

    def _turns(self, vm: Vm, ways: Mapping[str, Way], rounds: int) -> dict[str, dict[str, float]]:
        """Round by round, another one first each time: no way always goes in the same direction."""
        seen: dict[str, list[Moved]] = {name: [] for name in ways}
        names = list(ways)
        for number in range(rounds):
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                here, there = self._places(vm)
                until_idle(seconds=QUIET)
                seen[name].append(ways[name](here, there))
                print(f"{vm.name}, {name}: {seen[name][-1]}", file=sys.stderr, flush=True)
                self.pair.left(here, vm)
        return {name: _medians(moves) for name, moves in seen.items()}

    def _places(self, vm: Vm) -> tuple[str, str]:
        """Where it is, and where it is not."""
        return (A, B) if self.pair.state(A, vm) else (B, A)

    @staticmethod
    def _until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("the guest did not boot")
            time.sleep(0.5)


def _medians(moves: Sequence[Moved]) -> dict[str, float]:
    return {name: statistics.median(getattr(each, name) for each in moves) for name in ("seconds", "downtime")}


def run() -> dict[str, Any]:
    """``{idle, busy, tiny, cold: {way: {seconds, downtime}}, drain: {who: seconds}}``; what failed: ``{failed}``."""
    with _bench() as bench:
        parts: dict[str, Callable[[], Any]] = {
            "idle": lambda: bench.live(IDLE, (OURS, "tunnel", "relay")),
            "busy": lambda: bench.live(BUSY, (OURS,)),
            "tiny": lambda: bench.live(TINY, (OURS,)),
            "cold": lambda: bench.cold(OFF),
            "drain": lambda: bench.drain(MANY),
        }
        return {name: _measured(part) for name, part in parts.items()}


def _measured(part: Callable[[], Any]) -> Any:
    try:
        return part()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return {"failed": str(error)}


@contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-") as folder:
        home = Path(folder)
        pair = Pair(peers.reaching(home, installed(home)))
        ours = Ours(pair, home)
        ours.write()
        pair.clean()
        try:
            pair.prepare(home)
            yield Bench(pair, ours, Peers(pair))
        finally:
            pair.clean()


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    failed = [f"{name}: {each['failed'][:200]}" for name, each in measured.items() if "failed" in each]
    method = METHOD.format(
        memory=IDLE.memory,
        size=IDLE.size,
        data=IDLE.data,
        tiny=TINY.data,
        moves=MOVES,
        off=OFF.size,
        off_data=OFF.data,
        copies=COPIES,
        vms=VMS,
        small=MANY[0].memory,
        at_once=AT_ONCE,
    )
    missing = f" **Not measured**: {'; '.join(failed)}." if failed else ""
    return Section("Migration", method + missing, tuple(_figures(measured)))


def _figures(measured: Mapping[str, Any]) -> Iterator[Figure]:
    for kind in ("idle", "busy", "tiny"):
        if VIRSH in measured[kind]:
            yield from _beside(kind, measured[kind])
    if "novafleet" in measured["cold"]:
        yield _cold(measured["cold"])
    if "novafleet" in measured["drain"]:
        ours, theirs = measured["drain"]["novafleet"], measured["drain"][VIRSH]
        what = f"drain, {VMS} running VMs"
        yield Figure(what, ours, "s", "<= 0.6x virsh", ours <= 0.6 * theirs, {"virsh migrate, a loop": theirs})


def _beside(kind: str, found: Mapping[str, Mapping[str, float]]) -> Iterator[Figure]:
    theirs, ours = found[VIRSH], found[OURS]
    for path in (each for each in found if each != VIRSH):
        seconds, what = found[path]["seconds"], f"live, {kind} guest, {path}"
        target, met = "", None
        if path == OURS:
            target, met = "<= 1.1x virsh", seconds <= 1.1 * theirs["seconds"]
        if path == "relay":
            target, met = "<= 2x direct", seconds <= 2 * ours["seconds"]
        yield Figure(what, seconds, "s", target, met, {VIRSH: theirs["seconds"]})
        stood, limit = found[path]["downtime"], theirs["downtime"]
        yield Figure(f"{what}: downtime", stood, "ms", "<= 1x virsh", stood <= limit, {VIRSH: limit})


def _cold(found: Mapping[str, Mapping[str, float]]) -> Figure:
    seconds = {name: each["seconds"] for name, each in found.items()}
    ours = seconds.pop("novafleet")
    met = 1.5 * ours <= seconds["scp"]
    return Figure("cold, a sparse image", ours, "s", ">= 1.5x scp", met, seconds)


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)

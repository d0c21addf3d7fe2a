"""Backups beside virtnbdbackup, restic and borg: one disk, the same target folder, in turns.

``python -m tests.bench.bench_backup`` prints the figures as JSON; it makes three VMs on the lab's first host and
removes them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import backupdisk, bigrepository, peers
from tests.bench.backupdisk import MIB
from tests.bench.backuplab import HOST, Bench
from tests.bench.backuppeers import COPY, Borg, NovaFleet, Restic, Virtnbd, row
from tests.bench.backuprun import Took, medians, rounds, took
from tests.bench.figure import Figure, Section
from tests.bench.program import ROUNDS, installed

OURS, TWIN, THEIRS = "nf-bench-ours", "nf-bench-twin", "nf-bench-theirs"
GIB = 1 << 30
METHOD = """\
A VM with a disk of {size:,} MiB on one host ({gib:.2f} GiB data, half random, half lines of a log), stopped before its
first instruction. NovaFleet: over SSH, encrypted, zstd, every chunk decoded and compared, fsynced. virtnbdbackup:
libvirt over SSH, data over plain TCP, nothing encrypted; `-z` with lz4. restic and borg: the raw image on this machine,
encrypted, as they come. All write to the same folder. CPU is that of the program and of what it started here."""
Attempts = dict[str, Callable[[], Took]]


def run() -> dict[str, Any]:
    """``{data, full: {program: {seconds, cpu, rss}}, restore, unchanged, dirty, …}``, medians."""
    with _bench() as (bench, home):
        image = home / "disk.raw"
        backupdisk.make(image)
        bench.put(image)
        for name in (OURS, TWIN, THEIRS):
            bench.make(name)
        ours = NovaFleet(bench, home, installed(home))
        theirs = Virtnbd(bench, home, THEIRS) if shutil.which("virtnbdbackup") else None
        return {**_fulls(ours, theirs, image), **_later(ours, theirs, image), **_listed(bench, home)}


@contextmanager
def _bench() -> Iterator[tuple[Bench, Path]]:
    with tempfile.TemporaryDirectory(prefix="novafleet-bench-", dir=os.environ.get("NOVAFLEET_BENCH_DIR")) as folder:
        home = Path(folder)
        bench = Bench(peers.reaching(home, installed(home)))
        names = (OURS, TWIN, THEIRS, COPY)
        bench.remove(*names)
        try:
            yield bench, home
        finally:
            bench.remove(*names)
            bench.clean()


def _fulls(ours: NovaFleet, theirs: Virtnbd | None, image: Path) -> dict[str, Any]:
    attempts: Attempts = {"novafleet": lambda: ours.full(OURS)}
    for peer in _readers(ours, image).values():
        attempts[type(peer).__name__.lower()] = peer.full
    if theirs:
        packed = Virtnbd(theirs.bench, theirs.home / "packed", THEIRS, compress=True)
        attempts |= {"virtnbdbackup -z": packed.full, "virtnbdbackup": theirs.full}
    full = rounds(attempts, ROUNDS)
    last = row(full["novafleet"][-1])
    restores: Attempts = {"novafleet": lambda: ours.restore(last["snapshot"])}
    restores |= {"virtnbdrestore": theirs.restore} if theirs else {}
    return {"data": last["read"], "full": medians(full), "restore": medians(rounds(restores, ROUNDS))}


def _readers(ours: NovaFleet, image: Path) -> dict[str, Restic | Borg]:
    found: dict[str, Restic | Borg] = {}
    if shutil.which("restic"):
        found["restic"] = Restic(ours.home, image, ours.bench.variables)
    if shutil.which("borg"):
        found["borg"] = Borg(ours.home, image, ours.bench.variables)
    return found


def _later(ours: NovaFleet, theirs: Virtnbd | None, image: Path) -> dict[str, Any]:
    """What comes after a full: nothing changed, 1 % changed, another VM of the same image, a boot out of it."""
    incremental: Attempts = {"virtnbdbackup": theirs.incremental} if theirs else {}
    unchanged = medians(rounds({"novafleet": lambda: ours.backup(OURS), **incremental}, max(3, ROUNDS)))
    again: Attempts = {name: peer.again for name, peer in _readers(ours, image).items()}
    changed = _changed(ours, image, {"novafleet": lambda: ours.backup(OURS), **incremental, **again})
    return {
        "unchanged": unchanged,
        "changed": medians(changed),
        "changed_bytes": backupdisk.DIRTY * 65536,
        "changed_stored": row(changed["novafleet"][-1])["stored"],
        "twin_stored": row(ours.backup(TWIN))["stored"],
        "instant": _instant(ours, row(ours.backup(OURS))["snapshot"]),
    }


def _changed(ours: NovaFleet, image: Path, attempts: Attempts) -> dict[str, list[Took]]:
    """Each round begins with 1 % of every disk written anew."""
    seen: dict[str, list[Took]] = {name: [] for name in attempts}
    for _ in range(ROUNDS):
        for vm in (OURS, THEIRS):
            ours.bench.dirty(vm)
        backupdisk.dirty(image)
        for name, took_now in rounds(attempts, 1).items():
            seen[name] += took_now
    return seen


def _instant(ours: NovaFleet, snapshot: str) -> float:
    """Seconds from the command to the guest's first words; its disk is streamed to the end before this returns."""
    words = ours.words("restore", snapshot, "--host", HOST, "--as", COPY, "--instant", "--yes")
    began = time.perf_counter()
    with subprocess.Popen(words, env=ours.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not (booted := ours.bench.booted(COPY)) and process.poll() is None:
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        said = process.communicate()[0].decode()
    if process.returncode or not booted:
        raise RuntimeError(f"restore --instant ended with {process.returncode}: {said[-500:]}")
    ours.bench.remove(COPY)
    return seconds


def _listed(bench: Bench, home: Path) -> dict[str, Any]:
    made = bigrepository.make(home)
    ours = NovaFleet(bench, made.home, installed(home))
    words = (*ours.words("backup", "ls"), "-o", "json")
    listed = medians(rounds({"novafleet": lambda: took(words, ours.variables)}, 3))
    return {"packs": made.packs, "snapshots": made.snapshots, "listed": listed["novafleet"]["seconds"]}


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    gib = measured["data"] / GIB
    missing = [name for name in ("virtnbdbackup", "restic", "borg") if name not in measured["full"]]
    absent = f" Not installed here: {', '.join(missing)}." if missing else ""
    return Section(
        "Backups",
        METHOD.format(size=backupdisk.SIZE // MIB, gib=gib) + absent,
        (*_full_figures(measured, gib), *_other_figures(measured)),
    )


def _full_figures(measured: Mapping[str, Any], gib: float) -> Iterator[Figure]:
    full, restore = measured["full"], measured["restore"]
    ours = full["novafleet"]
    plain = {name: each for name, each in full.items() if name.startswith("virtnbd")}
    others = {name: each for name, each in full.items() if name in {"restic", "borg"}}
    yield _beside("full", ours, plain, "seconds", "s", 2.0)
    yield _beside("full, CPU per GiB", ours, plain, "cpu", "s", 1.0, gib)
    yield _beside("full, beside restic and borg", ours, others, "seconds", "s", 1.2)
    yield _beside("full, CPU per GiB, beside restic and borg", ours, others, "cpu", "s", None, gib)
    yield Figure("full, peak RSS", ours["rss"], "MiB", "<= 512", ours["rss"] <= 512)
    theirs = {name: each for name, each in restore.items() if name != "novafleet"}
    yield _beside("restore to the host", restore["novafleet"], theirs, "seconds", "s", 1.5)
    yield _beside("restore, CPU per GiB", restore["novafleet"], theirs, "cpu", "s", None, gib)


def _other_figures(measured: Mapping[str, Any]) -> Iterator[Figure]:
    unchanged, changed = dict(measured["unchanged"]), dict(measured["changed"])
    ours = unchanged.pop("novafleet")["seconds"]
    yield Figure("incremental, nothing changed", ours, "s", "<= 1 s", ours <= 1, _of(unchanged, "seconds"))
    ours = changed.pop("novafleet")
    plain = {name: each for name, each in changed.items() if name.startswith("virtnbd")}
    others = {name: each for name, each in changed.items() if name not in plain}
    yield _beside("incremental, 1 % changed", ours, plain, "seconds", "s", None)
    yield _beside("incremental, 1 % changed, beside restic and borg", ours, others, "seconds", "s", 10.0)
    share = measured["changed_stored"] / measured["changed_bytes"]
    yield Figure("1 % changed: stored / changed", share, "", "<= 1.1", share <= 1.1)
    share = 100 * measured["twin_stored"] / measured["data"]
    yield Figure("second VM of the same image: stored", share, "%", "< 5 %", share < 5)
    boots = measured["instant"]
    yield Figure("`restore --instant`: to the guest's first words", boots, "s", "<= 20 s", boots <= 20)
    what = f"`backup ls`, {measured['packs']:,} packs, {measured['snapshots']:,} snapshots"
    yield Figure(what, measured["listed"], "s", "<= 2 s", measured["listed"] <= 2)


def _beside(
    what: str,
    ours: Mapping[str, float],
    theirs: Mapping[str, Any],
    kind: str,
    unit: str,
    times: float | None,
    per: float = 1.0,
) -> Figure:
    """A row whose target is a ratio to the best peer; nothing is met where none is there."""
    made = Figure(what, ours[kind] / per, unit, peers={name: each / per for name, each in _of(theirs, kind).items()})
    if times is None:
        return made
    met = made.ratio >= times if made.ratio is not None else None
    return Figure(made.what, made.ours, unit, f">= {times:g}x the best peer", met, made.peers)


def _of(found: Mapping[str, Any], kind: str) -> dict[str, float]:
    return {name: each[kind] for name, each in found.items()}


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)

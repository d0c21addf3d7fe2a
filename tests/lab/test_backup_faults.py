"""What goes wrong around the backup of a real VM: kills on every kind of store, full disks, damage, another key, others
who do the same at the same time. A clear word, nothing lost, and the next run is incremental.

``NOVAFLEET_KILL_ROUNDS`` runs are killed on each kind of store, at moments that ``NOVAFLEET_KILL_SEED`` chooses, on
the host ``NOVAFLEET_KILL_HOST``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from novafleet.objectstore.open import open_store
from novafleet.repository import KeySource, Repository, pack
from novafleet.repository.contents import RepositoryContents
from novafleet.repository.seal import Kind
from tests.lab.backupbench import SLOW, TWO, Machine, Shop, kill, machine, modes, reading, shop, until
from tests.labfixture import fleet_environment

__all__ = ["machine", "shop"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600), pytest.mark.thorough]

ROUNDS = int(os.environ.get("NOVAFLEET_KILL_ROUNDS", "2"))
SEED = os.environ.get("NOVAFLEET_KILL_SEED", "novafleet")
PACE = ("--bandwidth", "2M")
INCREMENTAL = {"vda": "incremental", "vdb": "incremental"}
one_host = pytest.mark.parametrize("shop", ["kvm3"], indirect=True)


@pytest.fixture
def running(machine: Machine) -> Machine:
    """It runs, with two disks that hold something nobody can compress."""
    machine.create(*TWO)
    machine.start()
    fill(machine, "vda", 0, 6)
    fill(machine, "vdb", 1, 2)
    return machine


def fill(vm: Machine, target: str, at: int, count: int) -> None:
    """Random bytes, in MiB; QEMU reads them from a file."""
    noise = f"{vm.folder}/noise"
    vm.shop.on("sh", "-c", 'head -c "$2" /dev/urandom >"$1" && chmod 644 "$1"', "sh", noise, str(count << 20))
    vm.write(target, f"write -s {noise} {at}M {count}M")


def repo(shop: Shop, verb: str, *words: str, status: int = 0) -> Any:
    """What a command on the repository itself prints."""
    argv = [sys.executable, "-m", "novafleet", "repo", verb, str(shop.repository), "--key-file", str(shop.key), *words]
    done = subprocess.run(
        [*argv, "-o", "json"], env=fleet_environment(shop.home), capture_output=True, timeout=300, check=False
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def assert_whole(vm: Machine) -> None:
    """The repository is clean, every backup is what it was, the host is clean."""
    assert repo(vm.shop, "check", "--read-data")["damage"] == []
    vm.verify()
    assert len(vm.checkpoints()) == 1
    assert vm.left_over() == ""


def at(vm: Machine, url: str) -> Machine:
    """The same VM, and a new repository elsewhere."""

    async def make() -> None:
        store = open_store(url)
        await Repository.create(store, KeySource(vm.shop.key, ""), at=time.time())
        await store.close()

    asyncio.run(make())
    return replace(vm, shop=replace(vm.shop, repository=url), taken={})


@pytest.mark.parametrize("shop", [os.environ.get("NOVAFLEET_KILL_HOST", "kvm3")], indirect=True)
@pytest.mark.parametrize("kind", ["directory", "nfs", "s3"])
def test_runs_are_killed_at_random_moments(request: pytest.FixtureRequest, running: Machine, kind: str) -> None:
    vm = running if kind == "directory" else at(running, request.getfixturevalue(f"{kind}_url"))
    lasts, chance, killed, committed = vm.back_up(*PACE)["seconds"], random.Random(f"{SEED} {kind}"), 0, 0
    while killed < ROUNDS:
        place = chance.randrange(0, 60)
        vm.write("vda", f"write -P {chance.randrange(1, 256)} {place}M 3M", f"discard {chance.randrange(0, 60)}M 1M")
        before, runs = vm.digests(), begun(vm)
        process = vm.shop.start("backup", "run", f"{vm.shop.host}/{vm.name}", *PACE)
        until(partial(has_begun, vm, runs, process), 120)
        moment = chance.uniform(0.0, lasts)
        try:
            process.communicate(timeout=moment)
            lasts = moment
        except subprocess.TimeoutExpired:
            kill(process)
            killed += 1
        listed = vm.shop.run("backup", "ls")["snapshots"]
        vm.taken |= (made := {each["id"]: before for each in listed if each["id"] not in vm.taken})
        committed += len(made)
        vm.write("vdb", f"write -P {chance.randrange(1, 256)} {chance.randrange(0, 31)}M 1M")
        assert modes(next_run(vm, before)) == INCREMENTAL, f"killed after {moment:.2f} s"
    print(f"{kind}, seed {SEED}: {killed} killed, {len(vm.taken)} backups, {committed} of runs that were to be killed")
    assert_whole(vm)


def begun(vm: Machine) -> int:
    """Runs that the controller's journal knows: what comes before is the start of a program, slow on a busy machine."""
    journal = vm.shop.home / "state" / "novafleet" / "journal.db"
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as found:
        return int(found.execute("SELECT count(*) FROM run").fetchone()[0])


def has_begun(vm: Machine, runs: int, process: subprocess.Popen[bytes]) -> bool:
    """Does the journal know one more than ``runs``, or is it over already?"""
    return begun(vm) > runs or process.poll() is not None


def next_run(vm: Machine, before: Mapping[str, str]) -> Any:
    """A run that may take up the one before it, whose disks were as ``before``."""
    began = time.time()
    row = vm.back_up("--lock-wait", "60")
    [made] = [each for each in vm.shop.run("backup", "ls")["snapshots"] if each["id"] == row["snapshot"]]
    if made["at"] < began:
        vm.taken[row["snapshot"]] = before
    return row


async def packs_of(shop: Shop, *kinds: Kind) -> list[Path]:
    """Files of packs that hold chunks of a kind."""
    store = open_store(str(shop.repository))
    repository = await Repository.open(store, KeySource(shop.key, ""))
    found = []
    async for _, packs in RepositoryContents(repository).segments():
        found += [
            Path(shop.repository) / pack.key_of(each.name)
            for each in packs
            if any(entry.kind in kinds for entry in each.entries)
        ]
    await store.close()
    return found


def flip(file: Path, *places: int) -> None:
    """As a disk does after some years."""
    content = bytearray(file.read_bytes())
    for place in places:
        content[place] ^= 0x10
    file.write_bytes(content)


@one_host
def test_flipped_bits_come_back_from_the_live_disk(running: Machine) -> None:
    running.back_up()
    running.write("vda", "write -P 0x21 20M 1M")
    running.back_up()
    files = [each for each in asyncio.run(packs_of(running.shop, Kind.DATA)) if each.stat().st_size > 1 << 20]
    for file in files:
        flip(file, *range(200_000, file.stat().st_size // 2, 700_000))
    found = repo(running.shop, "check", "--read-data", status=1)
    assert {file.name for file in files} == {Path(each["object"]).name for each in found["damage"] if each["object"]}
    assert {(each["disk"]) for each in found["damage"] if each["snapshot"]} <= {"vda", "vdb"}
    running.write("vda", "write -P 0x22 30M 1M")
    assert modes(running.back_up()) == INCREMENTAL, "damage of the past is no reason to have no backup today"
    assert repo(running.shop, "repair", "--read-data", status=1)["lost"]
    row = running.back_up()
    assert modes(row) == INCREMENTAL
    assert any("reads" in disk["why"] for disk in row["disks"])
    assert sum(disk["bytes_read"] for disk in row["disks"]) < 12 << 20
    assert repo(running.shop, "repair", "--read-data")["lost"] == []
    assert_whole(running)


@one_host
def test_what_was_overwritten_since_is_lost_to_the_old_ones_only(running: Machine) -> None:
    old = running.back_up()["snapshot"]
    files = [each for each in asyncio.run(packs_of(running.shop, Kind.DATA)) if each.stat().st_size > 1 << 20]
    for file in files:
        flip(file, *range(100_000, file.stat().st_size - 100_000, 100_000))
    fill(running, "vda", 0, 3)
    repo(running.shop, "repair", "--read-data", status=1)
    running.back_up()
    del running.taken[old]
    running.verify()
    damage = repo(running.shop, "check", "--read-data", status=1)["damage"]
    assert {(each["snapshot"], each["disk"]) for each in damage} == {(old, "vda")}
    assert sum(each["length"] for each in damage) == 3 << 20


@one_host
def test_a_lost_map_costs_a_whole_read(running: Machine) -> None:
    old = running.back_up()["snapshot"]
    for file in asyncio.run(packs_of(running.shop, Kind.PAGE)):
        flip(file, 200)
    repo(running.shop, "repair", "--read-data", status=1)
    row = running.back_up()
    assert set(modes(row).values()) <= {"hash-incremental", "incremental"}
    assert any("lost the map" in disk["why"] for disk in row["disks"])
    running.write("vda", "write -P 0x22 30M 1M")
    assert modes(running.back_up()) == INCREMENTAL
    kept = running.taken.pop(old)
    running.verify()
    assert repo(running.shop, "check", "--read-data")["damage"] == [], "the map is that of the disk as it still is"
    running.taken = {old: kept}
    running.verify()


@one_host
def test_another_key_changes_nothing(running: Machine, tmp_path: Path) -> None:
    running.back_up()
    before = running.checkpoints()
    other = tmp_path / "other-key"
    other.write_bytes(os.urandom(32))
    other.chmod(0o600)
    stranger = replace(running.shop, key=other)
    process = stranger.start("backup", "run", f"{stranger.host}/{running.name}")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"NF-REPO-005" in said
    assert running.checkpoints() == before
    assert modes(running.back_up()) == INCREMENTAL
    assert_whole(running)


@pytest.fixture
def small(tmp_path: Path, running: Machine) -> Iterator[tuple[Machine, Path]]:
    """The VM with a repository on a file system of this machine that holds its first backup and little more."""
    if os.geteuid():
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place))
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield at(running, str(place / "repository")), place
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=True)


@one_host
def test_a_full_repository(small: tuple[Machine, Path]) -> None:
    vm, place = small
    vm.back_up()
    fill(vm, "vda", 10, 30)
    row = vm.back_up(status=1)
    assert (row["state"], row["error"]["code"]) == ("failed", "NF-DISK-003")
    assert repo(vm.shop, "check", "--read-data")["damage"] == []
    subprocess.run(("mount", "-o", "remount,size=100m", str(place)), check=True)
    assert modes(vm.back_up()) == INCREMENTAL
    assert_whole(vm)


@one_host
def test_the_host_s_disk_is_full_at_once(machine: Machine) -> None:
    """Somebody fills the file system of a VM while it is backed up: the backup ends before the guest must wait."""
    machine.shop.on("mkdir", "-p", machine.folder)
    machine.shop.on("mount", "-t", "tmpfs", "-o", "size=250M", "tmpfs", machine.folder)
    machine.create(("vda", "qcow2", "64M"))
    machine.start()
    fill(machine, "vda", 0, 8)
    machine.back_up()
    fill(machine, "vda", 0, 8)
    process = machine.shop.start("backup", "run", f"{machine.shop.host}/{machine.name}", *SLOW, "-o", "json")
    until(lambda: reading(machine))
    machine.shop.on(
        "sh", "-c", 'fallocate -l "$(($(stat -f -c "%a * %S" "$1") - 8000000))" "$1/rubbish"', "sh", machine.folder
    )
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 1, (said, complaint)
    [row] = json.loads(said)["vms"]
    assert row["error"]["code"] in ("NF-BAK-012", "NF-BAK-013"), row
    assert machine.left_over() == ""
    assert machine.shop.virsh("domjobinfo", machine.name).split()[-1:] == ["None"]
    machine.shop.on("rm", f"{machine.folder}/rubbish")
    assert modes(machine.back_up()) == {"vda": "incremental"}
    assert_whole(machine)


@one_host
def test_two_controllers_at_once(running: Machine) -> None:
    """Both back the VM up, and forget and delete what they can, at the same time."""
    first = running.shop
    second = replace(first, home=first.home / "second")
    running.back_up()
    named = f"{first.host}/{running.name}"
    before = running.digests()
    for _ in range(2):
        prune = ("backup", "prune", "--keep-last", "1", "--grace", "0")
        both = [
            each.start(*words, "-o", "json")
            for each in (first, second)
            for words in (("backup", "run", named, "--lock-wait", "120"), prune)
        ]
        ended = [(process.communicate(timeout=300), process.returncode) for process in both]
        assert {status for _, status in ended} == {0}, ended
    listed = [each["id"] for each in first.run("backup", "ls")["snapshots"]]
    running.taken = dict.fromkeys(listed, before)
    assert modes(running.back_up()) == INCREMENTAL
    assert_whole(running)

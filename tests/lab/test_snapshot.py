"""Snapshots of real guests on libvirt 9.0 and 11.3: what a guest wrote is what it finds, whatever was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.snapshotguest import Guest, made
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
HOSTS = ("kvm1", pytest.param("kvm2", marks=pytest.mark.thorough))


@pytest.fixture(params=HOSTS)
def guest(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path) -> Iterator[Guest]:
    with made(lab, request.param, fleet_home, "nf-snapshot-test") as guest:
        yield guest


def test_the_life_of_snapshots(guest: Guest) -> None:
    guest.boot()
    for name, mode in (("a", "fs"), ("b", "crash"), ("c", "live")):
        guest.write(name)
        [vm] = guest.snapshot("create", "--name", name, "--mode", mode, "--require", mode, "--tag", "t")["vms"]
        assert vm["outcome"]["mode"] == mode
    guest.write("now")
    assert guest.tree() == {"a": "", "b": "a", "c": "b"}

    guest.snapshot("rm", "b", "--yes")
    assert (guest.read(), guest.tree()) == ("now", {"a": "", "c": "a"})

    [vm] = guest.snapshot("revert", "c", "--yes")["vms"]
    safety = vm["outcome"]["safety"]
    assert guest.read() == "c", "it runs on from its memory"
    assert guest.tree() == {"a": "", "c": "a", safety: "c"}
    guest.write("branch")
    guest.snapshot("create", "--name", "d")

    for name, wanted in (("a", "a"), (safety, "now"), ("d", "branch")):
        guest.snapshot("revert", name, "--yes", "--no-safety", "--no-start")
        assert (guest.off, guest.read()) == (True, wanted)
    assert guest.tree() == {"a": "", "c": "a", safety: "c", "d": "c"}

    guest.snapshot("rm", "--all", "--yes")
    assert (guest.read(), guest.tree()) == ("branch", {})
    assert guest.files() == ["vda.qcow2", "vdb.img"]


def test_a_controller_killed_while_a_guest_is_frozen_or_its_images_are_merged(guest: Guest) -> None:
    guest.boot()
    guest.write("a")
    guest.kill_at("/freeze", "create", "--name", "a")
    guest.snapshot("create", "--name", "b", "--require", "fs")
    guest.write("now")
    assert guest.read() == "now", "nobody is frozen"
    assert set(guest.tree()) - {"a"} == {"b"}
    _killed_while_it_removes(guest, "b")
    assert guest.read() == "now"


def test_a_controller_killed_while_it_removes_from_a_vm_that_is_off(guest: Guest) -> None:
    for name in ("a", "b", "c"):
        guest.write(name)
        guest.snapshot("create", "--name", name)
    guest.write("now")
    _killed_while_it_removes(guest, "b")
    assert guest.read() == "now"
    for name, wanted in (("c", "c"), ("a", "a")):
        guest.snapshot("revert", name, "--yes", "--no-safety")
        assert guest.read() == wanted
    assert len(guest.files()) == 6


def _killed_while_it_removes(guest: Guest, name: str) -> None:
    guest.kill_at("/forget", "rm", name, "--yes")
    [vm] = guest.snapshot("ls")["vms"]
    assert name not in [each["name"] for each in vm["snapshots"]]
    if vm["unfinished"]:
        guest.snapshot("rm", name, "--yes")
    [vm] = guest.snapshot("ls")["vms"]
    assert not vm["unfinished"]

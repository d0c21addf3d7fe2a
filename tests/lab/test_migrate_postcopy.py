"""Post-copy for real, into QEMU 7.2 too: its unprivileged QEMU needs the kernel's leave to handle page faults, which
this machine (whose kernel the lab's hosts share) gives for as long as the test lasts."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.test_migrate import PAIRS, Fleet, Pinned, made
from tests.labfixture import LAB_PLACE, Lab

pytestmark = [pytest.mark.lab, pytest.mark.thorough, pytest.mark.timeout(900)]
SWITCH = Path("/proc/sys/vm/unprivileged_userfaultfd")


@contextmanager
def allowed() -> Iterator[None]:
    """Page faults may be handled by anybody; as it was afterwards, when the last of several tests ends."""
    with (LAB_PLACE.root / "userfaultfd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = SWITCH.read_text().strip()
        try:
            SWITCH.write_text("1")
        except OSError as error:
            pytest.skip(f"vm.unprivileged_userfaultfd cannot be set here: {error}")
        try:
            yield
        finally:
            SWITCH.write_text(before)


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest on the first of two hosts that may handle page faults."""
    with allowed():
        yield from made(lab, fleet_home, Pinned(lab, f"gp-{'-'.join(request.param)}"), *request.param)


@pytest.fixture
def refused(lab: Lab, fleet_home: Path) -> Iterator[Fleet]:
    """A guest that may not: kernels are like that by default."""
    if not SWITCH.exists():
        pytest.skip("this kernel has no vm.unprivileged_userfaultfd")
    if SWITCH.read_text().strip() != "0":
        pytest.skip("vm.unprivileged_userfaultfd is set on this machine")
    yield from made(lab, fleet_home, Pinned(lab, "gp-refused"), "kvm2", "kvm1")


@pytest.mark.disturbs
def test_post_copy_moves_a_guest_that_counts(pair: Fleet) -> None:
    """Slowly, so that it is switched over before all of its memory is there."""
    here, there = pair.hosts
    label = f"{here}/{pair.guest.name}"
    assert pair.run(label, "--to", there, "--mode", "postcopy", "--plan")["paths"]["postcopy"] == ""
    before = pair.traces()
    told = pair.move(here, there, "--mode", "postcopy", "--bandwidth", "8M")
    assert told["mode"] == "postcopy"
    assert "goes on" not in pair.lab.on(there, "cat", pair.guest.log), "it was booted, not moved"
    pair.nothing_stays(before)


def test_an_older_qemu_is_told_what_it_lacks(refused: Fleet) -> None:
    """QEMU 7.2 does not know /dev/userfaultfd, which the lab's hosts may open: the switch is the fix, and refusing
    comes before anything is touched."""
    label = f"kvm2/{refused.guest.name}"
    plan = refused.run(label, "--to", "kvm1", "--mode", "postcopy", "--plan", status=1)
    [blocker] = [each for each in plan["findings"] if each["code"] == "NF-MIG-104"]
    assert "vm.unprivileged_userfaultfd=1" in blocker["fix"]
    told = refused.run(label, "--to", "kvm1", "--mode", "postcopy", "--yes", status=1)
    assert "NF-MIG-104" in json.dumps(told)
    assert (refused.guest.state("kvm2"), refused.guest.state("kvm1")) == ("running", "")

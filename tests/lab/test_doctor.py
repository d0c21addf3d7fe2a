"""``host doctor`` on real hosts, well and broken on purpose (kvm3, mended within seconds)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from novafleet.app.acceleration import with_acceleration
from novafleet.app.doctor import doctor
from novafleet.app.wiring import SystemClock, open_world
from novafleet.execute.gather import gather
from novafleet.model.encode import decode
from novafleet.model.finding import Finding, Severity
from novafleet.observe.registry import collectors
from tests.labfixture import Lab, fleet_environment

pytestmark = [pytest.mark.lab, pytest.mark.disturbs]
PATIENT = "kvm3"
UNITS = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd.service")
EVERY_HOST = {"ssh", "sudo", "libvirt", "qemu", "kvm", "storage", "bridges", "engines", "clock"}


def cli(lab: Lab, home: Path, *words: str, inventory: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "novafleet", "-i", str(inventory or lab.inventory), "host", "doctor", *words)
    return subprocess.run(argv, env=fleet_environment(home), capture_output=True, text=True, timeout=120, check=False)


async def wrong(lab: Lab) -> dict[str, Finding]:
    """What is not well with the patient, by check."""
    return {each.check: each for each in await doctor([lab.inventory], PATIENT) if each.severity is not Severity.OK}


def test_lab_hosts_are_well(lab: Lab, fleet_home: Path) -> None:
    done = cli(lab, fleet_home, "-o", "json")
    findings = [decode(Finding, each) for each in json.loads(done.stdout)["findings"]]
    assert done.returncode == 0, findings
    for name in lab.hosts:
        assert {each.check for each in findings if each.host == name} == EVERY_HOST
    assert {each.check for each in findings if each.severity is not Severity.OK} <= {"kvm", "storage"}
    assert all(each.fix for each in findings if each.severity is not Severity.OK)


async def test_stopped_libvirt(lab: Lab, fleet_home: Path) -> None:
    lab.on(PATIENT, "systemctl", "stop", *UNITS)
    try:
        found = (await wrong(lab))["libvirt"]
        status = cli(lab, fleet_home, "-l", PATIENT).returncode
    finally:
        lab.on(PATIENT, "systemctl", "start", *UNITS)
    assert (found.severity, status) == (Severity.ERROR, 1)
    assert "Failed to connect socket" in found.what
    assert "systemctl enable --now libvirtd" in found.fix


async def test_stopped_and_missing_default_pool(lab: Lab, fleet_home: Path) -> None:
    definition = lab.on(PATIENT, "virsh", "pool-dumpxml", "default")
    lab.on(PATIENT, "virsh", "-q", "pool-destroy", "default")
    try:
        stopped = (await wrong(lab))["storage"]
        lab.on(PATIENT, "virsh", "-q", "pool-undefine", "default")
        missing = (await wrong(lab))["storage"]
    finally:
        lab.on(PATIENT, "virsh", "-q", "pool-define", "/dev/stdin", stdin=definition)
        lab.on(PATIENT, "virsh", "-q", "pool-start default; pool-autostart default")
    assert (stopped.severity, stopped.fix) == (Severity.ERROR, "virsh pool-start default")
    assert (missing.severity, missing.what) == (Severity.WARNING, "no storage pool named default")


async def test_no_container_engine(lab: Lab, fleet_home: Path) -> None:
    with hidden(lab, "/usr/bin/docker", "/usr/bin/podman"):
        found = (await wrong(lab))["engines"]
    assert (found.severity, found.what) == (Severity.WARNING, "no container engine")
    assert "apt-get install podman" in found.fix


async def test_no_probe_of_kvm_without_qemu(lab: Lab, fleet_home: Path) -> None:
    with dead_kvm(lab), hidden(lab, "/usr/bin/qemu-system-x86_64"):
        found = (await wrong(lab))["kvm"]
    assert found.what == "KVM was not tried: no qemu-system-x86_64"
    assert found.fix == "apt-get install qemu-system-x86"


async def test_a_device_that_runs_no_guest(lab: Lab, fleet_home: Path) -> None:
    """QEMU's complaint is full of the letter the probe guest would say."""
    with dead_kvm(lab):
        found = (await wrong(lab))["kvm"]
        async with open_world([lab.inventory]) as world:
            host = world.fleet.hosts[PATIENT]
            facts = await gather(world.sessions, [host], collectors(("system",)), SystemClock())
            judged = await with_acceleration(world, facts)
            remembered = world.places.acceleration.read_text()
    assert "no guest boots with it" in found.what
    assert "KVM" in found.what
    assert not judged.hosts[PATIENT].kvm
    assert '"fails"' in remembered


@contextmanager
def hidden(lab: Lab, *paths: str) -> Iterator[None]:
    """Programs of the patient that are not there for a moment."""
    try:
        for path in paths:
            lab.on(PATIENT, "mv", path, f"{path}.coltest")
        yield
    finally:
        for path in paths:
            lab.on(PATIENT, "mv", f"{path}.coltest", path)


@contextmanager
def dead_kvm(lab: Lab) -> Iterator[None]:
    """A /dev/kvm that cannot be used: containers may make the node, and not open it."""
    if lab.answers(PATIENT, "test", "-e", "/dev/kvm"):
        pytest.skip("the lab's hosts have a /dev/kvm of their own")
    lab.on(PATIENT, "mknod", "/dev/kvm", "c", "10", "232")
    try:
        yield
    finally:
        lab.on(PATIENT, "rm", "/dev/kvm")


@pytest.fixture
def strangers(lab: Lab, tmp_path: Path) -> Path:
    """Ways onto the patient that do not lead to root, and a host that is not there."""
    address = lab.hosts[PATIENT].address
    hosts = {
        "ask": {"address": address, "user": "opspw", "become": True},
        "right": {"address": address, "user": "opspw", "become": {"password": "env:COLTEST_PASSWORD"}},
        "plain": {"address": address, "user": "opspw"},
        "nobody": {"address": address, "user": "coltest-nobody"},
        "gone": {"address": "127.0.0.1", "port": 1, "user": "root"},
    }
    file = tmp_path / "strangers.yml"
    file.write_text(json.dumps({"key": str(lab.key), "known_hosts": str(lab.known_hosts), "hosts": hosts}))
    return file


async def test_ways_that_do_not_lead_to_root(
    lab: Lab, fleet_home: Path, strangers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLTEST_PASSWORD", "lab-sudo-password")
    findings = await doctor([strangers])
    first = {each.host: each for each in reversed(findings) if each.severity is Severity.ERROR}
    assert (first["ask"].check, first["ask"].what.partition(" (")[0]) == ("sudo", "sudo wants a password")
    assert "password: ask" in first["ask"].fix
    assert first["plain"].what.startswith("no way to root")
    assert "opspw ALL=(ALL) NOPASSWD: ALL" in first["plain"].fix
    assert (first["nobody"].check, first["gone"].check) == ("ssh", "ssh")
    assert first["nobody"].fix
    assert first["gone"].fix
    well = {each.check: each for each in findings if each.host == "right"}
    assert well["sudo"] == Finding("right", "sudo", Severity.OK, "root by sudo")
    assert [each.check for each in findings if each.host == "gone"] == ["ssh"]


def test_errors_are_an_exit_status(lab: Lab, fleet_home: Path, strangers: Path) -> None:
    done = cli(lab, fleet_home, "-l", "gone", inventory=strangers)
    assert done.returncode == 1
    assert "✗ ssh" in done.stdout

"""``vm show|start|stop|restart`` on real hosts: VMs of an environment, and such as NovaFleet did not make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novafleet.model.migration import Mode, Phase
from novafleet.plan.moving import Moving, text
from tests.e2e.controller import Controller, wait_for
from tests.lab.test_collectors import defined, definition
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
VIRSH = "virsh", "-q"
NAME = "power-foreign"
ADDRESS = "10.83.7.10"
FILE = """
environment: power
include: [%s]
networks:
  lan: {mode: nat, cidr: 10.83.7.0/24, dhcp: true}
vms:
  db:
    host: %s
    memory: 128MiB
    boot: mini
    nics: {eth0: {network: lan, ip: %s}}
    disks: {data: {size: 64MiB}}
"""


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Controller:
    return Controller(lab, tmp_path)


@pytest.fixture(params=[pytest.param("kvm1", marks=pytest.mark.thorough), "kvm3"])
def file(request: pytest.FixtureRequest, lab: Lab, controller: Controller, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An environment of one VM that is up, and its host."""
    path = tmp_path / "power.yml"
    path.write_text(FILE % (lab.images, request.param, ADDRESS))
    controller.ok("up", str(path), "--yes")
    yield str(path), request.param
    controller.ok("down", str(path), "--yes", "--volumes")


def outcome(controller: Controller, verb: str, *words: str, status: int = 0) -> Any:
    """What became of the only VM: its outcome, or the code of its error."""
    [vm] = controller.json("vm", verb, *words, status=status)["vms"]
    return vm["error"]["code"] if vm["error"] else vm["outcome"]


def test_a_vm_of_an_environment(lab: Lab, controller: Controller, file: tuple[str, str]) -> None:
    path, host = file
    wait_for(lambda: bool(shown(controller)["addresses"]), 60, "the guest has its address")
    vm = shown(controller)
    assert (vm["vm"], vm["host"], vm["state"], vm["addresses"]) == ("db", host, "running", [ADDRESS])
    assert [(each["target"], each["capacity"]) for each in vm["disks"]] == [("vda", 64 << 20)]
    assert [each["source"] for each in vm["nics"]] == ["power-lan"]

    assert outcome(controller, "start", "power/db") == {"adopted": True}
    assert outcome(controller, "stop", "-f", path, "--grace", "60s", "--yes") == {"orderly": True}
    assert lab.on(host, *VIRSH, "domstate", "power-db").strip() == "shut off"
    assert outcome(controller, "stop", "power/db", "--yes") == {"absent": False}
    assert "state: shutoff -> running" in controller.ok("plan", path)
    assert shown(controller)["addresses"] == []

    assert outcome(controller, "start", "power-db") == {}
    before = lab.on(host, "cat", "/run/libvirt/qemu/power-db.pid")
    assert outcome(controller, "restart", "power-db", "--force", "--yes") == {"orderly": False}
    assert lab.on(host, "cat", "/run/libvirt/qemu/power-db.pid") != before
    controller.ok("plan", path, "--detailed-exitcode")
    assert outcome(controller, "stop", "power-db", "--force", "--yes") == {"orderly": False}


def shown(controller: Controller) -> Any:
    [vm] = controller.json("vm", "show", "power/db")["vms"]
    return vm


def test_one_nobody_asked_to_agree_to_is_left_alone(lab: Lab, controller: Controller) -> None:
    with defined(lab, "kvm2", {NAME: ""}):
        assert "NF-CFG-006" in controller.run("vm", "stop", NAME).stderr
        assert outcome(controller, "start", NAME) == {}
        lab.on("kvm2", *VIRSH, "suspend", NAME)
        assert outcome(controller, "start", f"kvm2/{NAME}") == {}
        assert lab.on("kvm2", *VIRSH, "domstate", NAME).strip() == "running"
        assert outcome(controller, "stop", NAME, "--grace", "1s", "--yes") == {"orderly": False}
        assert lab.on("kvm2", *VIRSH, "domstate", NAME).strip() == "shut off"


def test_no_second_copy_is_started(lab: Lab, controller: Controller) -> None:
    with defined(lab, "kvm2", {NAME: ""}), defined(lab, "kvm3", {NAME: ""}):
        assert "NF-VM-007" in controller.run("vm", "start", NAME).stderr
        assert outcome(controller, "start", f"kvm2/{NAME}") == {}
        try:
            assert outcome(controller, "start", f"kvm3/{NAME}", status=1) == "NF-GUARD-008"
            assert outcome(controller, "restart", f"kvm3/{NAME}", "--yes", status=1) == "NF-GUARD-008"
            assert lab.on("kvm3", *VIRSH, "domstate", NAME).strip() == "shut off"
        finally:
            assert outcome(controller, "stop", f"kvm2/{NAME}", "--force", "--yes") == {"orderly": False}
        assert outcome(controller, "start", f"kvm3/{NAME}") == {}
        assert outcome(controller, "stop", f"kvm3/{NAME}", "--force", "--yes") == {"orderly": False}


def test_one_between_two_hosts_is_left_to_recover(lab: Lab, controller: Controller) -> None:
    moving = Moving("5f0c92aa", Phase.SWITCHING, Mode.LIVE, "kvm2", "kvm3", running=True)
    marked = definition(NAME).replace("<description", f"<metadata>{text(moving)}</metadata><description")
    with defined(lab, "kvm2", {NAME: ""}):
        lab.on("kvm2", *VIRSH, "define", "/dev/stdin", stdin=marked)
        for verb, *more in (("start",), ("stop", "--yes"), ("restart", "--yes")):
            assert outcome(controller, verb, NAME, *more, status=1) == "NF-GUARD-007"
        [vm] = controller.json("vm", "show", NAME)["vms"]
        assert "has not ended (switching)" in vm["move"]
        assert lab.on("kvm2", *VIRSH, "domstate", NAME).strip() == "shut off"

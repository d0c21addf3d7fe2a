"""Two controllers on one environment: one waits or refuses; a frozen one that wakes up does nothing."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.chaos.test_kill import TEXT
from tests.e2e.conftest import Write
from tests.e2e.controller import Controller, Process, traces
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NAME = "contest"
ENVIRONMENT = TEXT.replace("10.84.", "10.85.")


def frozen_mid_run(controller: Controller, file: str) -> Process:
    """An ``up`` that was stopped (SIGSTOP) right after its first step ended, its leases held."""
    process = controller.start("up", file, "--yes")
    assert process.stderr is not None
    assert process.stderr.readline()
    process.send_signal(signal.SIGSTOP)
    return process


def starts(lab: Lab, host: str, vm: str) -> int:
    """How often QEMU was started for a VM, by libvirt's own log."""
    return int(lab.on(host, "grep", "-c", "starting up", f"/var/log/libvirt/qemu/{NAME}-{vm}.log", check=False) or 0)


def test_a_second_run_of_the_same_controller_names_the_first(controller: Controller, environment: Write) -> None:
    file = str(environment(NAME, ENVIRONMENT))
    first = frozen_mid_run(controller, file)
    try:
        second = controller.run("up", file, "--yes")
        assert second.returncode == 6
        assert "NF-LOCK-001" in second.stderr
        assert f"pid {first.pid}" in second.stderr
    finally:
        first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 0, said


def test_another_controller_is_refused_by_the_hosts(controller: Controller, environment: Write) -> None:
    file = str(environment(NAME, ENVIRONMENT))
    other = replace(controller, home=controller.home / "other")
    first = frozen_mid_run(controller, file)
    try:
        second = other.run("up", file, "--yes")
        assert second.returncode == 6
        assert "NF-LOCK-003" in second.stderr
        assert f"pid {first.pid}" in second.stderr
    finally:
        first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 0, said


def test_a_frozen_controller_that_wakes_up_does_nothing(lab: Lab, controller: Controller, environment: Write) -> None:
    file = str(environment(NAME, ENVIRONMENT))
    before = {vm: starts(lab, host, vm) for vm, host in (("a", "kvm1"), ("b", "kvm3"))}
    other = replace(controller, home=controller.home / "other")
    first = frozen_mid_run(controller, file)
    try:
        other.ok("up", file, "--yes", "--lock-wait", "90")
        whole = traces(lab, NAME)
    finally:
        first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=120)[1]
    assert first.returncode == 6, said
    assert traces(lab, NAME) == whole
    assert {vm: starts(lab, host, vm) - before[vm] for vm, host in (("a", "kvm1"), ("b", "kvm3"))} == {"a": 1, "b": 1}
    other.ok("plan", file, "--detailed-exitcode")


def test_the_lease_of_a_dead_controller_is_free_at_once(lab: Lab, controller: Controller, environment: Write) -> None:
    file = str(environment(NAME, ENVIRONMENT))
    first = frozen_mid_run(controller, file)
    first.kill()
    first.communicate(timeout=30)
    replace(controller, home=controller.home / "other").ok("up", file, "--yes", "--lock-wait", "30")

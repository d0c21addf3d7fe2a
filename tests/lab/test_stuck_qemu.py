"""A QEMU that hangs, with a call waiting for it: who looks at its host, or works on its neighbours, does not wait."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from novafleet.app.wiring import open_world
from novafleet.errors import HypervisorError
from novafleet.execute.gather import collect
from novafleet.hypervisor import domains
from novafleet.model.facts import NO_ANSWER
from novafleet.observe.facts import host_facts
from novafleet.observe.registry import collectors
from tests.contract.hypervisors import LAB_HOSTS, lab_session
from tests.e2e.controller import Controller, wait_for
from tests.lab.test_collectors import defined
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.disturbs, pytest.mark.timeout(300)]
NAME, NEIGHBOUR = "stuck-guest", "stuck-neighbour"
VIRSH = "virsh", "-q"
PID = f"/run/libvirt/qemu/{NAME}.pid"
ASK = 'setsid virsh -q qemu-monitor-command "$1" --hmp "info version" >/dev/null 2>&1 &'
SOON = 20.0
"""Seconds; libvirt 11.3 makes whoever asks wait for 30."""


@pytest.fixture(params=[pytest.param("kvm1", marks=pytest.mark.thorough), "kvm2"])
def stuck(lab: Lab, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A host on which QEMU of ``NAME`` has not answered for 5 s, and that domain's definition."""
    host: str = request.param
    with defined(lab, host, {NAME: "", NEIGHBOUR: ""}):
        lab.on(host, *VIRSH, "start", NAME)
        xml = lab.on(host, *VIRSH, "dumpxml", "--inactive", NAME).strip()
        try:
            lab.on(host, "sh", "-c", f'kill -STOP "$(cat {PID})"')
            lab.on(host, "sh", "-c", ASK, "sh", NAME)
            hangs = re.compile(r"occupied \(([6-9]|\d\d)")
            wait_for(lambda: bool(hangs.match(lab.on(host, *VIRSH, "domcontrol", NAME))), 60, "libvirt waits for it")
            yield host, xml
        finally:
            lab.on(host, "sh", "-c", f'[ ! -e {PID} ] || kill -CONT "$(cat {PID})"')
            lab.on(host, *VIRSH, "destroy", NAME, check=False)


async def test_nobody_else_waits_for_it_and_stopping_it_pulls_its_plug(
    lab: Lab, stuck: tuple[str, str], fleet_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, xml = stuck
    async with open_world([lab.inventory]) as world, asyncio.timeout(SOON):
        documents = await collect(world.sessions, world.fleet.hosts[host], collectors(["libvirt", "usage"]))
    found = host_facts(host, 0.0, {"system": {}, **documents})
    assert (found.domains[NAME].state, found.domains[NAME].reason) == ("running", NO_ANSWER)
    assert found.domains[NAME].xml == xml
    assert documents["usage"]["guests"][NAME] == 0.0
    assert re.search(rf"{NAME} +{host} +running, {NO_ANSWER} ", Controller(lab, tmp_path).ok("vm", "ls", "-l", host))

    monkeypatch.setattr(domains, "STUCK", 5.0)
    async with lab_session(LAB_HOSTS[host]) as (_, hypervisor), asyncio.timeout(SOON):
        assert (await hypervisor.domain(NEIGHBOUR)).state == "shutoff"
        with pytest.raises(HypervisorError, match=f"QEMU of {NAME} has not answered") as caught:
            await hypervisor.domain(NAME)
    assert (caught.value.code, caught.value.where) == ("NF-LV-112", host)

    [vm] = Controller(lab, tmp_path).json("vm", "stop", f"{host}/{NAME}", "--grace", "2s", "--yes")["vms"]
    assert vm["outcome"] == {"orderly": False}
    assert lab.on(host, *VIRSH, "domstate", NAME).strip() == "shut off"

"""A VM of an environment moves with its gates: asked through the new host; not met there, it goes back or waits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.controller import Controller, traces, wait_for
from tests.lab.movebench import POOL, VIRSH
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
HERE, THERE = "kvm1", "kvm2"
ENVIRONMENT, DOMAIN = "gg", "gg-db"
FILE = """\
environment: gg
include: {images}
networks:
  lan: {{mode: nat, cidr: 10.84.0.0/24, dhcp: true, hosts: [kvm1, kvm2]}}
  far: {{mode: isolated, cidr: 10.85.0.0/24, hosts: [kvm1, kvm2]}}
vms:
  db:
    host: kvm1
    memory: 128MiB
    boot: mini
    disks: {{data: {{size: 16MiB}}}}
    nics: {{lan: {{network: lan, ip: 10.84.0.10}}}}
    ready: [{{tcp: 22, timeout: {timeout}}}]
"""
CARD = (
    """<interface type='network'><mac address='{mac}'/><source network='gg-lan'/><model type='virtio'/></interface>"""
)
ASTRAY = ("--network", "gg-lan=gg-far")
"""On the other host the guest's card comes onto a network on which nobody, not even the host, has its subnet."""


@dataclass(frozen=True)
class Guest:
    """The VM of the environment, and NovaFleet's command line."""

    lab: Lab
    controller: Controller
    file: Path

    def patient(self, timeout: str) -> None:
        """How long its gate may take, from now on."""
        self.file.write_text(FILE.format(images=self.lab.images, timeout=timeout))

    def states(self) -> dict[str, str]:
        return {host: self.lab.on(host, *VIRSH, "domstate", DOMAIN, check=False).strip() for host in (HERE, THERE)}

    def disks(self, host: str) -> str:
        return self.lab.on(host, "sh", "-c", 'cd "$1" && ls | grep "^gg[.]db[.]"; :', "sh", POOL)

    def phase(self, host: str) -> str:
        text = self.lab.on(host, *VIRSH, "dumpxml", DOMAIN, check=False).partition("xmlns/migration/1")[2]
        found = re.search(r"phase=['\"]([a-z-]+)", text)
        return found[1] if found else ""

    def move(self, here: str, there: str, *words: str, status: int = 0) -> Any:
        told = self.controller.json(
            "migrate", f"{here}/{DOMAIN}", "--to", there, "--yes", "--undo", "2m", *words, status=status
        )
        print({key: told.get(key) for key in ("state", "mode", "total_ms", "gates", "error")})
        return told

    def plugged_in(self, host: str) -> None:
        """Its card onto the network where it is looked for."""
        xml = self.lab.on(host, *VIRSH, "dumpxml", DOMAIN)
        found = re.search(r"<mac address='([0-9a-f:]+)'/>", xml)
        assert found is not None
        self.lab.on(host, "sh", "-c", 'cat >"$1"', "sh", "/tmp/gg-card.xml", stdin=CARD.format(mac=found[1]))
        self.lab.on(host, *VIRSH, "update-device", DOMAIN, "/tmp/gg-card.xml", "--live", "--config")


@pytest.fixture
def guest(lab: Lab, tmp_path: Path) -> Iterator[Guest]:
    """Up on the first host."""
    controller = Controller(lab, tmp_path / "home")
    made = Guest(lab, controller, tmp_path / "gg.yml")
    made.patient("4m")
    controller.ok("up", str(made.file), "--yes")
    yield made
    controller.run("migrate", "recover", DOMAIN, "--consent", "gates")
    done = controller.run("down", str(made.file), "--yes", "--volumes")
    for host in (HERE, THERE):
        lab.on(host, "sh", "-c", CLEAN, "sh", POOL)
    assert done.returncode == 0, done.stderr
    assert not any(traces(lab, ENVIRONMENT).values())


CLEAN = """\
for each in /var/lib/novafleet/quarantine/* /var/lib/novafleet/migrate/*; do
  grep -qsF gg-db "$each"/* && rm -rf "$each" "$1/.novafleet-quarantine/${each##*/}"
done
rm -f "$1"/gg.db.*
exit 0
"""


def test_its_gate_is_asked_through_the_host_it_went_to(guest: Guest) -> None:
    plan = guest.controller.json("migrate", f"{HERE}/{DOMAIN}", "--to", THERE, "--mode", "live", "--plan")
    [ahead] = plan["gates"]
    assert (ahead["gate"], ahead["met"], ahead["modes"]) == ("tcp:22", True, ["live", "postcopy", "warm", "cold"])
    assert any(each["code"] == "NF-MIG-350" and "tcp:22" in each["what"] for each in plan["findings"])
    told = guest.move(HERE, THERE, "--mode", "live")
    [seen] = told["gates"]
    assert (told["verified"], seen["gate"], seen["evidence"]) == (True, "tcp:22", "10.84.0.10:22 is open")
    assert guest.states() == {HERE: "", THERE: "running"}
    history = json.loads(guest.controller.ok("migrate", "history", "-o", "json"))
    assert history["migrations"][-1]["gates"] == told["gates"]


@pytest.mark.thorough
def test_a_cold_move_whose_gate_is_not_met_goes_back(guest: Guest) -> None:
    before = guest.disks(HERE)
    assert guest.move(HERE, THERE, "--mode", "cold")["gates"][0]["gate"] == "tcp:22"
    guest.patient("20s")
    told = guest.move(THERE, HERE, "--mode", "cold", *ASTRAY, status=1)
    assert (told["state"], told["error"]["code"]) == ("rolled-back", "NF-MIG-511")
    assert guest.states() == {HERE: "", THERE: "running"}
    assert (guest.disks(HERE), guest.disks(THERE)) == ("", before)
    assert guest.controller.json("migrate", "recover", DOMAIN)["jobs"] == []
    guest.patient("4m")
    guest.controller.ok("up", str(guest.file), "--yes")  # its gate is met where it is


@pytest.mark.thorough
def test_a_live_move_whose_gate_is_not_met_waits_for_a_person(guest: Guest) -> None:
    """Mended and ended; or undone, onto the network it came from; or ended as it is."""
    guest.patient("10s")
    disks = guest.disks(HERE)
    told = guest.move(HERE, THERE, "--mode", "live", *ASTRAY, status=1)
    assert (told["state"], told["error"]["code"]) == ("unverified", "NF-MIG-510")
    assert guest.states() == {HERE: "shut off", THERE: "running"}
    assert guest.disks(HERE) == disks, "the source let go of its disks"
    [row] = guest.controller.json("migrate", "recover", DOMAIN, status=1)["jobs"]
    assert (row["rule"], row["done"], row["error"]["code"]) == ("runs-there", False, "NF-MIG-510")
    guest.plugged_in(THERE)
    [row] = guest.controller.json("migrate", "recover", DOMAIN)["jobs"]
    assert (row["rule"], row["done"]) == ("runs-there", True)
    assert guest.states() == {HERE: "", THERE: "running"}

    assert guest.move(THERE, HERE, "--mode", "live", *ASTRAY, status=1)["state"] == "unverified"
    back = guest.controller.json("migrate", "undo", DOMAIN, "--yes")
    assert (back["source"], back["destination"], back["verified"]) == (HERE, THERE, True)
    assert guest.states() == {HERE: "", THERE: "running"}
    assert "gg-lan" in guest.lab.on(THERE, *VIRSH, "domiflist", DOMAIN)


@pytest.mark.thorough
def test_a_controller_killed_before_the_gates_leaves_them_to_recover(guest: Guest) -> None:
    guest.patient("60s")
    words = ("migrate", f"{HERE}/{DOMAIN}", "--to", THERE, "--yes", "--mode", "live", *ASTRAY)
    process = guest.controller.start(*words)
    wait_for(lambda: process.poll() is not None or guest.phase(THERE) == "switched", 240, "it arrives")
    process.kill()
    process.communicate()
    assert guest.states() == {HERE: "shut off", THERE: "running"}
    [row] = guest.controller.json("migrate", "recover", DOMAIN, "--lock-wait", "30", status=1)["jobs"]
    assert row["error"]["code"] == "NF-MIG-510"
    [row] = guest.controller.json("migrate", "recover", DOMAIN, "--consent", "gates")["jobs"]
    assert row["done"]
    assert guest.states() == {HERE: "", THERE: "running"}

"""docs/guides/disaster-recovery.md: a hypervisor is gone, its VMs go on elsewhere, and the file says so again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Write
from tests.e2e.controller import Controller
from tests.labfixture import Lab

pytestmark = pytest.mark.lab

NAME = "h-dr"
FILE = """
networks:
  lan: {{mode: nat, cidr: 10.84.0.0/24, dhcp: true, domain: dr.test}}
defaults: {{vm: {{memory: 128MiB, boot: mini}}}}
vms:
  db:
    host: {host}
    disks: {{data: {{size: 64MiB}}}}
    nics: {{lan: {{network: lan, ip: 10.84.0.10}}}}
    cloud_init: {{user_data: {{hostname: db}}}}
"""
DATA = f"/var/lib/libvirt/images/{NAME}.db.data.qcow2"


def test_a_whole_hypervisor(lab: Lab, controller: Controller, environment: Write, tmp_path: Path) -> None:
    repository, key = str(tmp_path / "repository"), str(tmp_path / "key")
    keys = ("--repo", repository, "--key-file", key)
    controller.ok("repo", "init", repository, "--key-file", key)
    file = str(environment(NAME, FILE.format(host="kvm2")))
    controller.ok("up", file, "--yes")
    done = controller.json("backup", "run", f"{NAME}/db", *keys)
    snapshot = done["vms"][0]["snapshot"]
    before = definition(lab, "kvm2")
    controller.ok("down", file, "--yes", "--volumes")  # kvm2 is gone

    environment(NAME, FILE.format(host="kvm3"))
    controller.ok("up", file, "--target", "network.lan@kvm3", "--target", "image.mini@kvm3", "--yes")
    restored = controller.json(
        "restore", snapshot, *keys, "--host", "kvm3", "--as", f"{NAME}-db", "--start", "--yes"
    )  # fmt: skip
    assert restored["state"] == "done", restored
    plan = controller.json("plan", file)
    assert not [each for each in plan["changes"] if each["impact"] in {"recreate", "data-loss"}], plan
    finished = controller.json("up", file, "--yes")
    assert finished["state"] == "done", finished
    controller.ok("plan", file, "--detailed-exitcode")
    assert definition(lab, "kvm3") == before
    assert lab.answers("kvm3", "test", "-e", DATA)


def definition(lab: Lab, host: str) -> dict[str, str]:
    """Who a VM is: its UUID and MAC addresses."""
    found = lab.on(host, "virsh", "-q", "domuuid", f"{NAME}-db").strip()
    nics = lab.on(host, "virsh", "-q", "domiflist", f"{NAME}-db").split()
    return {"uuid": found, "mac": nics[-1]}

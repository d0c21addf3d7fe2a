"""VMs that stand on one image move together to a host that lacks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.controller import Controller
from tests.lab.movebench import POOL, VIRSH
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
HERE, THERE = "kvm2", "kvm3"
FILE = """\
environment: together
include: {images}
vms:
  a: {{host: kvm2, memory: 96MiB, disks: {{root: {{image: mini-disk}}}}}}
  b: {{host: kvm2, memory: 96MiB, disks: {{root: {{image: mini-disk}}}}}}
"""
TEMPLATE = f"{POOL}/lc-template.qcow2"
CLONES = f"""\
cd {POOL} && qemu-img create -q -f qcow2 {TEMPLATE} 64M && qemu-io -f qcow2 -c 'write -q -P 7 1M 1M' {TEMPLATE}
for name in lc-a lc-b; do
  qemu-img create -q -f qcow2 -b {TEMPLATE} -F qcow2 "$name.qcow2"
  virsh -q -c qemu:///system define /dev/stdin <<XML
<domain type="qemu">
  <name>$name</name><memory unit="MiB">64</memory><os><type arch="x86_64" machine="pc">hvm</type></os>
  <devices><disk type="file" device="disk">
    <driver name="qemu" type="qcow2"/><source file="{POOL}/$name.qcow2"/><target dev="vda" bus="virtio"/>
  </disk></devices>
</domain>
XML
  virsh -q -c qemu:///system start "$name"
done
"""
NO_CLONES = f"""\
for name in lc-a lc-b; do virsh -q destroy "$name"; virsh -q undefine "$name"; done >/dev/null 2>&1
rm -f {POOL}/lc-*
"""


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    made = Controller(lab, tmp_path)
    file = tmp_path / "together.yml"
    file.write_text(FILE.format(images=lab.images))
    made.ok("up", str(file), "--yes")
    yield made
    made.ok("down", str(file), "--yes", "--volumes")


def test_one_brings_the_image_and_the_others_find_it(lab: Lab, controller: Controller) -> None:
    digest = yaml.safe_load(Path(lab.images).read_text())["images"]["mini-disk"]["sha256"]
    image = f"{POOL}/novafleet-image-{digest}"
    lab.on(THERE, "rm", "-f", image, f"{image}.sha256")

    moved = controller.json("migrate", "together/*", "--to", THERE, "--mode", "live", "--undo", "0", "--yes")
    assert [vm["state"] for vm in moved["vms"]] == ["done", "done"]
    for vm in "ab":
        assert lab.on(THERE, *VIRSH, "domstate", f"together-{vm}").strip() == "running"
        assert f"backing file: {image}" in lab.on(THERE, "qemu-img", "info", "-U", f"{POOL}/together.{vm}.root.qcow2")
    assert lab.on(THERE, "sha256sum", image).split()[0] == digest
    assert lab.on(THERE, "sh", "-c", 'ls -A "$1" | grep nf-migrate; :', "sh", POOL) == ""
    controller.ok("vm", "stop", "together/*", "--force", "--yes")  # `down` would wait for them to boot


@pytest.fixture
def clones(lab: Lab) -> Iterator[tuple[str, ...]]:
    """Two guests whose disks stand on a template that NovaFleet knows nothing of."""
    lab.on(HERE, "sh", "-c", CLONES)
    yield "lc-a", "lc-b"
    for host in (HERE, THERE):
        lab.on(host, "sh", "-c", NO_CLONES)


def test_linked_clones_stay_linked(lab: Lab, tmp_path: Path, clones: tuple[str, ...]) -> None:
    named = (f"{HERE}/{name}" for name in clones)
    moved = Controller(lab, tmp_path).json("migrate", *named, "--to", THERE, "--mode", "live", "--undo", "0", "--yes")
    assert [vm["state"] for vm in moved["vms"]] == ["done", "done"], moved
    for name in clones:
        disk = f"{POOL}/{name}.qcow2"
        assert f"backing file: {TEMPLATE}" in lab.on(THERE, "qemu-img", "info", "-U", disk)
        assert "failed" not in lab.on(THERE, "qemu-io", "-r", "-U", "-c", "read -P 7 1M 1M", disk)
    assert lab.on(HERE, "ls", TEMPLATE), "other clones may stand on it"

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

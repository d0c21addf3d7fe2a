"""Scripts before and after a backup, in a real guest by its agent and on its host."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

import pytest
import yaml

from tests.lab.backupbench import QUIET, Machine, until
from tests.lab.restorebench import new_shop
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900), pytest.mark.thorough]
OUT = "/var/tmp/f-backup-hooks"


class Talking(Machine):
    """A machine that boots the practice guest, with its agent."""

    def boot(self) -> None:
        images = yaml.safe_load(self.shop.lab.images.read_text())["images"]["mini"]
        self.shop.on("mkdir", "-p", self.folder)
        for name in ("kernel", "initrd"):
            self.shop.on("curl", "-sfo", f"{self.folder}/{name}", images[name]["url"])

        def direct(root: ElementTree.Element) -> None:
            system, memory, devices = root.find("os"), root.find("memory"), root.find("devices")
            assert system is not None
            assert memory is not None
            assert devices is not None
            memory.text = "128"
            for name in ("kernel", "initrd"):
                SubElement(system, name).text = f"{self.folder}/{name}"
            SubElement(system, "cmdline").text = images["cmdline"]
            channel = SubElement(devices, "channel", type="unix")
            SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")

        self.create(("vda", "qcow2", "32M"), extra=direct)
        self.shop.virsh("start", self.name)
        until(lambda: self.agent("guest-ping") is not None, 600)

    def agent(self, command: str, **arguments: Any) -> Any:
        request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        said = self.shop.on(*QUIET, "qemu-agent-command", "--timeout", "5", self.name, request, check=False)
        return json.loads(said)["return"] if said.strip() else None

    def read(self, path: str) -> str:
        """A file of the guest."""
        pid = self.agent("guest-exec", path="/bin/cat", arg=[path], **{"capture-output": True})["pid"]
        told: dict[str, Any] = {}  # what has ended is told once

        def ended() -> bool:
            told.update(self.agent("guest-exec-status", pid=pid))
            return bool(told["exited"])

        until(ended)
        return base64.b64decode(told.get("out-data", "")).decode()


@pytest.fixture
async def talking(lab: Lab, fleet_home: Path, tmp_path: Path) -> Any:
    shop = await new_shop(lab, "kvm1", fleet_home, tmp_path)
    made = Talking(shop, "f-backup-hooks")
    made.remove()
    made.boot()
    yield made
    made.remove()
    shop.on("rm", "-f", OUT)


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Options, each with a script that tells where it ran."""
    texts = {
        "guest_pre": "echo $NOVAFLEET_HOOK $NOVAFLEET_DOMAIN >>/tmp/told",
        "guest_post": "#!/bin/sh\necho $NOVAFLEET_HOOK >>/tmp/told",
        "host_pre": f'echo "$NOVAFLEET_HOOK $NOVAFLEET_DOMAIN $(id -un)" >>{OUT}',
        "host_post": f"echo $NOVAFLEET_HOOK >>{OUT}",
    }
    for place, text in texts.items():
        (tmp_path / place).write_text(text + "\n")
    yield {place: f"{place}={tmp_path / place}" for place in texts}


def test_hooks_run_where_they_should(talking: Talking, hooks: dict[str, str], tmp_path: Path) -> None:
    options = [word for each in hooks.values() for word in ("--hook", each)]
    row = talking.back_up(*options)
    assert (row["state"], row["warnings"]) == ("done", [])
    assert talking.read("/tmp/told") == f"pre {talking.name}\npost\n"
    assert talking.shop.on("cat", OUT) == f"pre {talking.name} root\npost\n"

    (tmp_path / "guest_pre").write_text("echo lacking >&2; exit 3\n")
    row = talking.back_up(*options, status=1)
    assert (row["error"]["code"], row["snapshot"]) == ("NF-BAK-070", "")
    assert "ended with 3: lacking" in row["error"]["cause"]
    assert talking.read("/tmp/told") == f"pre {talking.name}\npost\npost\n"
    assert talking.left_over() == ""
    row = talking.back_up(*options, "--hook-on-error", "warn", "--latency", "500ms", "--per-datastore", "1")
    assert row["state"] == "done"
    assert len(row["warnings"]) == 1
    assert row["datastores"][0].startswith("kvm1:")

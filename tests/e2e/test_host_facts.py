"""``host facts`` on real hosts: shipped collectors, and one of the user's own beside the inventory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.controller import Controller

pytestmark = pytest.mark.lab


def test_shipped_collectors(controller: Controller) -> None:
    hosts = controller.json("host", "facts", "-l", "kvm1,kvm3", "-c", "system", "-c", "pressure")["hosts"]
    assert [each["host"] for each in hosts] == ["kvm1", "kvm3"]
    for each in hosts:
        assert each["facts"]["system"]["hostname"] == each["host"]
        assert len(each["facts"]["pressure"]["load"]) == 3
    shown = controller.ok("host", "facts", "-l", "kvm1", "-c", "system")
    assert "system.hostname" in shown


def test_an_own_collector(controller: Controller, tmp_path: Path) -> None:
    project = tmp_path / "fleet"
    (project / "inventory").mkdir(parents=True)
    shutil.copy(controller.lab.inventory, project / "inventory" / "lab.yml")
    own = project / "collectors" / "uptime"
    own.mkdir(parents=True)
    (own / "collector.yml").write_text("{description: Seconds since boot, cost: cheap, root: false, timeout: 5}\n")
    (own / "collect.sh").write_text("cat /proc/uptime\n")
    (own / "parse.py").write_text("def parse(text, mark):\n    return {'seconds': float(text.split()[0])}\n")
    inventory = project / "inventory" / "lab.yml"
    done = controller.run("host", "facts", "-l", "kvm2", "-c", "uptime", "-o", "json", inventory=inventory)
    assert done.returncode == 0, done.stderr
    assert '"seconds":' in done.stdout
    (own / "parse.py").write_text("def parse(text, mark):\n    return {'seconds': float(text)}\n")
    done = controller.run("host", "facts", "-l", "kvm2", "-c", "uptime", inventory=inventory)
    assert done.returncode == 2
    assert "NF-COL-002" in done.stderr

"""A schedule on real hosts: install, run by policy, be told, and the guard that asks the repository."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.e2e.conftest import Write
from tests.e2e.controller import Controller
from tests.unit.schedule.test_notify import Receiver, genuine, receiver
from tests.unit.schedule.test_timer import PROGRAM

__all__ = ["receiver"]

pytestmark = pytest.mark.lab

NAME = "h-sched"
POLICY = """
backup:
  repository: {repository}
  key_file: {key}
  schedule: "0 1 * * *"
  keep: {{last: 1}}
  verify: 100%
  require_backup_newer_than: 24h
  notify: {{on: [failure, success], webhook: {{url: "{url}", secret: "file:{secret}"}}}}
"""
VMS = """
defaults: {vm: {memory: 128MiB, boot: mini}}
vms:
  db:
    host: kvm2
    disks: {data: {size: 64MiB}, scratch: {size: 64MiB}}
    backup: {exclude: [scratch]}
    ready: [{serial: "login:", timeout: 3m}]
"""


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crontab of this test's own."""
    program = tmp_path / "bin/crontab"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CRONTAB", str(tmp_path / "crontab"))
    return tmp_path / "crontab"


def test_a_schedule_does_what_its_policy_says(
    controller: Controller,
    environment: Write,
    receiver: Receiver,
    crontab: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text("correct horse\n")
    repository, key = tmp_path / "repository", tmp_path / "key"
    policy = POLICY.format(repository=repository, key=key, url=receiver.url, secret=tmp_path / "secret")
    controller.ok("repo", "init", str(repository), "--key-file", str(key))
    file = environment(NAME, VMS)
    controller.ok("up", str(file), "--yes")
    environment(NAME, policy + VMS)
    try:
        refused = controller.run("down", str(file), "--yes", "--volumes")
        assert refused.returncode == 1
        assert "error[NF-GUARD-005]" in refused.stderr
        assert "disk data of db: there is none" in refused.stderr
        controller.ok("schedule", "install", "-f", str(file), "--cron")
        assert f"schedule run {NAME}" in crontab.read_text()
        modes = [runs(controller) for _ in range(2)]
        assert modes == [{"data": "full"}, {"data": "incremental"}]
        held = controller.json("backup", "ls", "--repo", str(repository), "--key-file", str(key))
        assert len(held["snapshots"]) == 1, "keep: {last: 1}"
        bodies = [(headers, body) for headers, body in receiver.requests]
        assert [json.loads(body)["event"] for _, body in bodies] == ["success"] * 2
        headers, body = bodies[-1]
        sent = int(headers["x-novafleet-signature"].split(",")[0].removeprefix("t="))
        assert genuine(headers["x-novafleet-signature"], b"correct horse", body, sent)
        controller.ok("down", str(file), "--yes", "--volumes")
        failed = controller.json("schedule", "run", NAME, status=1)
        assert failed["vms"][0]["error"]["code"] == "NF-VM-006"
        assert json.loads(receiver.requests[-1][1])["event"] == "failure"
        listed = controller.json("schedule", "ls")["schedules"]
        assert [(each["name"], each["state"], each["last"]["state"]) for each in listed] == [(NAME, "active", "failed")]
    finally:
        environment(NAME, VMS)


def runs(controller: Controller) -> dict[str, str]:
    """Run it; how each disk was read."""
    ended = controller.json("schedule", "run", NAME)
    assert ended["state"] == "done", ended
    assert {duty["kind"] for duty in ended["duties"]} >= {"forget", "verify"}
    assert all(duty["error"] is None for duty in ended["duties"]), ended
    modes: dict[str, str] = ended["vms"][0]["modes"]
    return modes

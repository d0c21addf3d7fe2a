"""Bring up, look, change, take down: the main job, on real hosts, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Write
from tests.e2e.controller import Controller, traces
from tests.labfixture import ROOT, Lab

pytestmark = pytest.mark.lab

SMALL = """
networks:
  lan: {mode: nat, cidr: 10.81.0.0/24, dhcp: true, domain: small.test}
defaults: {vm: {memory: 128MiB, boot: mini}}
vms:
  db:
    host: kvm1
    disks: {data: {size: 64MiB, protect: true}}
    nics: {lan: {network: lan, ip: 10.81.0.10}}
    cloud_init: {user_data: {hostname: db}}
    ready: [{tcp: 22, timeout: 3m}]
  web:
    host: kvm3
    nics: {lan: {network: lan}}
    depends_on: [db]
    ready: [{serial: "login:", timeout: 3m}]
"""


def test_the_sample_environment(lab: Lab, controller: Controller, tmp_path: Path) -> None:
    """playbooks/devlab.yml under another name and other addresses, so that a demo on the same hosts is left alone."""
    playbooks = tmp_path / "playbooks"
    playbooks.mkdir()
    (playbooks / "stacks").symlink_to(ROOT / "playbooks/stacks")
    sample = playbooks / "devlab.yml"
    sample.write_text((ROOT / "playbooks/devlab.yml").read_text().replace("environment: devlab", "environment: sample"))
    file = (str(sample), "-e", "lan=10.82.0", "-e", "back=10.83.0", "-e", "edge_port=18080", "-e", "metrics_port=19090")
    try:
        first = controller.json("up", *file, "--yes")
        assert first["state"] == "done"
        assert first["critical_path"]
        rows = controller.json("status", *file)["resources"]
        vms = [row for row in rows if row["kind"] == "vm"]
        assert len(vms) >= 6
        assert {row["host"] for row in vms} == set(lab.hosts)
        assert len({row["name"] for row in rows if row["kind"] == "network"}) == 2
        assert len([row for row in rows if row["kind"] == "stack"]) == 2
        assert all(row["ready"] for row in rows if row["kind"] in {"vm", "stack"}), rows
        assert not any(row["drift"] for row in rows), rows
        controller.ok("plan", *file, "--detailed-exitcode")
        again = controller.json("up", *file, "--yes")
        assert again["changed"] == 0
        there = traces(lab, "sample")
        assert {f"running sample-{row['name']}" for row in vms} == {
            trace for seen in there.values() for trace in seen if trace.startswith("running ")
        }
    finally:
        controller.ok("down", *file, "--yes", "--volumes")
    assert not any(traces(lab, "sample").values())


def test_a_second_up_changes_nothing_and_protect_survives(lab: Lab, controller: Controller, environment: Write) -> None:
    file = str(environment("small", SMALL))
    controller.ok("up", file, "--yes")
    assert controller.json("up", file, "--yes")["changed"] == 0
    controller.ok("plan", file, "--detailed-exitcode")
    controller.ok("down", file, "--yes", "--volumes")
    left = {trace for seen in traces(lab, "small").values() for trace in seen}
    assert {trace.split(".", 1)[0] for trace in left} == {"file small"}
    assert all("db.data" in trace for trace in left), left
    plan = controller.json("plan", file)
    symbols = {change["address"]: change["change"] for change in plan["changes"]}
    assert "volume.db.data" not in symbols
    assert symbols["vm.db"] == "+"


def test_guests_obey_their_seed(lab: Lab, controller: Controller, environment: Write) -> None:
    file = str(environment("small", SMALL))
    controller.ok("up", file, "--yes")
    log = lab.on("kvm1", "cat", "/var/log/libvirt/qemu/small-db-serial.log")
    assert "db login:" in log
    assert lab.answers("kvm1", "ping", "-c", "1", "-W", "5", "10.81.0.10")


def test_drift_is_three_ways(lab: Lab, controller: Controller, environment: Write) -> None:
    path = environment("small", SMALL)
    controller.ok("up", str(path), "--yes")
    lab.on("kvm1", "virsh", "-q", "setvcpus", "small-db", "2", "--maximum", "--config")
    drift = _drift(controller, path, "vm.db")
    assert [each["kind"] for each in drift] == ["changed-on-host"]
    assert drift[0]["live"] == "2"
    path.write_text(path.read_text().replace("    host: kvm3\n", "    host: kvm3\n    vcpus: 2\n"))
    assert [each["kind"] for each in _drift(controller, path, "vm.web")] == ["changed-in-file"]
    changes = {each["address"]: each for each in controller.json("plan", str(path))["changes"]}
    assert changes["vm.db"]["change"] == "~"
    assert changes["vm.web"]["impact"] == "reboot"
    reason = changes["vm.web"]["reasons"][0]
    assert reason["source"].startswith(str(path))
    controller.ok("up", str(path), "--yes")
    controller.ok("plan", str(path), "--detailed-exitcode")


def _drift(controller: Controller, path: Path, address: str) -> list[dict[str, str]]:
    rows = controller.json("status", str(path))["resources"]
    return next(row["drift"] for row in rows if row["address"] == address)


@pytest.mark.disturbs
def test_a_saved_plan_is_run_or_refused_when_stale(controller: Controller, environment: Write, tmp_path: Path) -> None:
    path = environment("small", SMALL)
    saved = str(tmp_path / "plan.json")
    controller.ok("plan", str(path), "--out", saved)
    assert controller.json("up", saved, "--yes")["state"] == "done"
    stale = controller.run("up", saved, "--yes")
    assert stale.returncode == 5
    assert "NF-PLAN-001" in stale.stderr


def test_a_target_brings_only_what_it_needs(lab: Lab, controller: Controller, environment: Write) -> None:
    path = environment("small", SMALL)
    controller.ok("up", str(path), "--yes", "--target", "vm.db")
    there = traces(lab, "small")
    assert "running small-db" in there["kvm1"]
    assert not there["kvm3"]


def test_a_failing_gate_stops_its_branch_and_says_why(lab: Lab, controller: Controller, environment: Write) -> None:
    text = SMALL.replace("ready: [{tcp: 22, timeout: 3m}]", "ready: [{tcp: 4, timeout: 5s}]")
    path = environment("small", text + "  lonely: {host: kvm2}\n")
    done = controller.run("up", str(path), "--yes", "-o", "json")
    assert done.returncode == 1, done.stderr
    steps = {step["node"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["vm.db/ready.0"]["state"] == "failed"
    assert steps["vm.db/ready.0"]["error"]["code"].startswith("NF-GATE")
    assert steps["vm.web/start"]["state"] == "skipped"
    assert "vm.db/ready.0" in steps["vm.web/start"]["because"]
    assert steps["vm.lonely/start"]["state"] == "done"
    assert not lab.answers("kvm3", "sh", "-c", "virsh -q list --name | grep small-web")


def test_exec_folds_and_agrees(lab: Lab, controller: Controller) -> None:
    results = json.loads(controller.ok("host", "exec", "-l", "all", "-o", "json", "--", "uname", "-n"))
    assert {each["host"]: each["stdout"].strip() for each in results["results"]} == {host: host for host in lab.hosts}

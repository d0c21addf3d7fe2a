"""Hosts, networks and files that fail: a clear error with its fix, and the rest of the fleet goes on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Write
from tests.e2e.controller import Controller, traces, wait_for
from tests.labfixture import Lab

pytestmark = [pytest.mark.lab, pytest.mark.disturbs]

NAME = "faulty"
TEXT = """
defaults: {vm: {memory: 128MiB, boot: mini, stop_timeout: 0s}}
vms:
  good: {host: kvm1}
  bad: {host: kvm2}
  after: {host: kvm1, depends_on: [bad]}
"""


def result(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON document of a run, its errors by step."""
    document = json.loads(done.stdout)
    return {step["node"]: step for step in document["steps"]}


def altered(lab: Lab, tmp_path: Path, pattern: str, text: str) -> Path:
    """The lab's inventory with one passage replaced."""
    changed, count = re.subn(pattern, text, lab.inventory.read_text())
    assert count, pattern
    path = tmp_path / "altered.yml"
    path.write_text(changed)
    return path


@contextmanager
def sshd(lab: Lab, host: str, *lines: str) -> Iterator[None]:
    """Settings of a host's sshd, for a while."""
    file = "/etc/ssh/sshd_config.d/00-novafleet-test.conf"
    lab.on(host, "tee", file, stdin="\n".join(lines) + "\n")
    try:
        restart(lab, host)
        yield
    finally:
        lab.on(host, "rm", "-f", file)
        restart(lab, host)


def restart(lab: Lab, host: str) -> None:
    """Restart sshd, however often that was done lately."""
    lab.on(host, "systemctl", "reset-failed", "ssh")
    lab.on(host, "systemctl", "restart", "ssh")
    wait_for(lambda: lab.answers(host, "sh", "-c", "ss -ltn | grep -q :22"), 30, "sshd listens again")


def the_rest_went_on(lab: Lab, done: subprocess.CompletedProcess[str], code: str, status: int = 3) -> Any:
    """``bad`` failed with a code, what depends on it was skipped with the reason, ``good`` runs."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    steps = result(done)
    failed = next(step for node, step in steps.items() if "bad" in node and step["state"] == "failed")
    assert failed["error"]["code"].startswith(code), failed
    assert failed["error"]["hints"], failed
    assert steps["vm.after/start"]["state"] == "skipped"
    assert "bad" in steps["vm.after/start"]["because"]
    assert f"running {NAME}-good" in traces(lab, NAME)["kvm1"]
    assert f"running {NAME}-after" not in traces(lab, NAME)["kvm1"]
    return failed["error"]


def test_a_host_that_is_not_there(lab: Lab, controller: Controller, environment: Write, tmp_path: Path) -> None:
    file = environment(NAME, TEXT)
    inventory = altered(lab, tmp_path, r"172\.31\.250\.12", "172.31.250.99")
    done = controller.run("up", str(file), "--yes", "-o", "json", inventory=inventory)
    the_rest_went_on(lab, done, "NF-SSH-1")
    rows = json.loads(controller.run("status", str(file), "-o", "json", inventory=inventory).stdout)["resources"]
    assert next(row for row in rows if row["name"] == "bad")["state"] == "unreachable"


def test_a_changed_host_key(lab: Lab, controller: Controller, environment: Write, tmp_path: Path) -> None:
    known = lab.known_hosts.read_text().splitlines()
    other = next(line.split()[1:] for line in known if lab.hosts["kvm3"].address in line)
    forged = [line for line in known if lab.hosts["kvm2"].address not in line]
    (tmp_path / "known_hosts").write_text("\n".join([*forged, " ".join([lab.hosts["kvm2"].address, *other])]) + "\n")
    inventory = altered(lab, tmp_path, r"known_hosts: \S+", f"known_hosts: {tmp_path}/known_hosts")
    done = controller.run("up", str(environment(NAME, TEXT)), "--yes", "-o", "json", inventory=inventory)
    error = the_rest_went_on(lab, done, "NF-SSH-2")
    assert "host trust" in " ".join(error["hints"])


def test_a_wrong_digest(lab: Lab, controller: Controller, environment: Write) -> None:
    url = re.search(r"url: (\S+vmlinuz)", lab.images.read_text())
    assert url
    wrong = f"""
images:
  forged: {{kernel: {{url: "{url[1]}", sha256: "{"0" * 64}"}}, initrd: {{url: "{url[1]}", sha256: "{"0" * 64}"}}}}
"""
    file = environment(NAME, wrong + TEXT.replace("bad: {host: kvm2}", "bad: {host: kvm2, boot: forged}"))
    done = controller.run("up", str(file), "--yes", "-o", "json")
    assert done.returncode == 1, done.stderr
    steps = result(done)
    error = steps["image.forged@kvm2/fetch"]["error"]
    assert error["code"].startswith("NF-IMG")
    assert "0" * 64 in json.dumps(error)
    assert steps["vm.after/start"]["state"] == "skipped"
    assert f"running {NAME}-good" in traces(lab, NAME)["kvm1"]


def test_a_stopped_libvirtd(lab: Lab, controller: Controller, environment: Write) -> None:
    units = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd.service")
    file = environment(NAME, TEXT)
    lab.on("kvm2", "systemctl", "stop", *units)
    try:
        the_rest_went_on(lab, controller.run("up", str(file), "--yes", "-o", "json"), "NF-LV")
    finally:
        lab.on("kvm2", "systemctl", "start", *units)
    assert controller.json("up", str(file), "--yes")["state"] == "done"


def test_a_host_that_drops_off_mid_run(lab: Lab, controller: Controller, environment: Write) -> None:
    text = TEXT.replace(
        "bad: {host: kvm2}", "bad: {host: kvm2, ready: [{tcp: 4, timeout: 3m}], nics: {n: {network: n}}}"
    )
    file = environment(NAME, "networks: {n: {cidr: 10.86.0.0/24, dhcp: true}}\n" + text)
    process = controller.start("up", str(file), "--yes")
    assert process.stderr is not None
    while "vm.bad/start" not in (line := process.stderr.readline()):
        assert line, "the run ended before the host was pulled"
    lab.on(
        "kvm2",
        "sh",
        "-c",
        "systemctl stop ssh.socket ssh.service 2>/dev/null; pkill -KILL -x 'sshd|sshd-session'; true",
    )
    try:
        rest = process.communicate(timeout=240)[1]
        assert process.returncode == 3, rest
        assert "NF-SSH" in rest
    finally:
        restart(lab, "kvm2")
    file.write_text(file.read_text().replace("tcp: 4", "tcp: 22"))
    controller.ok("resume", "--yes")
    assert f"running {NAME}-after" in traces(lab, NAME)["kvm1"]


def test_a_full_pool(lab: Lab, controller: Controller, environment: Write) -> None:
    full = TEXT.replace(
        "bad: {host: kvm2}", "bad: {host: kvm2, disks: {d: {image: mini-disk, copy: full, pool: tiny}}}"
    )
    file = environment(NAME, full)
    lab.on("kvm2", "sh", "-c", "mkdir -p /srv/tiny && mount -t tmpfs -o size=2m tiny /srv/tiny")
    try:
        lab.on("kvm2", "virsh", "-q", "pool-create-as", "tiny", "dir", "--target", "/srv/tiny")
        done = controller.run("up", str(file), "--yes", "-o", "json")
        assert done.returncode in {1, 2}, done.stderr
        assert re.search(r"NF-(DISK|VOL)-\d+", done.stdout), done.stdout
        assert lab.on("kvm2", "ls", "-A", "/srv/tiny") == "", "a part of the volume was left behind"
        controller.ok("down", str(file), "--yes", "--volumes")
    finally:
        lab.on("kvm2", "virsh", "-q", "pool-destroy", "tiny", check=False)
        lab.on("kvm2", "sh", "-c", "umount /srv/tiny; rmdir /srv/tiny")
        file.write_text(file.read_text().replace(", disks: {d: {image: mini-disk, copy: full, pool: tiny}}", ""))


@pytest.mark.parametrize(
    "settings",
    [("AllowStreamLocalForwarding no",), ("AllowTcpForwarding no",), ("MaxSessions 2",), ("MaxStartups 2:1:4",)],
    ids=lambda settings: settings[0].replace(" ", "-"),
)
def test_a_narrow_sshd_still_works(
    lab: Lab, controller: Controller, environment: Write, settings: tuple[str, ...]
) -> None:
    text = TEXT.replace(
        "bad: {host: kvm2}", "bad: {host: kvm2, ready: [{tcp: 22, timeout: 3m}], nics: {n: {network: n}}}"
    )
    file = environment(NAME, "networks: {n: {cidr: 10.86.0.0/24, dhcp: true}}\n" + text)
    with sshd(lab, "kvm2", *settings):
        assert controller.json("up", str(file), "--yes")["state"] == "done"
        assert all(row["ready"] for row in controller.json("status", str(file))["resources"] if row["kind"] == "vm")


def test_a_cut_jump_host(lab: Lab, controller: Controller, environment: Write, tmp_path: Path) -> None:
    file = environment(NAME, TEXT)
    inventory = altered(lab, tmp_path, r"(kvm2: \{address: \S+)", r"\1 jump: kvm3,")
    assert controller.run("host", "exec", "-l", "kvm2", "--", "true", inventory=inventory).returncode == 0
    with sshd(lab, "kvm3", "AllowTcpForwarding no"):
        done = controller.run("up", str(file), "--yes", "-o", "json", inventory=inventory)
    error = the_rest_went_on(lab, done, "NF-SSH")
    assert "kvm3" in json.dumps(error)

"""What the doctor says of documents: every finding with its severity and its fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from novafleet import bundled
from novafleet.capability.host.check import check_fleet, check_host
from novafleet.model.finding import Finding, Severity
from novafleet.observe.registry import collectors

FOLDER = bundled.folder("collectors")
FIXTURES = {"system": "trixie", "libvirt": "trixie", "containers": "docker-compose", "acceleration": "emulated"}
ROOT = {"uid": "0", "way": "login", "clock": "1000"}
GIB = 1024**3
POOL = {"name": "default", "active": True, "capacity": 100 * GIB, "available": 50 * GIB, "path": "/p"}
Change = Mapping[str, Any]


def recorded(**fixtures: str) -> dict[str, dict[str, Any]]:
    names = FIXTURES | fixtures
    read = {
        each.name: dict(each.parse((FOLDER / each.name / f"fixtures/{names[each.name]}.txt").read_text(), "@@"))
        for each in collectors(names)
    }
    return {**read, "root": dict(ROOT), "socket": {"path": "forwarded"}}


def said(documents: Mapping[str, Mapping[str, Any]], check: str) -> list[tuple[str, str, str]]:
    return [(each.severity.value, each.what, each.fix) for each in check_host("h", documents) if each.check == check]


def test_a_healthy_host() -> None:
    documents = recorded()
    documents["libvirt"]["pools"] = [POOL]
    assert [(each.check, each.severity.value, each.what) for each in check_host("kvm3", documents)] == [
        ("sudo", "ok", "root by login"),
        ("libvirt", "ok", "libvirt 11.3.0, socket forwarded"),
        ("qemu", "ok", "QEMU 10.0.13"),
        ("kvm", "ok", "a probe guest booted with KVM"),
        ("storage", "ok", "pool default: 50.0 GiB free of 100.0 at /p"),
        ("bridges", "ok", "docker0, virbr0"),
        ("engines", "ok", "podman 5.4.2 with podman kube play"),
        ("engines", "ok", "docker 26.1.5+dfsg1 with docker compose"),
    ]


DOCUMENTS: dict[str, tuple[str, Change, str, str, str, str]] = {
    "no root": ("root", {"uid": "1000"}, "sudo", "error", "no way to root", "NOPASSWD"),
    "pool stopped": (
        "libvirt",
        {"pools": [POOL | {"active": False}]},
        "storage",
        "error",
        "is stopped",
        "virsh pool-start",
    ),
    "another pool stopped": (
        "libvirt",
        {"pools": [POOL, POOL | {"name": "iso", "active": False}]},
        "storage",
        "warning",
        "pool iso is stopped",
        "virsh pool-start iso",
    ),
    "no default pool": ("libvirt", {"pools": []}, "storage", "warning", "no storage pool", "the first `up` makes it"),
    "pool nearly full": (
        "libvirt",
        {"pools": [POOL | {"available": 9 * GIB}]},
        "storage",
        "warning",
        "9.0 GiB free of 100.0",
        "free space",
    ),
    "no QEMU": ("libvirt", {"qemu": ""}, "qemu", "error", "no QEMU", "apt-get install qemu-system-x86"),
    "forward refused": ("socket", {"error": "refused", "fix": "sshd"}, "libvirt", "error", "refused", "sshd"),
    "no engine": ("containers", {"engines": {}}, "engines", "warning", "no container engine", "apt-get install podman"),
    "no compose": (
        "containers",
        {"engines": {"podman": "4.3.1"}, "compose": {}},
        "engines",
        "warning",
        "podman 4.3.1 without a compose command",
        "apt-get install podman-compose",
    ),
    "KVM not tried": (
        "acceleration",
        {"kvm": "untried", "detail": "no qemu-system-x86_64"},
        "kvm",
        "warning",
        "was not tried",
        "apt-get install qemu-system-x86",
    ),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_wrong_and_its_fix(name: str) -> None:
    document, change, check, severity, what, fix = DOCUMENTS[name]
    documents = recorded()
    documents[document] |= change
    assert any(
        (found[0], what in found[1], fix in found[2]) == (severity, True, True) for found in said(documents, check)
    ), said(documents, check)


RECORDED = {
    "libvirt stopped": ({"libvirt": "stopped"}, "libvirt", "error", "No such file or directory", "systemctl enable"),
    "libvirt forbidden": (
        {"libvirt": "denied"},
        "libvirt",
        "error",
        "authentication unavailable",
        "usermod -aG libvirt",
    ),
    "no virsh": ({"libvirt": "missing"}, "libvirt", "error", "virsh is missing", "apt-get install libvirt-clients"),
    "no KVM": ({"acceleration": "no-device"}, "kvm", "warning", "no KVM: no /dev/kvm", "modprobe"),
    "dead KVM": ({"acceleration": "device-without-kvm"}, "kvm", "warning", "no guest boots with it", "dmesg"),
    "docker stopped": (
        {"containers": "docker-stopped"},
        "engines",
        "warning",
        "does not answer",
        "enable --now docker",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_trouble(name: str) -> None:
    fixtures, check, severity, what, fix = RECORDED[name]
    first = said(recorded(**fixtures), check)[0]
    assert (first[0], what in first[1], fix in first[2]) == (severity, True, True), first


def test_a_stopped_libvirt_has_no_further_findings() -> None:
    documents = recorded(libvirt="stopped")
    assert said(documents, "qemu") == []
    assert said(documents, "storage") == []


@pytest.mark.parametrize(("able", "fix"), [("yes", "the CPU can"), ("", "firmware")])
def test_the_way_to_kvm_depends_on_the_cpu(able: str, fix: str) -> None:
    documents = recorded(acceleration="no-device")
    documents["system"]["cpu_virtualization"] = able
    assert fix in said(documents, "kvm")[0][2]


@pytest.mark.parametrize(
    ("gone", "severity", "fix"),
    [
        (["tool.qemu-img"], "error", "qemu-utils"),
        (["tool.flock"], "error", "util-linux"),
        (["tool.sha256sum"], "error", "coreutils"),
        (["tool.curl", "tool.wget"], "warning", "curl"),
    ],
)
def test_missing_tools(gone: list[str], severity: str, fix: str) -> None:
    documents = recorded()
    for tool in gone:
        documents["system"].pop(tool, None)
    [found] = said(documents, "tools")
    assert (found[0], found[2]) == (severity, f"apt-get install {fix}")


def test_nobody_but_root_can_judge_docker() -> None:
    documents = recorded(containers="docker-stopped")
    documents["root"]["uid"] = "1000"
    assert not any("does not answer" in what for _, what, _ in said(documents, "engines"))


def fleet(*hosts: Mapping[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    return {
        f"h{number}": {
            "root": {"clock": host.get("clock", "1000")},
            "system": {"machine_id": host.get("machine_id", f"m{number}")},
            "libvirt": {"host_uuid": host.get("host_uuid", f"u{number}")},
        }
        for number, host in enumerate(hosts, 1)
    }


def wrong(documents: Mapping[str, Any], asked: tuple[float, float] = (1000.0, 1000.1)) -> list[Finding]:
    found = check_fleet(documents, dict.fromkeys(documents, asked))
    return [each for each in found if each.severity is not Severity.OK]


@pytest.mark.parametrize(
    ("clocks", "bad"),
    [
        (["1000", "1000", "1090"], {"h3": "+90 s off the fleet"}),
        (["1000", "1001", "1002"], {}),
        (["500", "500", "501"], {}),
        (["500"], {"h1": "-500 s off this controller"}),
        (["1000", "1100"], {"h2": "+100 s off this controller"}),
        (["", "x", "9" * 400], {}),
    ],
)
def test_clocks(clocks: list[str], bad: Mapping[str, str]) -> None:
    found = {each.host: each.what for each in wrong(fleet(*({"clock": clock} for clock in clocks)))}
    assert found.keys() == bad.keys()
    assert all(bad[host] in what for host, what in found.items())


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert wrong(fleet({"clock": "1000"}), (1000.0, 1012.0)) == []
    assert wrong(fleet({"clock": "1000"}), (1100.0, 1112.0)) != []


@pytest.mark.parametrize(("key", "harm"), [("host_uuid", "refuses migration"), ("machine_id", "DHCP leases")])
def test_equal_identities(key: str, harm: str) -> None:
    found = wrong(fleet({key: "same"}, {}, {key: "same"}))
    assert [(each.host, each.check) for each in found] == [("h1", "uuid"), ("h3", "uuid")]
    assert "the same as on h3" in found[0].what
    assert harm in found[0].what
    assert found[0].fix


def test_hosts_without_identity_are_not_equal() -> None:
    assert wrong(fleet({"host_uuid": "", "machine_id": ""}, {"host_uuid": "", "machine_id": ""})) == []

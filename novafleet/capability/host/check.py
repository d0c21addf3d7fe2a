"""Findings about hosts from what collectors saw. Pure: documents in, findings out, each with its fix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from novafleet.model.finding import Finding, Severity

Documents = Mapping[str, Mapping[str, Any]]
Check = Callable[[str, Documents], Iterator[Finding]]

GIB = 1024**3
LOW_SPACE = 0.10
"""Share of a pool that should be free: below it a guest that grows may be paused by QEMU on ENOSPC."""
CLOCK_SKEW = 2.0
"""Seconds a clock may differ from the median of the fleet (certificates and logs stop making sense beyond)."""
NEEDED_TOOLS = {"qemu-img": "qemu-utils", "flock": "util-linux", "sha256sum": "coreutils"}


def check_host(host: str, documents: Documents) -> tuple[Finding, ...]:
    """Everything that can be said of one host on its own."""
    return tuple(finding for check in CHECKS for finding in check(host, documents))


def _sudo(host: str, documents: Documents) -> Iterator[Finding]:
    system = documents["system"]
    if documents.get("root", {}).get("uid") == "0":
        yield Finding(host, "sudo", Severity.OK, f"root as {system.get('user', '?')}")
        return
    user = system.get("user", "USER")
    fix = f"log in as root, or set become: true and put '{user} ALL=(ALL) NOPASSWD: ALL' into /etc/sudoers.d/{user}"
    yield Finding(host, "sudo", Severity.ERROR, "no way to root: bridges, leases and volumes need it", fix)


def _libvirt(host: str, documents: Documents) -> Iterator[Finding]:
    libvirt = documents["libvirt"]
    error = str(libvirt.get("error", ""))
    if error.startswith("no-virsh"):
        yield Finding(host, "libvirt", Severity.ERROR, "virsh is missing", "apt-get install libvirt-clients")
    elif error:
        cause = error.strip().splitlines()[-1][:160]
        fix = "systemctl enable --now libvirtd (or virtqemud.socket virtnetworkd.socket virtstoraged.socket)"
        yield Finding(host, "libvirt", Severity.ERROR, f"libvirt does not answer: {cause}", fix)
    else:
        socket = documents.get("socket", {})
        opened = f", socket {socket['path']}" if socket.get("path") else ""
        yield Finding(host, "libvirt", Severity.OK, f"libvirt {libvirt.get('libvirt') or '?'}{opened}")
        if socket.get("error"):
            yield Finding(host, "libvirt", Severity.ERROR, str(socket["error"]), str(socket.get("fix", "")))


def _qemu(host: str, documents: Documents) -> Iterator[Finding]:
    version = documents["libvirt"].get("qemu", "")
    if version:
        yield Finding(host, "qemu", Severity.OK, f"QEMU {version}")
    elif not documents["libvirt"].get("error"):
        yield Finding(host, "qemu", Severity.ERROR, "no QEMU", "apt-get install qemu-system-x86")
    for tool, package in NEEDED_TOOLS.items():
        if f"tool.{tool}" not in documents["system"]:
            yield Finding(host, "tools", Severity.ERROR, f"{tool} is missing", f"apt-get install {package}")
    if not {"tool.curl", "tool.wget"} & documents["system"].keys():
        what = "neither curl nor wget: images are uploaded by the controller instead of pulled"
        yield Finding(host, "tools", Severity.WARNING, what, "apt-get install curl")


def _kvm(host: str, documents: Documents) -> Iterator[Finding]:
    verdict = documents.get("acceleration", {})
    kind, detail = verdict.get("kvm", ""), str(verdict.get("detail", ""))
    if kind == "works":
        yield Finding(host, "kvm", Severity.OK, "a probe guest booted with KVM")
    elif kind == "fails":
        fix = (
            "check `dmesg | grep -i kvm`; nested guests need nested=1 on the outer host; guests run emulated until then"
        )
        yield Finding(host, "kvm", Severity.WARNING, f"/dev/kvm is there but no guest boots with it: {detail}", fix)
    else:
        fix = (
            "enable VT-x/AMD-V in the firmware, `modprobe kvm_intel` or kvm_amd; guests run emulated (slow) until then"
        )
        yield Finding(host, "kvm", Severity.WARNING, f"no KVM: {detail}", fix)


def _storage(host: str, documents: Documents) -> Iterator[Finding]:
    pools = documents["libvirt"].get("pools", ())
    if not documents["libvirt"].get("error") and not any(pool["name"] == "default" for pool in pools):
        fix = "none needed: the first `up` makes it at /var/lib/libvirt/images"
        yield Finding(host, "storage", Severity.WARNING, "no storage pool named default", fix)
    for pool in pools:
        free = pool["available"] / GIB
        what = f"pool {pool['name']}: {free:.1f} GiB free of {pool['capacity'] / GIB:.1f} at {pool['path']}"
        if not pool["active"]:
            yield Finding(
                host, "storage", Severity.ERROR, f"pool {pool['name']} is stopped", f"virsh pool-start {pool['name']}"
            )
        elif pool["available"] < pool["capacity"] * LOW_SPACE:
            yield Finding(host, "storage", Severity.WARNING, what, "free space, or put volumes into another pool")
        else:
            yield Finding(host, "storage", Severity.OK, what)


def _bridges(host: str, documents: Documents) -> Iterator[Finding]:
    names = documents["system"].get("bridge", ())
    yield Finding(host, "bridges", Severity.OK, ", ".join(names) or "none (networks of mode bridge need one)")


def _engines(host: str, documents: Documents) -> Iterator[Finding]:
    containers = documents.get("containers", {})
    engines = containers.get("engines", {})
    if not engines:
        fix = "apt-get install podman podman-compose (or docker.io docker-compose), if stacks are to run here"
        yield Finding(host, "engines", Severity.WARNING, "no container engine", fix)
    for name, version in engines.items():
        ways = containers.get("compose", {}).get(name, ())
        if ways:
            yield Finding(host, "engines", Severity.OK, f"{name} {version} with {ways[0]}")
        else:
            fix = f"apt-get install {'podman-compose' if name == 'podman' else 'docker-compose'}"
            yield Finding(host, "engines", Severity.WARNING, f"{name} {version} without a compose command", fix)


CHECKS: tuple[Check, ...] = (_sudo, _libvirt, _qemu, _kvm, _storage, _bridges, _engines)


def check_fleet(documents: Mapping[str, Documents], asked_at: Mapping[str, float]) -> tuple[Finding, ...]:
    """What only shows between hosts: clocks that differ, identities that repeat. ``asked_at`` is the controller's
    clock, seconds since the epoch, in the middle of each host's probe."""
    return (*_clocks(documents, asked_at), *_duplicates(documents))


def _clocks(documents: Mapping[str, Documents], asked_at: Mapping[str, float]) -> Iterator[Finding]:
    offsets = {
        host: float(each["system"]["clock"]) - asked_at[host]
        for host, each in documents.items()
        if re.fullmatch(r"\d+", str(each["system"].get("clock", "")))
    }
    middle = median(offsets.values()) if offsets else 0.0
    for host, offset in offsets.items():
        skew = offset - middle
        if abs(skew) > CLOCK_SKEW:
            fix = "timedatectl set-ntp true (or install chrony)"
            yield Finding(host, "clock", Severity.ERROR, f"clock is {skew:+.0f} s off the fleet", fix)
        else:
            yield Finding(host, "clock", Severity.OK, "clock agrees with the fleet")


def _duplicates(documents: Mapping[str, Documents]) -> Iterator[Finding]:
    for key, fix in (
        ("machine_id", "rm /etc/machine-id && systemd-machine-id-setup"),
        ("host_uuid", "set host_uuid in libvirtd.conf"),
    ):
        seen: Sequence[tuple[str, str]] = [
            (host, str(each["system"].get(key) or each["libvirt"].get(key) or "")) for host, each in documents.items()
        ]
        counts = Counter(value for _, value in seen if value)
        for host, value in seen:
            if counts[value] > 1:
                others = ", ".join(name for name, other in seen if other == value and name != host)
                what = f"{key.replace('_', ' ')} is the same as on {others}: migration between them is refused"
                yield Finding(host, "uuid", Severity.ERROR, what, fix)

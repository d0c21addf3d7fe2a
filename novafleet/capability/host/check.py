"""Findings about hosts from what collectors saw. Pure: documents in, findings out, each with its fix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

from novafleet.model.finding import Finding, Severity

Documents = Mapping[str, Mapping[str, Any]]
Asked = tuple[float, float]
Check = Callable[[str, Documents], Iterator[Finding]]

GIB = 1024**3
LOW_SPACE = 0.10
"""Share of a pool that should be free: below it a guest that grows may be paused by QEMU on ENOSPC."""
CLOCK_SKEW = 2.0
"""Seconds a clock may differ from the fleet's (certificates and logs stop making sense beyond)."""
ENOUGH_CLOCKS = 3
"""Hosts whose median is a better judge of the time than this controller's own clock."""
QEMU_FIX = "apt-get install qemu-system-x86"
NEEDED_TOOLS = {"qemu-img": "qemu-utils", "flock": "util-linux", "sha256sum": "coreutils"}

IDENTITIES = (
    (
        "system",
        "machine_id",
        "DHCP leases and NovaFleet's memory of hosts mix them up",
        "rm /etc/machine-id && systemd-machine-id-setup && reboot",
    ),
    (
        "libvirt",
        "host_uuid",
        "libvirt refuses migration between them",
        "set host_uuid (see uuidgen) in /etc/libvirt/libvirtd.conf (or virtqemud.conf) and restart it",
    ),
)
"""Where an identity is, what happens when two hosts have the same, and the fix."""


def check_host(host: str, documents: Documents) -> tuple[Finding, ...]:
    """Everything that can be said of one host on its own."""
    return tuple(finding for check in CHECKS for finding in check(host, documents))


def _sudo(host: str, documents: Documents) -> Iterator[Finding]:
    root = documents.get("root", {})
    if root.get("uid") == "0":
        yield Finding(host, "sudo", Severity.OK, f"root by {root.get('way', 'login')}")
        return
    user = documents["system"].get("user", "USER")
    fix = f"log in as root, or set become: true and put '{user} ALL=(ALL) NOPASSWD: ALL' into /etc/sudoers.d/{user}"
    yield Finding(host, "sudo", Severity.ERROR, "no way to root: bridges, leases and volumes need it", fix)


def _libvirt(host: str, documents: Documents) -> Iterator[Finding]:
    libvirt = documents["libvirt"]
    error = str(libvirt.get("error", ""))
    if error.startswith("no-virsh"):
        yield Finding(host, "libvirt", Severity.ERROR, "virsh is missing", "apt-get install libvirt-clients")
    elif error:
        cause = (error.splitlines()[1:] or ["it gives no reason"])[0][:160]
        yield Finding(host, "libvirt", Severity.ERROR, f"libvirt does not answer: {cause}", _libvirt_fix(error))
    else:
        socket = documents.get("socket", {})
        opened = f", socket {socket['path']}" if socket.get("path") else ""
        yield Finding(host, "libvirt", Severity.OK, f"libvirt {libvirt.get('libvirt') or '?'}{opened}")
        if socket.get("error"):
            yield Finding(host, "libvirt", Severity.ERROR, str(socket["error"]), str(socket.get("fix", "")))


def _libvirt_fix(error: str) -> str:
    if "authentication" in error or "Permission denied" in error:
        return "set become: true for this host, or: usermod -aG libvirt USER"
    return "systemctl enable --now libvirtd (or virtqemud.socket virtnetworkd.socket virtstoraged.socket)"


def _qemu(host: str, documents: Documents) -> Iterator[Finding]:
    version = documents["libvirt"].get("qemu", "")
    if version:
        yield Finding(host, "qemu", Severity.OK, f"QEMU {version}")
    elif not documents["libvirt"].get("error"):
        yield Finding(host, "qemu", Severity.ERROR, "no QEMU", QEMU_FIX)
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
        fix = "see `dmesg | grep -i kvm`; a nested host needs nested=1 on the outer one; until then guests are emulated"
        yield Finding(host, "kvm", Severity.WARNING, f"/dev/kvm is there but no guest boots with it: {detail}", fix)
    elif kind == "absent":
        able = documents["system"].get("cpu_virtualization") == "yes"
        switch = "the CPU can:" if able else "enable VT-x/AMD-V in the firmware (nested: on the outer host), then"
        fix = f"{switch} modprobe kvm_intel or kvm_amd; until then guests are emulated (slow)"
        yield Finding(host, "kvm", Severity.WARNING, f"no KVM: {detail}", fix)
    else:
        fix = QEMU_FIX if "qemu" in detail else "run it again: novafleet host doctor"
        yield Finding(host, "kvm", Severity.WARNING, f"KVM was not tried: {detail}", fix)


def _storage(host: str, documents: Documents) -> Iterator[Finding]:
    pools = documents["libvirt"].get("pools", ())
    if not documents["libvirt"].get("error") and not any(pool["name"] == "default" for pool in pools):
        fix = "none needed: the first `up` makes it at /var/lib/libvirt/images"
        yield Finding(host, "storage", Severity.WARNING, "no storage pool named default", fix)
    for pool in pools:
        yield _pool(host, pool)


def _pool(host: str, pool: Mapping[str, Any]) -> Finding:
    name, free = pool["name"], pool["available"]
    if not pool["active"]:
        severity = Severity.ERROR if name == "default" else Severity.WARNING
        return Finding(host, "storage", severity, f"pool {name} is stopped", f"virsh pool-start {name}")
    what = f"pool {name}: {free / GIB:.1f} GiB free of {pool['capacity'] / GIB:.1f} at {pool['path']}"
    if free < pool["capacity"] * LOW_SPACE:
        return Finding(host, "storage", Severity.WARNING, what, "free space, or put volumes into another pool")
    return Finding(host, "storage", Severity.OK, what)


def _bridges(host: str, documents: Documents) -> Iterator[Finding]:
    names = documents["system"].get("bridge", ())
    yield Finding(host, "bridges", Severity.OK, ", ".join(names) or "none (networks of mode bridge need one)")


def _engines(host: str, documents: Documents) -> Iterator[Finding]:
    containers = documents.get("containers", {})
    engines = containers.get("engines", {})
    silent = containers.get("silent", ()) if documents.get("root", {}).get("uid") == "0" else ()
    for name in silent:
        what = f"{name} is installed but its daemon does not answer"
        yield Finding(
            host,
            "engines",
            Severity.WARNING,
            what,
            f"systemctl enable --now {name}; systemctl restart {name}   # if it hangs",
        )
    if not engines and not silent:
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


def check_fleet(documents: Mapping[str, Documents], asked: Mapping[str, Asked]) -> tuple[Finding, ...]:
    """What only shows between hosts: clocks that differ, identities that repeat. ``asked``: the controller's clock,
    seconds since the epoch, before and after each host was asked for the time (``root.clock``, whole seconds)."""
    return (*_clocks(documents, asked), *_duplicates(documents))


def _clocks(documents: Mapping[str, Documents], asked: Mapping[str, Asked]) -> Iterator[Finding]:
    offsets = {
        host: float(each["root"]["clock"]) + 0.5 - sum(asked[host]) / 2
        for host, each in documents.items()
        if re.fullmatch(r"[0-9]{1,12}", str(each["root"].get("clock", "")))
    }
    enough = len(offsets) >= ENOUGH_CLOCKS
    middle, judge = (median(offsets.values()), "the fleet") if enough else (0.0, "this controller")
    for host, offset in offsets.items():
        skew = offset - middle
        before, after = asked[host]
        if abs(skew) > CLOCK_SKEW + 0.5 + (after - before) / 2:
            fix = "timedatectl set-ntp true (or install chrony)"
            yield Finding(host, "clock", Severity.ERROR, f"clock is {skew:+.0f} s off {judge}", fix)
        else:
            yield Finding(host, "clock", Severity.OK, f"clock agrees with {judge}")


def _duplicates(documents: Mapping[str, Documents]) -> Iterator[Finding]:
    for source, key, harm, fix in IDENTITIES:
        seen = [(host, str(each[source].get(key) or "")) for host, each in documents.items()]
        counts = Counter(value for _, value in seen if value)
        for host, value in seen:
            if counts[value] > 1:
                others = ", ".join(name for name, other in seen if other == value and name != host)
                what = f"{key.replace('_', ' ')} is the same as on {others}: {harm}"
                yield Finding(host, "uuid", Severity.ERROR, what, fix)

"""libvirt over the shared SSH connection, beside qemu+ssh and a virsh loop, on the lab's first host.

``python -m tests.bench.bench_libvirt`` prints milliseconds as JSON; it defines 50 domains and removes them.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from novafleet.hypervisor.connect import Connections
from novafleet.model.fleet import Fleet, Host
from novafleet.ports import HostSession, Hypervisor
from novafleet.transport.pool import SshPool
from tests.bench.figure import Figure, Section
from tests.contract.hypervisors import LAB, LAB_HOSTS, no_password, reachable

DOMAINS = 50
ROUNDS = 9
PREFIX = "nf-bench-lv"


def run() -> dict[str, object]:
    """Milliseconds (median of 9): connecting, one call, all domains; and how much longer the peers take."""
    return asyncio.run(_run(reachable(LAB_HOSTS["kvm1"])))


async def _run(host: Host) -> dict[str, object]:
    fleet = Fleet({host.name: host}, {})
    async with (
        SshPool(fleet, known_hosts=LAB / "known_hosts", passwords=no_password) as pool,
        Connections(pool) as hypervisors,
    ):
        session, hypervisor = await pool.get(host), await hypervisors.get(host)
        await hypervisor.version()
        for number in range(DOMAINS):
            await hypervisor.define_domain(_domain(f"{PREFIX}-{number:02}"))
        try:
            return await _measured(session, hypervisor, host)
        finally:
            for number in range(DOMAINS):
                await hypervisor.undefine_domain(f"{PREFIX}-{number:02}")


async def _measured(session: HostSession, hypervisor: Hypervisor, host: Host) -> dict[str, object]:
    async def reopen() -> None:
        await hypervisor.close()
        await hypervisor.version()

    figures: dict[str, object] = {
        "open_ms": await _median(reopen),
        "call_ms": await _median(hypervisor.version),
        "domains_ms": await _median(hypervisor.domains),
        "domains": len(await hypervisor.domains()),
    }
    if shutil.which("virsh"):
        figures["qemu_ssh_open_ms"] = _virsh(host, "version")
        figures["qemu_ssh_loop_10_ms"] = _virsh(host, *[f"dumpxml {PREFIX}-{number:02}" for number in range(10)])
    return figures


async def _median(call: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1000, 1)


def _virsh(host: Host, *commands: str) -> float:
    """One virsh process over qemu+ssh, with the lab's key and known hosts; milliseconds."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        ssh = Path(folder, "ssh")
        ssh.write_text(f'#!/bin/sh\nexec ssh -o UserKnownHostsFile="{host.known_hosts}" "$@"\n')
        ssh.chmod(0o700)
        uri = f"qemu+ssh://{host.user}@{host.address}/system?keyfile={host.key}&no_tty=1&command={ssh}"
        for _ in range(3):
            began = time.perf_counter()
            argv = ("virsh", "-q", "-c", uri, "; ".join(commands))
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1000, 1)


def _domain(name: str) -> str:
    return (
        f'<domain type="qemu"><name>{name}</name><memory unit="MiB">32</memory>'
        '<os><type arch="x86_64" machine="q35">hvm</type></os></domain>'
    )


def section(measured: Mapping[str, Any]) -> Section:
    """The figures of the page."""
    opening = {"virsh over qemu+ssh": measured["qemu_ssh_open_ms"]} if "qemu_ssh_open_ms" in measured else {}
    looping = {"virsh over qemu+ssh": measured["qemu_ssh_loop_10_ms"] * DOMAINS / 10} if opening else {}
    return Section(
        "libvirt over the shared connection",
        f"libvirt on one host, {DOMAINS} defined domains. virsh is one process that connects by itself; its "
        f"`dumpxml` of 10 domains is multiplied to {DOMAINS}.",
        (
            Figure("open libvirt and ask its version", measured["open_ms"], "ms", peers=opening),
            Figure(f"all definitions ({measured['domains']})", measured["domains_ms"], "ms", peers=looping),
            Figure("one call", measured["call_ms"], "ms"),
        ),
    )


if __name__ == "__main__":
    json.dump(run(), sys.stdout, indent=2)

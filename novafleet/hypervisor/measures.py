"""What is measured and compared: functions that run in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from novafleet.hypervisor.domains import lookup
from novafleet.hypervisor.session import Handle
from novafleet.hypervisor.translate import CPU_INCOMPATIBLE
from novafleet.model.snapshot import DiskLoad

MIB = 1 << 20
NANO = 1e9
KINDS = ("rd", "wr", "fl")


def compare_cpu(handle: Handle, cpu: str, emulator: str, arch: str, machine: str, kind: str) -> str:
    """ "" for a CPU the hypervisor can provide, else libvirt's words for what it lacks."""
    libvirt = handle.libvirt
    flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    words = (emulator or None, arch or None, machine or None, kind or None)
    try:
        handle.connection.compareHypervisorCPU(*words, cpu, flags)
    except libvirt.libvirtError as error:
        if error.get_error_code() != CPU_INCOMPATIBLE:
            raise
        return str(error)
    return ""


def disk_load(handle: Handle, names: Sequence[str]) -> dict[str, dict[str, DiskLoad]]:
    """By domain and disk; libvirt counts nanoseconds."""
    domains = [lookup(handle, name) for name in names]
    stats = handle.connection.domainListGetStats(domains, handle.libvirt.VIR_DOMAIN_STATS_BLOCK) if domains else []
    return {domain.name(): _loads(found) for domain, found in stats}


def _loads(found: Mapping[str, Any]) -> dict[str, DiskLoad]:
    loads: dict[str, DiskLoad] = {}
    for number in range(int(found.get("block.count", 0))):
        counts = [found.get(f"block.{number}.{kind}.reqs", 0) for kind in KINDS]
        times = [found.get(f"block.{number}.{kind}.times", 0) for kind in KINDS]
        if any(f"block.{number}.{kind}.reqs" in found for kind in KINDS):
            loads[str(found.get(f"block.{number}.name", number))] = DiskLoad(sum(counts), sum(times) / NANO)
    return loads


def start_dirty_rate(handle: Handle, name: str, seconds: int) -> None:
    """Begin to sample the guest's memory for so many seconds (1 to 60)."""
    lookup(handle, name).startDirtyRateCalc(seconds, 0)


def dirty_rate(handle: Handle, name: str) -> int | None:
    """Bytes a second, when the measurement is done. libvirt tells whole MiB."""
    libvirt = handle.libvirt
    stats = handle.connection.domainListGetStats([lookup(handle, name)], libvirt.VIR_DOMAIN_STATS_DIRTYRATE)
    found = stats[0][1] if stats else {}
    if found.get("dirtyrate.calc_status") != libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
        return None
    return int(found.get("dirtyrate.megabytes_per_second", 0)) * MIB

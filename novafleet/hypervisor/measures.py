"""What is measured and compared before a migration: functions that run in a worker."""

from __future__ import annotations

from novafleet.hypervisor.domains import lookup
from novafleet.hypervisor.session import Handle
from novafleet.hypervisor.translate import CPU_INCOMPATIBLE

MIB = 1 << 20


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

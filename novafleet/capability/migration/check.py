"""What stands in the way of a migration, and what is worth knowing before it. Pure: each check says what it found.

A blocker without modes refuses them all; one with modes only those. Every blocker names its fix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from shlex import quote
from xml.etree import ElementTree

from novafleet.capability.migration.build import Case
from novafleet.capability.migration.check_disks import DISK_CHECKS
from novafleet.capability.migration.check_networks import NETWORK_CHECKS
from novafleet.capability.migration.filters import check_filters
from novafleet.capability.migration.findings import RUNNING, blocker, note, warning
from novafleet.capability.migration.gates import foretold
from novafleet.capability.migration.guest import read
from novafleet.capability.migration.known_bad import known_bad
from novafleet.capability.migration.power import OFF
from novafleet.model.migration import Finding, Mode, Path
from novafleet.plan import moving
from novafleet.plan.elsewhere import machine_for
from novafleet.plan.pins import unmet

Check = Callable[[Case], Iterator[Finding]]
MOVABLE = frozenset(("running", "blocked", "idle", "paused", "shutoff"))


def check(case: Case) -> tuple[Finding, ...]:
    """Everything found: blockers first, then warnings, then notes; each group in the order of the checks."""
    found = [each for one in CHECKS for each in one(case)]
    order = ("blocker", "warning", "note")
    return tuple(sorted(found, key=lambda each: order.index(each.severity.value)))


def _state(case: Case) -> Iterator[Finding]:
    domain = case.observed.domain
    if case.observed.busy:
        fix = f"wait for it, or end it: virsh -c qemu:///system domjobinfo {case.word}   # on {case.source.host}"
        yield blocker("NF-MIG-303", f"{domain.name} is held by {case.observed.busy}", fix)
    if not domain.persistent:
        fix = f"virsh dumpxml {case.word} >vm.xml; virsh define vm.xml   # on {case.source.host}"
        yield blocker("NF-MIG-308", f"{domain.name} is transient: it is forgotten when it stops", fix)
    if domain.state not in MOVABLE:
        fix = f"novafleet vm ls -l {case.source.host}   # wait until it runs or is off"
        yield blocker("NF-MIG-309", f"{domain.name} is {domain.state} ({domain.reason})", fix)
    elif domain.state == "paused" and domain.reason not in ("user", "unknown"):
        fix = f"find out why it paused ({domain.reason}), then: virsh resume {case.word}   # on {case.source.host}"
        yield blocker("NF-MIG-309", f"{domain.name} is paused ({domain.reason})", fix)


def _off(case: Case) -> Iterator[Finding]:
    if not case.observed.running:
        what = f"{case.guest.name} is off: there is nothing to keep running"
        yield blocker("NF-MIG-345", what, "use --mode cold or auto", (*RUNNING, Mode.WARM))


def _unfinished(case: Case) -> Iterator[Finding]:
    found = moving.read(case.observed.domain.xml)
    if found is not None and found.open and found.job != case.observed.job:
        what = f"migration {found.job} of it to {found.destination} is at {found.phase}, and not finished"
        yield blocker("NF-MIG-304", what, "novafleet migrate recover")


def _name_there(case: Case) -> Iterator[Finding]:
    domain, host = case.observed.domain, case.destination.host
    for other in case.destination.domains.values():
        same = other.name == domain.name, other.uuid == domain.uuid
        if any(same):
            what = "has the same " + " and ".join(w for w, is_so in zip(("name", "UUID"), same, strict=True) if is_so)
            fix = f"look at it first: virsh dominfo {quote(other.name)}   # on {host}; then undefine or rename it"
            yield blocker("NF-MIG-305", f"{host} has a domain {other.name} ({other.state}) that {what}", fix)


def _hosts(case: Case) -> Iterator[Finding]:
    if case.source.uuid and case.source.uuid == case.destination.uuid:
        what = f"{case.source.host} and {case.destination.host} both say they are host {case.source.uuid}"
        fix = f'host_uuid = "$(uuidgen)" in /etc/libvirt/libvirtd.conf on {case.destination.host}, restart libvirtd'
        yield blocker("NF-MIG-306", what, fix, RUNNING)
    ways = {each.value: case.observed.paths[each] for each in Path if each in case.observed.paths}
    if ways and all(ways.values()):
        why = "; ".join(f"{name}: {reason}" for name, reason in ways.items())
        yield blocker("NF-MIG-307", f"no way for the data: {why}", "novafleet host doctor", RUNNING)


def _cpu(case: Case) -> Iterator[Finding]:
    host = case.destination.host
    lacking = sorted(case.source.cpu_flags - case.destination.cpu_flags)
    if case.observed.boot_cpu:
        fix = f"give it a CPU model both hosts have: virsh domcapabilities   # on {host}"
        yield blocker("NF-MIG-310", f"{host} cannot run its CPU: {case.observed.boot_cpu}", fix)
    elif case.observed.cpu:
        fix = "use --mode warm, or restart it with a CPU model both hosts have"
        yield blocker("NF-MIG-310", f"{host} cannot go on with its CPU: {case.observed.cpu}", fix, RUNNING)
    elif case.guest.cpu_mode in ("host-passthrough", "maximum") and case.observed.running and lacking:
        what = f"{case.guest.cpu_mode} needs the same CPU; {host} lacks {', '.join(lacking[:6])}"
        yield blocker("NF-MIG-310", what, "use --mode warm, or give it a CPU model both hosts have", RUNNING)


def _machine(case: Case) -> Iterator[Finding]:
    guest, there = case.guest, case.destination
    if guest.machine and guest.machine not in there.machines:
        instead = machine_for(guest.machine, there.machines)
        family = "q35" if "q35" in guest.machine else "i440fx"
        near = sorted(name for name in there.machines if family in name)
        what = f"QEMU on {there.host} does not know machine type {guest.machine} ({guest.arch})"
        fix = f"shut it down and set a machine type both know: virsh edit {case.word}   # there: {', '.join(near[-3:])}"
        yield blocker("NF-MIG-311", what, fix, RUNNING if instead else ())
        if instead:
            what = f"it boots there as the newest {instead} that QEMU knows, instead of {guest.machine}"
            yield warning("NF-MIG-311", what, fix, (Mode.WARM, Mode.COLD))
    if guest.kind == "kvm" and not there.kvm:
        yield blocker("NF-MIG-312", f"{there.host} has no KVM", f"novafleet host doctor -l {there.host}")


def _programs(case: Case) -> Iterator[Finding]:
    guest, there = case.guest, case.destination
    sources = (("random number generator", path) for path in guest.random)
    for what, path in (("emulator", guest.emulator), ("firmware", guest.loader), *sources):
        if path and path not in there.files:
            fix = f"install it there (dpkg -S {path} on {case.source.host} names its package)"
            yield blocker("NF-MIG-313", f"{there.host} has no {what} {path}", fix)
    if guest.tpm and not there.swtpm:
        yield blocker("NF-MIG-314", f"{there.host} cannot emulate a TPM", f"apt-get install swtpm   # on {there.host}")


def _memory(case: Case) -> Iterator[Finding]:
    need, free = case.guest.memory, case.destination.memory_available
    if not case.observed.running or not free:
        return
    if need > free:
        what = f"{case.destination.host} has {free >> 20} MiB of memory available, the VM needs {need >> 20} MiB"
        yield blocker("NF-MIG-315", what, "choose another host, or move another VM away first")
    if case.guest.hugepages:
        what = f"the VM's memory is in huge pages: nobody counted those of {case.destination.host}"
        yield warning("NF-MIG-315", what, "grep Huge /proc/meminfo   # there")


def _devices(case: Case) -> Iterator[Finding]:
    defined = read(case.observed.domain.xml).tied
    for device in case.guest.tied:
        fix = f"detach it first (a medium: eject it): virsh detach-device {case.word} DEVICE.xml --config --live"
        modes = () if device in defined else RUNNING  # a start takes it of a network's pool, or not at all
        yield blocker("NF-MIG-340", f"{device} belongs to {case.source.host}", fix, modes)
    addresses = case.destination.addresses
    for address in sorted(case.guest.listens - addresses) if addresses else ():
        fix = f"virsh edit {case.word}   # let it listen on 127.0.0.1, 0.0.0.0 or a network"
        yield blocker(
            "NF-MIG-340", f"a display or console listens on {address}, which {case.destination.host} has not", fix
        )
    for device in case.guest.frozen:
        what = f"{device}: QEMU cannot carry its state over"
        yield blocker("NF-MIG-341", what, "use --mode warm or cold", RUNNING)
    for disk in case.guest.disks if case.observed.running else ():
        if disk.transient:
            what = f"transient disk {disk.target}: what it starts from cannot be carried while it runs"
            yield blocker("NF-MIG-341", what, "shut it down, then --mode cold", (Mode.WARM, Mode.COLD))
    for need in case.guest.unlooked:
        what = f"{need}: it does not come along, and nobody looked for it on {case.destination.host}"
        yield warning("NF-MIG-346", what, f"see to it that {case.destination.host} has the same")


def _pinned(case: Case) -> Iterator[Finding]:
    host = case.destination
    for pin in unmet(ElementTree.fromstring(case.observed.active_xml), host.topology):
        fix = f"virsh edit {case.word}   # its cputune, numatune; there: virsh capabilities"
        yield blocker("NF-MIG-310", f"it is pinned to {pin}, which {host.host} does not have", fix)


def _address_there(case: Case) -> Iterator[Finding]:
    """Two guests of a host cannot have one vsock address."""
    for other in case.destination.domains.values() if case.guest.cid else ():
        if other.state not in OFF and read(other.xml).cid == case.guest.cid:
            what = f"{case.destination.host} has a domain {other.name} ({other.state}) that has the same vsock CID"
            yield blocker(
                "NF-MIG-305", f"{what} {case.guest.cid}", f"virsh edit {quote(other.name)}   # <cid auto='yes'/>"
            )


def _protection(case: Case) -> Iterator[Finding]:
    if any(disk.shared and disk.source for disk in case.disks) and not case.destination.lock_manager:
        what = "its disks are shared and no lock manager keeps two copies from writing to them"
        yield note("NF-MIG-342", what, 'lock_manager = "lockd" in /etc/libvirt/qemu.conf of both hosts')


def _postcopy(case: Case) -> Iterator[Finding]:
    if not case.observed.running:
        return
    if why := case.observed.paths.get(Mode.POSTCOPY.value):
        yield blocker("NF-MIG-104", why, "sysctl vm.unprivileged_userfaultfd=1   # there", (Mode.POSTCOPY,))
    else:
        what = "while post-copy runs, neither host has the whole guest: a broken network pauses it until it is resumed"
        yield note("NF-MIG-343", what, "", (Mode.POSTCOPY,))


def _by_controller(case: Case) -> Iterator[Finding]:
    """A path that was asked for is no promise for every mode."""
    wanted = case.wanted.path
    modes = (*((Mode.WARM,) if case.observed.running else ()), *((Mode.COLD,) if wanted is Path.DIRECT else ()))
    if wanted in (Path.DIRECT, Path.TUNNEL) and modes:
        what = f"--path {wanted.value}: the bytes of a {' or '.join(modes)} copy go through the controller all the same"
        yield note("NF-MIG-354", what, "", modes)


CHECKS: tuple[Check, ...] = (
    _state,
    _off,
    _unfinished,
    _name_there,
    _address_there,
    _hosts,
    _cpu,
    _machine,
    _programs,
    _memory,
    _pinned,
    *DISK_CHECKS,
    *NETWORK_CHECKS,
    check_filters,
    _devices,
    known_bad,
    _protection,
    _postcopy,
    _by_controller,
    foretold,
)

"""What is asked of domains: functions that run in a worker and answer with frozen facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from xml.etree import ElementTree

from novafleet.errors import HypervisorError, Retry
from novafleet.hypervisor.session import Handle, load_qemu, unless
from novafleet.hypervisor.states import state_words
from novafleet.hypervisor.translate import NO_DOMAIN, NO_SUPPORT, OPERATION_INVALID
from novafleet.model.facts import Domain, DomainState

STUCK = 30.0
"""Seconds without an answer of QEMU after which its definition and its power button are left alone: libvirt makes
whoever asks for them wait for as long again."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Domains still to be read by the workers, and what one bulk call told of each, by UUID.

    Dropping the virDomains it may still hold makes no call to the host.
    """

    waiting: SimpleQueue[Any]
    states: Mapping[str, tuple[int, int]]
    persistent: frozenset[str]
    autostart: frozenset[str]
    saved: frozenset[str]


def listing(handle: Handle) -> Listing:
    """All domains in five requests, however many there are."""
    libvirt, connection = handle.libvirt, handle.connection
    waiting: SimpleQueue[Any] = SimpleQueue()
    for domain in connection.listAllDomains():
        waiting.put(domain)
    return Listing(
        waiting,
        dict(_states(libvirt, connection)),
        _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
        _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART),
        _uuids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
    )


def _states(libvirt: Any, connection: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    for domain, record in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE):
        yield domain.UUIDString(), (record["state.state"], record["state.reason"])


def _uuids(connection: Any, flags: int) -> frozenset[str]:
    return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flags))


def read(handle: Handle, listed: Listing) -> tuple[Domain, ...]:
    """The definitions of waiting domains, one request each; a domain gone since is left out."""
    found: list[Domain] = []
    try:
        while True:
            domain = listed.waiting.get_nowait()
            with unless(handle, NO_DOMAIN):
                found.append(_listed(handle, listed, domain))
    except Empty:
        return tuple(found)


def _listed(handle: Handle, listed: Listing, domain: Any) -> Domain:
    uuid = domain.UUIDString()
    state, reason = state_words(*(listed.states.get(uuid) or domain.state()))
    _refuse_stuck(handle, domain)
    xml = domain.XMLDesc(handle.libvirt.VIR_DOMAIN_XML_INACTIVE)
    kept = (uuid in listed.persistent, uuid in listed.autostart)
    return Domain(domain.name(), uuid, state, xml, *kept, reason, uuid in listed.saved)


def one(handle: Handle, name: str) -> Domain:
    """One domain by name. Raises HypervisorError NF-LV-112."""
    domain = lookup(handle, name)
    _refuse_stuck(handle, domain)
    return _fact(handle, domain)


def _refuse_stuck(handle: Handle, domain: Any) -> None:
    """libvirt tells the definition of such a domain after half a minute (11.3), and everybody's next call waits too."""
    with unless(handle, OPERATION_INVALID), unless(handle, NO_SUPPORT):  # it is off, or no QEMU
        state, _, milliseconds = domain.controlInfo()
        if state == handle.libvirt.VIR_DOMAIN_CONTROL_OCCUPIED and milliseconds >= STUCK * 1000:
            raise _stuck(domain.name(), milliseconds // 1000)


def _stuck(name: str, seconds: int) -> HypervisorError:
    return HypervisorError(
        f"QEMU of {name} has not answered libvirt for {seconds} s",
        code="NF-LV-112",
        hints=(
            f"ps -o stat,wchan:32,args -p $(cat /run/libvirt/qemu/{name}.pid)   # what does it wait for?",
            f"novafleet vm stop {name} --force   # ends it, as a power cut would",
        ),
        retry=Retry.LATER,
    )


def state_of(handle: Handle, name: str) -> DomainState:
    """Without its definition, which libvirt 11.3 does not tell while it waits for QEMU."""
    domain = lookup(handle, name)
    return DomainState(domain.UUIDString(), *state_words(*domain.state()), bool(domain.isPersistent()))


def define(handle: Handle, xml: str) -> Domain:
    """Define or redefine, validated by libvirt's schema."""
    return _fact(handle, handle.connection.defineXMLFlags(xml, handle.libvirt.VIR_DOMAIN_DEFINE_VALIDATE))


def _fact(handle: Handle, domain: Any) -> Domain:
    state, reason = state_words(*domain.state())
    return Domain(
        name=domain.name(),
        uuid=domain.UUIDString(),
        state=state,
        xml=domain.XMLDesc(handle.libvirt.VIR_DOMAIN_XML_INACTIVE),
        persistent=bool(domain.isPersistent()),
        autostart=bool(domain.autostart()),
        reason=reason,
        saved=bool(domain.hasManagedSaveImage()),
    )


def start(handle: Handle, name: str) -> None:
    """Boot unless active."""
    domain = lookup(handle, name)
    if not domain.isActive():
        with unless(handle, OPERATION_INVALID, lambda: bool(domain.isActive())):
            domain.create()


def shutdown(handle: Handle, name: str) -> None:
    """Ask an active guest to power off, by agent or ACPI as libvirt finds best; one on its way is left alone. Raises
    HypervisorError NF-LV-112."""
    domain, libvirt = lookup(handle, name), handle.libvirt
    going = (libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
    if domain.isActive():  # and still is while QEMU ends, when libvirt says that it is not running, or cannot ask it
        _refuse_stuck(handle, domain)
        with (
            unless(handle, OPERATION_INVALID, lambda: domain.state()[0] in going),
            unless(handle, libvirt.VIR_ERR_SYSTEM_ERROR, lambda: domain.state()[0] in going),
        ):
            domain.shutdown()


def destroy(handle: Handle, name: str) -> None:
    """Stop an active guest at once."""
    domain = lookup(handle, name)
    if domain.isActive():
        with unless(handle, OPERATION_INVALID, lambda: not domain.isActive()):
            domain.destroy()


def reboot(handle: Handle, name: str) -> None:
    """Ask the guest to reboot."""
    lookup(handle, name).reboot()


def suspend(handle: Handle, name: str) -> None:
    """Pause unless paused."""
    domain = lookup(handle, name)
    if domain.state()[0] != handle.libvirt.VIR_DOMAIN_PAUSED:
        domain.suspend()


def resume(handle: Handle, name: str) -> None:
    """Go on unless running."""
    domain = lookup(handle, name)
    if domain.state()[0] != handle.libvirt.VIR_DOMAIN_RUNNING:
        domain.resume()


def undefine(handle: Handle, name: str, nvram: bool) -> None:
    """Forget the definition and what libvirt keeps beside it; absent is fine, and so is a guest that has none left."""
    with unless(handle, NO_DOMAIN):
        domain = lookup(handle, name)
        if domain.isPersistent():
            xml = domain.XMLDesc(handle.libvirt.VIR_DOMAIN_XML_INACTIVE)
            domain.undefineFlags(_leftovers(handle.libvirt, xml, nvram))


def _leftovers(libvirt: Any, xml: str, nvram: bool) -> int:
    """Flags for what the definition has: a driver may refuse those of what it cannot have."""
    root = ElementTree.fromstring(xml)
    flags: int = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    )
    if root.find("os[@firmware]") is not None or root.find("os/nvram") is not None:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM if nvram else libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    if root.find("devices/tpm") is not None:
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_TPM
    return flags


def set_autostart(handle: Handle, name: str, enabled: bool) -> None:
    """Start with the host, or not."""
    lookup(handle, name).setAutostart(int(enabled))


def attach(handle: Handle, name: str, xml: str, live: bool) -> None:
    """Add a device to the definition and, with ``live``, to the guest if it runs."""
    domain = lookup(handle, name)
    domain.attachDeviceFlags(xml, _affect(handle, domain, live))


def detach(handle: Handle, name: str, xml: str, live: bool) -> None:
    """Remove a device likewise."""
    domain = lookup(handle, name)
    domain.detachDeviceFlags(xml, _affect(handle, domain, live))


def update(handle: Handle, name: str, xml: str, live: bool) -> None:
    """Change a device likewise."""
    domain = lookup(handle, name)
    domain.updateDeviceFlags(xml, _affect(handle, domain, live))


def set_memory(handle: Handle, name: str, kib: int, live: bool) -> None:
    """Balloon within the maximum; without ``live`` the definition's maximum moves too."""
    domain = lookup(handle, name)
    affect = _affect(handle, domain, live)
    if not live:
        domain.setMemoryFlags(kib, affect | handle.libvirt.VIR_DOMAIN_MEM_MAXIMUM)
    domain.setMemoryFlags(kib, affect)


def set_vcpus(handle: Handle, name: str, count: int, live: bool) -> None:
    """Plug CPUs within the maximum; without ``live`` the definition's maximum moves too."""
    domain = lookup(handle, name)
    affect = _affect(handle, domain, live)
    if not live:
        domain.setVcpusFlags(count, affect | handle.libvirt.VIR_DOMAIN_VCPU_MAXIMUM)
    domain.setVcpusFlags(count, affect)


def set_metadata(handle: Handle, name: str, xml: str, key: str, uri: str) -> None:
    """Replace the element of ``uri`` on the definition and on the guest if it runs."""
    domain = lookup(handle, name)
    affect = _affect(handle, domain, live=True)
    domain.setMetadata(handle.libvirt.VIR_DOMAIN_METADATA_ELEMENT, unprefixed(xml, uri), key, uri, affect)


def unprefixed(xml: str, uri: str) -> str:
    """The element with ``uri`` as default namespace: libvirt declares the prefix itself and fails where it already is
    ("failed to create a new XML namespace", virXMLInjectNamespace)."""
    root = ElementTree.fromstring(xml)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{uri}}}")
    root.set("xmlns", uri)
    return ElementTree.tostring(root, encoding="unicode")


def agent(handle: Handle, name: str, request: str, seconds: int) -> str:
    """One guest-agent command."""
    answer: str = load_qemu().qemuAgentCommand(lookup(handle, name), request, seconds, 0)
    return answer


def _affect(handle: Handle, domain: Any, live: bool) -> int:
    """Both layers in one call, so that a refusal leaves both as they were."""
    flags: int = handle.libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if live and domain.isActive():
        flags |= handle.libvirt.VIR_DOMAIN_AFFECT_LIVE
    return flags


def lookup(handle: Handle, name: str) -> Any:
    """The virDomain of that name."""
    return handle.connection.lookupByName(name)

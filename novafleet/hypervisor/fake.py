"""A libvirt in memory: every method of ``ports.Hypervisor`` with libvirt's own rewriting, states and refusals.

For logic and property tests; the contract suite holds it to what real hosts do. No QEMU runs: an ``obedient`` guest
powers off as soon as it is asked, and the files a domain names are believed to exist.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from novafleet.hypervisor import plug, redefine, rewrite, translate
from novafleet.hypervisor.domains import unprefixed
from novafleet.hypervisor.fakemigrations import FakeMigrations
from novafleet.hypervisor.guests import Guest, xml_of
from novafleet.hypervisor.networks import has_entry
from novafleet.hypervisor.plug import Refusal
from novafleet.model.facts import Domain, DomainEvent, DomainState, NetworkFact, PoolFact
from novafleet.model.fleet import Host
from novafleet.model.snapshot import DiskLoad
from novafleet.ports import Hypervisor


@dataclass(slots=True, eq=False)
class Net:
    """A network likewise."""

    config: Element
    live: Element | None = None
    autostart: bool = False


class FakeHypervisor(FakeMigrations):
    """Implements ``ports.Hypervisor``. ``networks`` and ``pools`` show what the port has no question for."""

    def __init__(self, host: str = "fake", *, obedient: bool = True) -> None:
        super().__init__(host)
        self.obedient = obedient
        self.cpu_features: frozenset[str] = frozenset()
        self.dirty_rates: dict[str, int] = {}
        self.loads: dict[str, dict[str, DiskLoad]] = {}
        self._nets: dict[str, Net] = {}
        self._pools: dict[str, PoolFact] = {}
        self._listeners: list[asyncio.Queue[DomainEvent]] = []

    @property
    def networks(self) -> dict[str, NetworkFact]:
        """The networks by name."""
        return {
            name: NetworkFact(name, _text(net.config, "uuid"), net.live is not None, net.autostart, xml_of(net.config))
            for name, net in self._nets.items()
        }

    @property
    def pools(self) -> dict[str, PoolFact]:
        """The pools by name."""
        return dict(self._pools)

    def live_xml(self, name: str) -> str:
        """What runs of a domain; empty when it is off."""
        live = self._guests[name].live
        return "" if live is None else xml_of(live)

    async def version(self) -> tuple[int, int]:
        """libvirt 11.3, QEMU 10.0."""
        return 11_003_000, 10_000_000

    async def capabilities(self) -> str:
        """A host with an x86_64 emulator and no KVM."""
        root = Element("capabilities")
        SubElement(SubElement(root, "host"), "uuid").text = str(uuid.uuid5(uuid.NAMESPACE_DNS, self.host))
        arch = SubElement(SubElement(root, "guest"), "arch", name="x86_64")
        SubElement(arch, "emulator").text = rewrite.EMULATOR
        SubElement(arch, "domain", type="qemu")
        return xml_of(root)

    async def domains(self) -> tuple[Domain, ...]:
        """All domains by name."""
        return tuple(_fact(guest) for _, guest in sorted(self._guests.items()))

    async def domain(self, name: str) -> Domain:
        """One domain."""
        with self._asked(f"read domain {name}"):
            return _fact(self._guest(name))

    async def domain_state(self, name: str) -> DomainState:
        """One domain."""
        with self._asked(f"read the state of domain {name}"):
            found = _fact(self._guest(name))
            return DomainState(found.uuid, found.state, found.reason, found.persistent)

    async def define_domain(self, xml: str) -> Domain:
        """Define or redefine."""
        with self._asked("define the domain"):
            root = plug.parse(xml, "domain")
            plug.verify(root)
            name = redefine.identify(root, "domain", {name: each.tree for name, each in self._guests.items()})
            rewrite.domain(root)
            guest = self._guests.setdefault(name, Guest(root))
            updated, guest.config = guest.config is not root, root
            self._tell(name, "defined", "updated" if updated else "added")
            return _fact(guest)

    async def start_domain(self, name: str) -> None:
        """Boot."""
        with self._asked(f"start domain {name}"):
            guest = self._guest(name)
            if guest.live is None:
                self._need_networks(guest.tree)
                guest.live = deepcopy(guest.tree)
                self._tell(name, "resumed", "unpaused")
                self._move(name, "running", "booted", "started")

    async def shutdown_domain(self, name: str) -> None:
        """Ask the guest to power off; an obedient one has when this returns."""
        with self._asked(f"shut domain {name} down"):
            if self._guest(name).live is not None and self.obedient:
                self._stop(name, "shutdown")

    async def destroy_domain(self, name: str) -> None:
        """Pull the plug."""
        with self._asked(f"stop domain {name}"):
            if self._guest(name).live is not None:
                self._stop(name, "destroyed")

    async def reboot_domain(self, name: str) -> None:
        """Ask the guest to reboot."""
        with self._asked(f"reboot domain {name}"):
            self._active(name)

    async def suspend_domain(self, name: str) -> None:
        """Pause."""
        with self._asked(f"suspend domain {name}"):
            if self._active(name).state != "paused":
                self._move(name, "paused", "user", "suspended", "paused")

    async def resume_domain(self, name: str) -> None:
        """Unpause."""
        with self._asked(f"resume domain {name}"):
            if self._active(name).state != "running":
                self._move(name, "running", "unpaused", "resumed")

    async def undefine_domain(self, name: str, *, nvram: bool = True) -> None:  # noqa: ARG002 - no firmware here
        """Forget the definition; a running guest goes on until it stops."""
        guest = self._guests.get(name)
        if guest is None or guest.config is None:
            return
        if guest.live is None:
            del self._guests[name]
        guest.config, guest.autostart = None, False
        guest.forget()
        self._tell(name, "undefined", "removed")

    async def set_domain_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""
        with self._asked(f"set autostart of domain {name}"):
            self._guest(name).autostart = enabled

    async def attach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Add a device."""
        with self._asked(f"attach a device to domain {name}"):
            self._change(name, live, lambda tree: plug.insert(tree, plug.parse(xml)))

    async def detach_device(self, name: str, xml: str, *, live: bool) -> None:
        """Remove a device."""
        with self._asked(f"detach a device from domain {name}"):
            self._change(name, live, lambda tree: plug.remove(tree, plug.parse(xml)))

    async def update_device(self, name: str, xml: str, *, live: bool) -> None:
        """Change a device."""
        with self._asked(f"change a device of domain {name}"):
            self._change(name, live, lambda tree: plug.change(tree, plug.parse(xml)))

    async def set_memory(self, name: str, kib: int, *, live: bool) -> None:
        """Balloon within the maximum, or move the definition's maximum."""
        with self._asked(f"set the memory of domain {name}"):
            self._change(name, live, lambda tree: redefine.set_memory(tree, kib, maximum=not live))

    async def set_vcpus(self, name: str, count: int, *, live: bool) -> None:
        """Plug CPUs within the maximum, or move the definition's maximum."""
        with self._asked(f"set the CPUs of domain {name}"):
            self._change(name, live, lambda tree: redefine.set_vcpus(tree, count, maximum=not live))

    async def set_metadata(self, name: str, xml: str, *, key: str, uri: str) -> None:
        """Replace the element of ``uri``."""
        with self._asked(f"record metadata of domain {name}"):
            if not key:
                raise Refusal(translate.INVALID_ARG, "invalid argument: key in virDomainSetMetadata must not be NULL")
            element = plug.parse(unprefixed(xml, uri))
            self._change(name, True, lambda tree: redefine.set_metadata(tree, element, uri))

    async def agent(self, name: str, request: str, *, timeout: float = 5.0) -> str:
        """What ``agents`` answers for the guest; without one, that none is connected."""
        with self._asked(f"ask the guest agent of domain {name}"):
            self._active(name)
            return self._ask(name, request, timeout)

    async def define_network(self, xml: str) -> None:
        """Define or redefine a network."""
        with self._asked("define the network"):
            root = plug.parse(xml, "network")
            name = redefine.identify(root, "network", {name: each.config for name, each in self._nets.items()})
            rewrite.network(root)
            self._nets.setdefault(name, Net(root)).config = root

    async def start_network(self, name: str) -> None:
        """Start; refused where another active network has its subnet."""
        with self._asked(f"start network {name}"):
            net = self._net(name)
            if net.live is None:
                redefine.need_subnet(net.config, [each.live for each in self._nets.values() if each.live is not None])
                net.live = deepcopy(net.config)

    async def stop_network(self, name: str) -> None:
        """Stop."""
        with self._asked(f"stop network {name}"):
            self._net(name).live = None

    async def undefine_network(self, name: str) -> None:
        """Forget the definition."""
        self._nets.pop(name, None)

    async def set_network_autostart(self, name: str, enabled: bool) -> None:
        """Start with the host, or not."""
        with self._asked(f"set autostart of network {name}"):
            self._net(name).autostart = enabled

    async def update_network_host(self, name: str, xml: str, *, add: bool) -> None:
        """Add or delete one DHCP lease or DNS record."""
        with self._asked(f"change hosts of network {name}"):
            net, entry = self._net(name), plug.parse(xml, "host")
            for tree in (net.config, net.live):
                if tree is not None and has_entry(tree, entry) != add:
                    redefine.change_entry(tree, entry, add=add)

    async def ensure_pool(self, name: str, path: str) -> None:
        """A started directory pool of 100 GiB."""
        with self._asked(f"make pool {name}"):
            clash = [each.name for each in self._pools.values() if each.path == path and each.name != name]
            if clash:
                raise Refusal(
                    translate.OPERATION_FAILED, f"operation failed: Storage source conflict with pool: '{clash[0]}'"
                )
            self._pools.setdefault(name, PoolFact(name, True, path, 100 << 30, 100 << 30))

    async def refresh_pool(self, name: str) -> None:
        """Nothing to see; refused for a pool that does not exist."""
        with self._asked(f"refresh pool {name}"):
            if name not in self._pools:
                raise Refusal(translate.NO_STORAGE_POOL, f"Storage pool not found: no pool with matching name '{name}'")

    async def compare_cpu(
        self,
        cpu: str,
        *,
        emulator: str = "",  # noqa: ARG002 - one hypervisor
        arch: str = "",  # noqa: ARG002
        machine: str = "",  # noqa: ARG002
        kind: str = "",  # noqa: ARG002
    ) -> str:
        """Every model, but no feature that is demanded beyond ``cpu_features``."""
        with self._asked("compare the CPU"):
            demanded = [each.get("name", "") for each in plug.parse(cpu, "cpu").iterfind("feature[@policy='require']")]
            lacking = sorted(set(demanded) - self.cpu_features)
            return f"Host CPU does not provide required features: {', '.join(lacking)}" if lacking else ""

    async def disk_load(self, names: Sequence[str]) -> Mapping[str, Mapping[str, DiskLoad]]:
        """What ``loads`` says of those that run."""
        with self._asked("read the disk statistics"):
            return {name: self.loads.get(name, {}) for name in names if self._guest(name).live is not None}

    async def dirty_rate(self, name: str, seconds: int = 1) -> int:  # noqa: ARG002 - no guest runs
        """What ``dirty_rates`` says of it."""
        with self._asked(f"measure the dirty rate of domain {name}"):
            self._active(name)
            return self.dirty_rates.get(name, 0)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[DomainEvent]]:
        """Lifecycle events from now on."""
        queue: asyncio.Queue[DomainEvent] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            yield _endless(queue)
        finally:
            self._listeners.remove(queue)

    async def close(self) -> None:
        """Nothing to end."""

    def _net(self, name: str) -> Net:
        if name not in self._nets:
            raise Refusal(translate.NO_NETWORK, f"Network not found: no network with matching name '{name}'")
        return self._nets[name]

    def _need_networks(self, domain: Element) -> None:
        for source in domain.iterfind("devices/interface[@type='network']/source"):
            name = source.get("network", "")
            if self._net(name).live is None:
                text = f"Requested operation is not valid: network '{name}' is not active"
                raise Refusal(translate.OPERATION_INVALID, text)

    def _change(self, name: str, live: bool, edit: Callable[[Element], None]) -> None:
        """Both layers or none."""
        guest = self._guest(name)
        config, running = deepcopy(guest.config), deepcopy(guest.live)
        for tree in (config, running if live else None):
            if tree is not None:
                edit(tree)
        guest.config, guest.live = config, running

    def _stop(self, name: str, reason: str) -> None:
        guest = self._guests[name]
        guest.live, guest.backup, guest.frozen, guest.jobs, guest.leaving = None, "", 0, {}, None
        self._move(name, "shutoff", reason, "stopped", reason)
        if self._guests[name].config is None:
            del self._guests[name]

    def _move(self, name: str, state: str, reason: str, kind: str, detail: str = "") -> None:
        guest = self._guests[name]
        guest.state, guest.reason = state, reason
        self._tell(name, kind, detail or reason)

    def _tell(self, name: str, kind: str, detail: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(DomainEvent(name, kind, detail, time.time()))


class FakeHypervisors:
    """Implements ``ports.Hypervisors``: a fake per host, kept by name in ``hosts``."""

    def __init__(self) -> None:
        self.hosts: dict[str, FakeHypervisor] = {}

    async def get(self, host: Host) -> Hypervisor:
        """The fake of a host, the same each time."""
        found = self.hosts.setdefault(host.name, FakeHypervisor(host.name))
        found.peers = self.hosts
        return found


async def _endless(queue: asyncio.Queue[DomainEvent]) -> AsyncIterator[DomainEvent]:
    while True:
        yield await queue.get()


def _fact(guest: Guest) -> Domain:
    tree = guest.tree
    return Domain(
        name=_text(tree, "name"),
        uuid=_text(tree, "uuid"),
        state=guest.state,
        xml=xml_of(tree),
        persistent=guest.config is not None,
        autostart=guest.autostart,
        reason=guest.reason,
        saved=guest.saved,
    )


def _text(tree: Element, path: str) -> str:
    return tree.findtext(path, "").strip()

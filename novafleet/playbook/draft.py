"""An environment before its VMs have hosts, and the step that gives them some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from novafleet.errors import ConfigError
from novafleet.model import address
from novafleet.model.environment import Environment, Network, Stack, Vm
from novafleet.model.fleet import Fleet
from novafleet.playbook import identity
from novafleet.playbook.addresses import check_addresses, check_overlaps, leases, with_macs
from novafleet.playbook.bundle import Bundle, read_bundle
from novafleet.playbook.check import check_references
from novafleet.playbook.dependency import Graph, dependencies
from novafleet.playbook.digest import environment_digest
from novafleet.playbook.include import read_document
from novafleet.playbook.moves import check_moves
from novafleet.playbook.placement import Hall, Seat, seat_all
from novafleet.playbook.policy import check_policies, over
from novafleet.playbook.read import read_sheet
from novafleet.playbook.report import refuse
from novafleet.playbook.spec import Place, Sheet, VmSpec
from novafleet.playbook.stack import build_stack
from novafleet.source.schema import Findings


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked environment file whose ``place``d VMs have no host yet."""

    sheet: Sheet
    fleet: Fleet
    graph: Graph
    bundles: Mapping[str, Bundle]
    texts: Mapping[str, str]

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.sheet.name

    def hosts(self) -> tuple[str, ...]:
        """Every host it may touch, in inventory order: those named, and all that ``place`` may choose."""
        used = {stack.host for stack in self.sheet.stacks.values()}
        for spec in self.sheet.vms.values():
            used |= {spec.vm.host} if spec.place is None else set(self._candidates(spec))
        for network in self.sheet.networks.values():
            used |= set(self._network_hosts(network.network))
        return tuple(host for host in self.fleet.hosts if host in used)

    def domains(self) -> frozenset[str]:
        """What its VMs are called in libvirt."""
        return frozenset(identity.domain_name(self.name, name) for name in self.sheet.vms)

    def place(
        self,
        current: Mapping[str, str],
        available: Mapping[str, int],
        moved: Mapping[str, str] | None = None,
        closed: frozenset[str] = frozenset(),
    ) -> Environment:
        """The environment with a host for every VM.

        ``current``: host by domain name, of what exists: it stays, unless the file names another host. ``moved``: the
        same of what a migration took there: it stays, whatever the file names. ``available``:
        bytes of memory by host, of the hosts that could be observed; empty: nothing is known and everything fits.
        ``closed``: hosts that ``place`` does not choose.
        Raises ConfigError or ConfigErrors: NF-ENV-013, -030, -031, -04x.
        """
        findings = Findings()
        hosts = self._seat(current, moved or {}, Hall(dict(available), closed=closed), findings)
        refuse(findings.errors, self.texts)
        vms = {name: self._vm(spec, hosts[name]) for name, spec in self.sheet.vms.items()}
        networks = {name: self._network(spec.network, vms) for name, spec in self.sheet.networks.items()}
        stacks = self._stacks(vms, networks, findings)
        made = Environment(
            self.name,
            self.sheet.source,
            self.sheet.images,
            networks,
            vms,
            stacks,
            self.sheet.backup,
            self.sheet.policies,
        )
        findings.errors.extend((*_check_reach(made), *check_overlaps(made)))
        refuse(findings.errors, {**self.texts, **self._bundle_texts()})
        return replace(made, digest=environment_digest(made))

    def _seat(
        self, current: Mapping[str, str], moved: Mapping[str, str], hall: Hall, findings: Findings
    ) -> Mapping[str, str]:
        waiting: list[Seat] = []
        for name, spec in self.sheet.vms.items():
            domain = identity.domain_name(self.name, name)
            there = current.get(domain, "")
            host = moved.get(domain) or spec.vm.host or there
            if host:
                hall.take(name, self.sheet.bases[name], host, 0 if host == there else spec.vm.memory)
            elif spec.place is not None:
                waiting.append(self._ask(name, spec, spec.place))
        hosts, errors = seat_all(waiting, hall)
        findings.errors.extend(errors)
        return hosts

    def _ask(self, name: str, spec: VmSpec, place: Place) -> Seat:
        return Seat(
            name=name,
            base=self.sheet.bases[name],
            memory=spec.vm.memory,
            hosts=self._candidates(spec),
            spread=place.spread == "host",
            prefer=place.prefer,
            apart=frozenset(other for other in self.sheet.vms if self._apart(name, other)),
            source=place.source if place.origins else spec.vm.source,
        )

    def apart(self) -> tuple[tuple[str, str], ...]:
        """Pairs of VMs of which one's ``place.anti_affinity`` names the other."""
        names = list(self.sheet.vms)
        return tuple((a, b) for n, a in enumerate(names) for b in names[n + 1 :] if self._apart(a, b))

    def _apart(self, one: str, other: str) -> bool:
        return one != other and (self._avoids(one, other) or self._avoids(other, one))

    def _avoids(self, one: str, other: str) -> bool:
        place = self.sheet.vms[one].place
        return place is not None and bool({other, self.sheet.bases[other]} & set(place.anti_affinity))

    def _candidates(self, spec: VmSpec) -> tuple[str, ...]:
        """Hosts of the group that all of the VM's networks are on."""
        assert spec.place is not None
        networks = [self.sheet.networks[nic.network].network for nic in spec.vm.nics.values()]
        bound = [set(self._network_hosts(network)) for network in networks if network.hosts]
        bound.append(set(self.fleet.groups[spec.place.group].hosts))
        return tuple(host for host in self.fleet.hosts if all(host in hosts for hosts in bound))

    def _network_hosts(self, network: Network) -> tuple[str, ...]:
        """The hosts a network names, groups resolved; empty when it names none."""
        named: set[str] = set()
        for name in network.hosts:
            named |= {name} if name in self.fleet.hosts else set(self.fleet.groups[name].hosts)
        return tuple(host for host in self.fleet.hosts if host in named)

    def _vm(self, spec: VmSpec, host: str) -> Vm:
        vm, environment = spec.vm, self.name
        disks = {
            name: replace(disk, name=name, path=identity.volume_file(environment, vm.name, name, disk.format))
            for name, disk in vm.disks.items()
        }
        seed = vm.cloud_init and replace(vm.cloud_init, path=identity.seed_file(environment, vm.name))
        return replace(
            vm,
            base=self.sheet.bases[vm.name],
            domain=identity.domain_name(environment, vm.name),
            uuid=identity.domain_uuid(environment, vm.name),
            host=host,
            moved_from=spec.vm.host if spec.vm.host != host else "",
            disks=disks,
            nics=with_macs(environment, vm),
            cloud_init=seed,
            depends_on=self.graph[address.vm(vm.name)],
            backup=over(vm.backup, self.sheet.backup),
        )

    def _network(self, network: Network, vms: Mapping[str, Vm]) -> Network:
        attached = {vm.host for vm in vms.values() if any(nic.network == network.name for nic in vm.nics.values())}
        return replace(
            network,
            libvirt_name=identity.domain_name(self.name, network.name),
            hosts=self._network_hosts(network) or tuple(host for host in self.fleet.hosts if host in attached),
            leases=leases(network, vms),
        )

    def _stacks(
        self, vms: Mapping[str, Vm], networks: Mapping[str, Network], findings: Findings
    ) -> Mapping[str, Stack]:
        stacks: dict[str, Stack] = {}
        for name, spec in self.sheet.stacks.items():
            after = self.graph[address.stack(name)]
            built = findings.attempt(
                lambda s=spec, a=after: build_stack(s, self.bundles[s.name], self.sheet, vms, networks, a)  # type: ignore[misc]
            )
            stacks |= {stack.name: stack for stack in built}
        return stacks

    def _bundle_texts(self) -> Mapping[str, str]:
        return {
            str(bundle.root / file.written): file.content.decode("utf-8", "replace")
            for bundle in self.bundles.values()
            for file in bundle.files
        }


def _check_reach(environment: Environment) -> Iterator[ConfigError]:
    """NF-ENV-031 for a VM on a host that one of its networks is not on."""
    for vm in environment.vms.values():
        for nic in vm.nics.values():
            network = environment.networks[nic.network]
            if vm.host not in network.hosts and not vm.moved_from:
                yield ConfigError(
                    f"{vm.name} is on {vm.host}, where network {network.name} is not",
                    code="NF-ENV-031",
                    where=vm.origins.get(f"nics.{nic.name}.network", nic.source),
                    cause=f"network {network.name} names its hosts: {', '.join(network.hosts)}",
                    hints=(f"add {vm.host} to networks.{network.name}.hosts",),
                )


def load_draft(
    path: Path, *, fleet: Fleet, overrides: Mapping[str, str], var_files: Sequence[Path], env: Mapping[str, str]
) -> Draft:
    """Read and check an environment file with what it includes; no host is asked.

    ``overrides`` are ``-e`` (only of declared variables), ``env`` is what ``${env:NAME}`` sees. Raises ConfigError, or
    ConfigErrors with everything that is wrong (NF-CFG-0xx, NF-ENV-0xx).
    """
    document = read_document(path)
    findings = Findings()
    sheet = read_sheet(document, path, overrides=overrides, var_files=var_files, env=env, findings=findings)
    if sheet is None:
        refuse(findings.errors, document.texts)
        raise AssertionError("no sheet and no error")
    findings.errors.extend(check_references(sheet, fleet))
    findings.errors.extend(check_addresses(sheet))
    findings.errors.extend(check_policies(sheet))
    findings.errors.extend(check_moves(sheet))
    graph = dependencies(sheet, findings)
    bundles: dict[str, Bundle] = {}
    for name, spec in sheet.stacks.items():
        for bundle in findings.attempt(lambda s=spec: read_bundle(s, path)):  # type: ignore[misc]
            bundles[name] = bundle
    refuse(findings.errors, document.texts)
    return Draft(sheet, fleet, graph, bundles, document.texts)


def load_environment(
    path: Path, *, fleet: Fleet, overrides: Mapping[str, str], var_files: Sequence[Path], env: Mapping[str, str]
) -> Environment:
    """The environment as it would be on a fleet nobody has looked at. Raises as ``load_draft`` and ``place`` do."""
    return load_draft(path, fleet=fleet, overrides=overrides, var_files=var_files, env=env).place({}, {})

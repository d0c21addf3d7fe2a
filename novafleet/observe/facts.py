"""Parsed collector documents to one ``HostFacts``. Nothing here trusts the host: odd data is dropped, not believed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from novafleet.errors import HypervisorError, NovaFleetError, UnreachableError
from novafleet.model.facts import Domain, Engine, FileFact, HostFacts, NetworkFact, PoolFact, StackFact
from novafleet.observe.containers import container_facts

Documents = Mapping[str, Mapping[str, Any]]


def host_facts(host: str, taken_at: float, documents: Documents) -> HostFacts:
    """Facts of one host from its collectors' documents. Raises HypervisorError when libvirt did not answer."""
    system = documents.get("system", {})
    libvirt = documents.get("libvirt", {})
    storage = documents.get("storage", {})
    containers = documents.get("containers", {})
    _require_libvirt(host, libvirt)
    return HostFacts(
        host=host,
        taken_at=taken_at,
        values=_values(system, libvirt),
        cpus=_number(system.get("cpus")),
        memory_total=_number(system.get("memory_total_kib")) * 1024,
        memory_available=_number(system.get("memory_available_kib")) * 1024,
        domains={domain.name: domain for domain in map(_domain, libvirt.get("domains", ())) if domain.name},
        networks={network.name: network for network in map(_network, libvirt.get("networks", ())) if network.name},
        pools={pool["name"]: PoolFact(**pool) for pool in libvirt.get("pools", ())},
        files={path: FileFact(path=path, **fields) for path, fields in storage.get("files", {}).items()},
        digests=dict(storage.get("digests", {})),
        stacks=_stacks(containers),
        engines=_engines(containers),
        bridges=tuple(system.get("bridge", ())),
        subnets=_subnets(system.get("subnet", ())),
    )


def unobserved(host: str, taken_at: float, error: NovaFleetError) -> HostFacts:
    """The facts of a host that could not be asked: only why."""
    why = str(error).removeprefix(f"{host}: ")
    return HostFacts(host=host, taken_at=taken_at, error=why, error_code=error.code, error_hints=error.hints)


def error_of(facts: HostFacts) -> NovaFleetError:
    """Why a host could not be observed, as the error it was: the inverse of ``unobserved``."""
    family = UnreachableError if facts.error_code.startswith("NF-SSH") else HypervisorError
    return family(facts.error, code=facts.error_code, where=facts.host, hints=facts.error_hints)


def _require_libvirt(host: str, libvirt: Mapping[str, Any]) -> None:
    error = str(libvirt.get("error", ""))
    if error.startswith("no-virsh"):
        raise HypervisorError(
            "virsh is not installed",
            code="NF-LV-100",
            where=host,
            hints=("install libvirt-clients (Debian, Ubuntu) or libvirt-client (Fedora, RHEL)",),
        )
    if error:
        kind, _, cause = error.partition("\n")
        what = "libvirt's answer is not whole" if kind == "incomplete" else "libvirt does not answer"
        hint = f"novafleet host doctor -l {host}"
        raise HypervisorError(what, code="NF-LV-101", where=host, cause=cause.strip(), hints=(hint,))


def _values(system: Mapping[str, Any], libvirt: Mapping[str, Any]) -> Mapping[str, str]:
    values = {key: value for key, value in system.items() if isinstance(value, str)}
    return values | {f"{key}_version": str(libvirt[key]) for key in ("libvirt", "qemu") if libvirt.get(key)}


def _subnets(lines: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for address, _, interface in (line.partition(" ") for line in lines):
        found[interface] = (*found.get(interface, ()), address)
    return found


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _name(xml: str) -> str:
    try:
        return ElementTree.fromstring(xml).findtext("name", "")
    except ElementTree.ParseError:
        return ""


def _domain(document: Mapping[str, Any]) -> Domain:
    return Domain(name=_name(document["xml"]), **document)


def _network(document: Mapping[str, Any]) -> NetworkFact:
    return NetworkFact(name=_name(document["xml"]), **document)


def _engines(containers: Mapping[str, Any]) -> Mapping[str, Engine]:
    compose = containers.get("compose", {})
    return {
        name: Engine(name, version, tuple(compose.get(name, ())))
        for name, version in containers.get("engines", {}).items()
    }


def _stacks(containers: Mapping[str, Any]) -> Mapping[str, StackFact]:
    seen = container_facts(containers.get("inspect", {}))
    stacks = {}
    for directory, record in containers.get("stacks", {}).items():
        project = directory.rpartition("/")[2]
        fields = {key: str(record.get(key, "")) for key in ("environment", "digest", "runtime", "kind")}
        stacks[project] = StackFact(project=project, containers=seen.get(project, ()), **fields)
    return stacks

"""``policies`` of an environment file and of an inventory: read, checked, and which one a VM comes under."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from novafleet.errors import ConfigError
from novafleet.model.fleet import Fleet, Host
from novafleet.model.policies import Policies, VmClass
from novafleet.playbook.policy import node_of
from novafleet.playbook.schema.policies import POLICIES
from novafleet.playbook.spec import Sheet
from novafleet.source.schema import Findings
from novafleet.source.suggest import did_you_mean

VARIABLE = "novafleet_policies"
"""The inventory's variable: policies of the same keys."""
GLOB = frozenset("*?[")


def policies_of(host: Host) -> Policies | None:
    """What the inventory says of moves from and to a host; None when nothing. Raises ConfigError, ConfigErrors."""
    if VARIABLE not in host.vars:
        return None
    where = host.origins[f"vars.{VARIABLE}"][-1]
    return POLICIES.decode(node_of(host.vars[VARIABLE], where), VARIABLE)


def check_inventory_policies(fleet: Fleet) -> None:
    """Raise what is wrong with the inventory's, each place once: ConfigError or ConfigErrors."""
    findings = Findings()
    for host in fleet.hosts.values():
        findings.attempt(lambda h=host: policies_of(h))  # type: ignore[misc]
    once = {str(error): error for error in findings.errors}
    findings.errors[:] = once.values()
    findings.check()


def check_moves(sheet: Sheet) -> Iterator[ConfigError]:
    """NF-ENV-001 for VMs that no environment's policy can mean, NF-ENV-022 for rules that contradict each other."""
    policies = sheet.policies
    if policies is None:
        return
    known = {*sheet.declared["vms"], *sheet.bases, *sheet.bases.values()}
    for key, names in _named(policies):
        where = policies.origins[key]
        for name in names:
            if not (any(fnmatchcase(each, name) for each in known) if GLOB & set(name) else name in known):
                hints = did_you_mean(name, known, "VMs")
                yield ConfigError(
                    f"policies.{key}: there is no VM {name!r}", code="NF-ENV-001", where=where, hints=hints
                )
    yield from _contradictions(sheet, policies)


def _named(policies: Policies) -> Iterator[tuple[str, tuple[str, ...]]]:
    for each in policies.classes.values():
        yield "classes", each.vms
    for apart in policies.anti_affinity:
        yield "anti_affinity", apart.vms
    for together in policies.affinity:
        yield "affinity", together


def _contradictions(sheet: Sheet, policies: Policies) -> Iterator[ConfigError]:
    for together in policies.affinity:
        members = set(meant(together, sheet.bases))
        for apart in policies.anti_affinity:
            both = sorted(members & set(meant(apart.vms, sheet.bases)))
            if len(both) > 1:
                what = f"{both[0]} and {both[1]} cannot be together and apart"
                hints = ("remove one of them from affinity or anti_affinity",)
                yield ConfigError(what, code="NF-ENV-022", where=policies.origins["affinity"], hints=hints)


def meant(patterns: Iterable[str], vms: Mapping[str, str]) -> tuple[str, ...]:
    """The VMs (``{name: name in the file}``) that names or globs mean: ``web`` means ``web-1`` and ``web-2``."""
    wanted = tuple(patterns)
    return tuple(
        name for name, base in vms.items() if any(fnmatchcase(name, each) or fnmatchcase(base, each) for each in wanted)
    )


def class_of(policies: Policies, name: str, base: str) -> VmClass | None:
    """The first class a VM is in."""
    return next((each for each in policies.classes.values() if meant(each.vms, {name: base})), None)

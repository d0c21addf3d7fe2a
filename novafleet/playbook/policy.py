"""The backup policy of a VM: from its environment file, or from the inventory, each value with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.model.environment import Vm
from novafleet.model.fleet import Fleet, Host
from novafleet.model.policy import Policy, Window
from novafleet.playbook.schema.policy import OF_VM
from novafleet.playbook.spec import Sheet
from novafleet.source import cron
from novafleet.source.node import Node
from novafleet.source.schema import Findings
from novafleet.source.suggest import did_you_mean

VARIABLE = "novafleet_backup"
"""The inventory's variable, a policy of the same keys."""
_ENOUGH = 1000


def policy_of(host: Host, vm: Vm | None = None) -> Policy | None:
    """The policy of a VM of an environment, or of any other VM on a host; None when nobody wrote one, or when the
    file says ``backup: false``. ``Policy.origins`` says where each value is from. Raises ConfigError, ConfigErrors."""
    found = vm.backup if vm is not None else _of_host(host)
    return found if found is not None and found.enabled else None


def _of_host(host: Host) -> Policy | None:
    if VARIABLE not in host.vars:
        return None
    where = host.origins[f"vars.{VARIABLE}"][-1]
    policy = OF_VM.decode(node_of(host.vars[VARIABLE], where), VARIABLE)
    findings = Findings()
    findings.errors.extend(check_policy(policy))
    findings.check()
    return policy


def node_of(value: Any, where: Location) -> Node:
    """A variable's plain value again as nodes: all of it at the line of its name."""
    if isinstance(value, Mapping):
        names = {str(key): node_of(item, where) for key, item in value.items()}
        return Node(names, where, dict.fromkeys(names, where))
    return Node(tuple(node_of(item, where) for item in value) if isinstance(value, list) else value, where)


def check_inventory(fleet: Fleet) -> None:
    """Raise what is wrong with the inventory's policies, each place once: ConfigError or ConfigErrors."""
    found: dict[str, ConfigError] = {}
    for host in fleet.hosts.values():
        findings = Findings()
        findings.attempt(lambda h=host: _of_host(h))  # type: ignore[misc]
        found |= {str(error): error for error in findings.errors}
    if found:
        raise ConfigErrors(tuple(found.values())) if len(found) > 1 else next(iter(found.values()))


def over(upper: Policy | None, lower: Policy | None) -> Policy | None:
    """A VM's policy over its environment's: what it does not say is the environment's."""
    if upper is None or lower is None:
        return upper or lower
    said = {name: getattr(upper, name) for name in upper.origins}
    if upper.key_file or upper.passphrase:
        said |= {"key_file": upper.key_file, "passphrase": upper.passphrase}
    return replace(lower, **said, source=upper.source, origins={**lower.origins, **upper.origins})


def check_policies(sheet: Sheet) -> Iterator[ConfigError]:
    """NF-ENV-050 and -051 for policies that cannot work, NF-ENV-001 for ``exclude`` of disks nobody has."""
    found: dict[str, ConfigError] = {}
    disks: set[str] = set()
    for spec in sheet.vms.values():
        disks |= spec.vm.disks.keys()
        policy = over(spec.vm.backup, sheet.backup)
        if policy is not None:
            found |= {str(error): error for error in check_policy(policy)}
        own = spec.vm.backup
        if own is not None:
            yield from _check_exclude(own, spec.vm.disks)
    if sheet.backup is not None:
        yield from _check_exclude(sheet.backup, disks)
        found |= {str(error): error for error in check_policy(sheet.backup) if not sheet.vms}
    yield from found.values()


def _check_exclude(policy: Policy, disks: Mapping[str, Any] | set[str]) -> Iterator[ConfigError]:
    for name in policy.exclude:
        if name not in disks:
            hints = did_you_mean(name, disks, "disks")
            where = policy.origins["exclude"]
            yield ConfigError(f"there is no disk {name!r} to leave out", code="NF-ENV-001", where=where, hints=hints)


def check_policy(policy: Policy) -> Iterator[ConfigError]:
    """NF-ENV-050 for one that lacks what it needs, NF-ENV-051 for a schedule outside its window."""
    asks = [name for name in ("schedule", "drill", "guard") if getattr(policy, name)]
    has = {"repository": policy.repository, "key": policy.key_file or policy.passphrase}
    if not policy.enabled or not asks:
        return
    where = policy.origins[asks[0]]
    for name in (name for name, value in has.items() if not value):
        hint = "add repository: s3://BUCKET/PREFIX" if name == "repository" else "add key_file: PATH"
        yield ConfigError(f"the backup policy has no {name}", code="NF-ENV-050", where=where, hints=(hint,))
    if policy.drill and not policy.schedule:
        what = "drills are part of scheduled runs, and there is no schedule"
        yield ConfigError(what, code="NF-ENV-050", where=policy.origins["drill"], hints=("add schedule: daily",))
    if policy.schedule and policy.window and not _meets(expression(policy), policy.window):
        what = f"the schedule never falls into the window {policy.window}"
        hints = ("choose a time in the window", "or schedule: daily, which then means its beginning")
        yield ConfigError(what, code="NF-ENV-051", where=policy.origins["schedule"], hints=hints)


def expression(policy: Policy) -> str:
    """The five cron fields of its schedule: with a window the words mean the window's beginning."""
    if policy.schedule not in cron.ALIASES:
        return policy.schedule
    fields = cron.ALIASES[policy.schedule].split()
    if policy.window is None:
        return " ".join(fields)
    hour, minute = divmod(policy.window.start, 60)
    hours = [str(each) for each in range(24) if policy.window.holds(each * 60 + minute)]
    return " ".join((str(minute), ",".join(hours) if policy.schedule == "@hourly" else str(hour), *fields[2:]))


def _meets(text: str, window: Window) -> bool:
    start = cron.local(0) + timedelta(days=1)
    moments = islice(cron.between(text, start, start + timedelta(days=4 * 366)), _ENOUGH)
    return any(window.holds(moment.hour * 60 + moment.minute) for moment in moments)

"""From policies to jobs: one for all VMs whose policies agree in what concerns a run as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from novafleet.model import address
from novafleet.model.environment import Environment
from novafleet.model.fleet import Fleet
from novafleet.model.policy import Policy
from novafleet.model.schedule import Job, Member
from novafleet.playbook.policy import policy_of

STACKS = "stacks"
TOGETHER = ("repository", "key_file", "passphrase", "schedule", "window", "verify", "drill", "notify")
"""What VMs must have in common to be one job; the rest may differ from VM to VM."""


def jobs_of(environment: Environment, fleet: Fleet) -> tuple[Job, ...]:
    """The jobs an environment file asks for: ``ENV`` for what its own policy says, which is also that of its stacks,
    ``ENV-VM`` for VMs that differ."""
    members: dict[str, list[Member]] = {}
    for name, vm in environment.vms.items():
        policy = policy_of(fleet.hosts[vm.host], vm)
        if policy is not None and policy.schedule:
            key = next((key for key, group in members.items() if _together(group[0].policy, policy)), name)
            members.setdefault(key, []).append(Member(f"{environment.name}/{name}", policy))
    own = environment.backup
    if own is not None and own.enabled and own.schedule:
        key = next((key for key, group in members.items() if _together(group[0].policy, own)), STACKS)
        stacks = [Member(f"{environment.name}/{address.stack(name)}", own) for name in environment.stacks]
        members |= {key: [*members.get(key, ()), *stacks]} if stacks else {}
    return tuple(
        Job(
            environment.name if own is not None and _together(own, group[0].policy) else f"{environment.name}-{first}",
            group[0].policy,
            tuple(group),
        )
        for first, group in members.items()
    )


def jobs_of_inventory(fleet: Fleet) -> tuple[Job, ...]:
    """The jobs of the inventory's own policies: ``hosts-GROUP`` when the hosts of a job are those of a group, else
    ``hosts-HOST`` for each."""
    policies = {name: policy_of(host) for name, host in fleet.hosts.items()}
    scheduled = {name: policy for name, policy in policies.items() if policy is not None and policy.schedule}
    jobs: list[Job] = []
    while scheduled:
        policy = next(iter(scheduled.values()))
        alike = {name: each for name, each in scheduled.items() if _together(each, policy)}
        jobs.extend(_of_hosts(alike, fleet))
        scheduled = {name: each for name, each in scheduled.items() if name not in alike}
    return tuple(jobs)


def _of_hosts(alike: Mapping[str, Policy], fleet: Fleet) -> Iterable[Job]:
    group = next((group.name for group in fleet.groups.values() if set(group.hosts) == alike.keys()), "")
    members = {name: Member(f"{name}/*", policy) for name, policy in alike.items()}
    if group:
        yield Job(f"hosts-{group}", next(iter(alike.values())), tuple(members.values()))
        return
    for name, member in members.items():
        yield Job(f"hosts-{name}", member.policy, (member,))


def _together(one: Policy, other: Policy) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in TOGETHER)

"""What a scheduled run consists of: back up, forget, verify, drill. Each is another verb's use-case, by policy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from novafleet.app.backedup import VmBackup
from novafleet.app.backup import BackupRequest, run_backup
from novafleet.app.context import Emit
from novafleet.app.drill import run_drill
from novafleet.app.drillplan import DrillRequest
from novafleet.app.repo import check
from novafleet.app.repository import key_source, open_repository
from novafleet.app.retention import Rule, by_policy, prune
from novafleet.app.vmselect import Chosen, Selection, look
from novafleet.app.wiring import open_world
from novafleet.errors import BackupError, ConfigError, NovaFleetError, RepositoryError, ScheduleError
from novafleet.model.policy import BackupLimits, HookRules, Keep, Policy
from novafleet.model.schedule import Duty, Job, Member, Schedule, VmOutcome
from novafleet.ports import Clock
from novafleet.render.schedule import amount, duration
from novafleet.repository import KeySource

NO_SUCH_VM = "NF-VM-006"
NO_COPY = ("NF-BAK-051", "NF-BAK-062")
"""Of stacks that a drill refuses, whatever it is told."""
Alike = tuple[str, tuple[str, ...], HookRules, BackupLimits]
"""What VMs that are backed up together have in common."""


@dataclass(frozen=True, slots=True)
class ByPolicy:
    """Implements ``scheduledrun.Duties``. ``watch`` shows a run of so many steps."""

    watch: Callable[[int], AbstractContextManager[Emit]]
    clock: Clock

    async def back_up(self, schedule: Schedule, job: Job, claimed: Collection[str]) -> tuple[VmOutcome, ...]:
        """Look which VMs are there now, and back up those whose policies ask alike together."""
        selection = await _look(schedule, job)
        found = dict(_assigned(job, selection.chosen, claimed))
        outcomes = list(_lacking(job, selection, {member.pattern for member in found.values()}))
        groups: dict[Alike, list[str]] = {}
        for label, member in found.items():
            policy = member.policy
            groups.setdefault((policy.consistency, policy.exclude, policy.hooks, policy.limits), []).append(label)
        for (consistency, exclude, hooks, limits), labels in groups.items():
            request = BackupRequest(
                tuple(Path(path) for path in schedule.inventory),
                tuple(labels),
                job.policy.repository,
                key_of(job.policy),
                limits=limits,
                hooks=hooks,
                consistency=consistency,
                exclude=exclude,
                tags=(f"schedule:{job.name}",),
            )
            outcomes += [outcome(vm) for vm in (await run_backup(request, self.watch)).vms]
        return tuple(sorted(outcomes, key=lambda each: each.vm))

    async def forget(self, job: Job, claimed: Collection[str]) -> Duty:
        """Forget by each VM's ``keep``."""
        async with open_repository(job.policy.repository, key_of(job.policy)) as repository:
            done = await by_policy(repository, rules(job, claimed), self.clock)
        return Duty("forget", f"{len(done.forgotten)} of {len(done.verdicts)} snapshots")

    async def prune(self, job: Job) -> Duty:
        """Collect what no snapshot needs any more."""
        done = await prune(job.policy.repository, key_of(job.policy), (), self.clock)
        waiting = {each: None for one in done.rounds for each in one.waiting}
        return Duty("prune", ", ".join((f"{amount(done.deleted_bytes)} freed", *waiting)))

    async def verify(self, job: Job) -> Duty:
        """Read and check the job's share of the repository. Raises RepositoryError NF-REPO-010 for damage."""
        policy = job.policy
        done = await check(policy.repository, key_of(policy), policy.verify, lambda *_: None)
        if not done.clean:
            first = done.damage[0] if done.damage else None
            raise RepositoryError(
                f"the repository is damaged: {len(done.damage)} findings",
                code="NF-REPO-010",
                where=policy.repository,
                cause=f"{first.object}: {first.what}" if first else "",
                hints=(f"novafleet repo check {policy.repository} --read-data", "novafleet repo repair"),
            )
        read = f"{amount(done.bytes_read)} read"
        return Duty("verify", f"{policy.verify * 100:.4g}% of {done.packs} packs, {read}: clean")

    async def drill(self, schedule: Schedule, job: Job, vms: Collection[VmOutcome]) -> Duty:
        """Boot what this run backed up, one VM or stack after the other; a stack of which there can be no copy is told
        of. Raises BackupError when one does not come up."""
        ended = [await self._drilled(schedule, job, vm) for vm in vms if vm.snapshot]
        left = [vm for vm, _, error in ended if error and error["code"] in NO_COPY]
        drilled = [each for each in ended if each[0] not in left]
        if left and not drilled:
            return Duty("drill", f"there can be no copy of {', '.join(left)}")
        failed = [(vm, error) for vm, _, error in drilled if error]
        if failed or not drilled:
            vm, error = failed[0] if failed else (job.name, {"code": BackupError.code, "what": "there is no backup"})
            what = f"{len(failed)} of {len(drilled)} VMs and stacks did not come up"
            cause = f"{error['code']}: {error['what']}"
            hints = (f"novafleet backup drill {vm}",)
            raise BackupError(what, code=str(error["code"]), where=vm, cause=cause, hints=hints)
        slowest = max(seconds for _, seconds, _ in drilled)
        more = f"; there can be no copy of {', '.join(left)}" if left else ""
        return Duty("drill", f"{len(drilled)} came up, the slowest in {duration(slowest)}{more}")

    async def _drilled(
        self, schedule: Schedule, job: Job, vm: VmOutcome
    ) -> tuple[str, float, Mapping[str, object] | None]:
        """The VM, how long it took, and why it did not come up, if so."""
        file = Path(schedule.file) if schedule.file else None
        inventory = tuple(Path(path) for path in schedule.inventory)
        request = DrillRequest(inventory, job.policy.repository, key_of(job.policy), vm.vm, file=file)
        try:
            done = await run_drill(request, self.watch)
        except NovaFleetError as error:
            return vm.vm, 0.0, error.finding()
        lacking = {"code": BackupError.code, "what": "it was stopped"}
        return vm.vm, done.rto, None if done.ok else done.error or lacking


def rules(job: Job, claimed: Collection[str]) -> tuple[Rule, ...]:
    """What is kept of whom. With a host's VMs go no snapshots of those that an environment's schedule decides about."""
    others = sorted(set(claimed) - {member.pattern for member in job.members})
    first = (Rule(Keep(), tuple(others)),) if others else ()  # without names it would hold for all
    return (*first, *(Rule(member.policy.keep, (member.pattern,)) for member in job.members))


async def _look(schedule: Schedule, job: Job) -> Selection:
    patterns = [f"{schedule.environment}/*"] if schedule.environment else [member.pattern for member in job.members]
    async with open_world([Path(path) for path in schedule.inventory]) as world:
        try:
            return await look(world, patterns, stacks=True)
        except ConfigError as error:
            if error.code != NO_SUCH_VM:
                raise
            return Selection((), {})


def _assigned(job: Job, chosen: Iterable[Chosen], claimed: Collection[str]) -> Iterator[tuple[str, Member]]:
    """The member each VM is meant by. With their host go only VMs that no environment's schedule decides about."""
    members = {member.pattern: member for member in job.members}
    for each in chosen:
        name = f"{each.environment}/{each.vm}"
        if name in members:
            yield each.label, members[name]
        elif f"{each.host.name}/*" in members and name not in claimed:
            yield each.label, members[f"{each.host.name}/*"]


def _lacking(job: Job, selection: Selection, found: Collection[str]) -> Iterator[VmOutcome]:
    """What was meant and is not there: perhaps on a host that could not be asked."""
    hosts: Mapping[str, NovaFleetError] = selection.unseen
    for member in job.members:
        host, _, name = member.pattern.partition("/")
        if name == "*" and host in hosts:
            yield VmOutcome(member.pattern, error=hosts[host].finding())
        elif name != "*" and member.pattern not in found:
            error = next(iter(hosts.values()), None) or _absent(member)
            yield VmOutcome(member.pattern, error=error.finding())


def _absent(member: Member) -> ConfigError:
    hints = ("novafleet status   # was it brought up?", "backup: false in the file, if it need not be there")
    return ConfigError("the VM does not exist", code=NO_SUCH_VM, where=member.pattern, hints=hints)


def outcome(vm: VmBackup) -> VmOutcome:
    """One VM of a backup run."""
    error = vm.error
    if error is None and vm.state != "done":
        error = ScheduleError(f"the backup was {vm.state}", code="NF-SCHED-005", where=vm.host).finding()
    return VmOutcome(
        f"{vm.host}/{vm.domain or '*'}",
        vm.snapshot,
        sum(disk.bytes_read for disk in vm.disks),
        sum(disk.bytes_stored for disk in vm.disks),
        {disk.name: disk.mode for disk in vm.disks},
        error,
        vm.kind,
    )


def key_of(policy: Policy) -> KeySource:
    """What opens its repository."""
    return key_source(Path(policy.key_file) if policy.key_file else None, policy.passphrase)

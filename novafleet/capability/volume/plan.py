"""Volumes of an environment against the files in a fleet's pools: what to make, grow, make anew, delete. Pure.

Data goes only with consent: ``allow_data_loss`` for ``up``, ``volumes`` for ``down``, and for a protected volume
``destroy_protected`` besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from novafleet.capability.volume.check import check, disks
from novafleet.errors import GuardError
from novafleet.model import address
from novafleet.model.environment import Disk, Environment, Vm
from novafleet.model.facts import FileFact, FleetFacts, HostFacts
from novafleet.model.plan import Change, Impact, PlanOptions, Reason, ResourceChange, Step, StepClass
from novafleet.plan.storage import PART, owner_of_volume, protected, rebuild, size_text, volume_path, volume_size

KIND = "volume"
TIMEOUT = 120.0
COPY_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class _File:
    """A volume of this environment as it lies on a host; ``parts`` says that only an unfinished copy is there."""

    vm: str
    disk: str
    host: HostFacts
    path: str
    fact: FileFact | None

    @property
    def parts(self) -> bool:
        return self.fact is None


def plan_up(environment: Environment, facts: FleetFacts, options: PlanOptions) -> tuple[ResourceChange, ...]:
    """Changes that make every volume what the file says. Volumes the file no longer has are kept unless
    ``allow_data_loss``. Raises ConfigError NF-VOL-*, SpaceError NF-VOL-004 and GuardError NF-GUARD-004."""
    changes: list[ResourceChange] = []
    for host in _observed(facts):
        check(environment, host)
        changes += (_apply(environment, host, vm, disk, options) for vm, disk in disks(environment, host))
        wanted = {volume_path(host, disk) for _, disk in disks(environment, host)}
        strays = (each for each in _files(environment, host) if each.path not in wanted)
        strays = (each for each in strays if not _between(environment, each))
        changes += (_remove(environment, each, options, consent=options.allow_data_loss) for each in strays)
    return tuple(changes)


def plan_down(environment: Environment, facts: FleetFacts, options: PlanOptions) -> tuple[ResourceChange, ...]:
    """Every volume of this environment: deleted after its VM is undefined with ``volumes``, else named as kept."""
    return tuple(
        _remove(environment, each, options, consent=options.volumes)
        for host in _observed(facts)
        for each in _files(environment, host)
    )


def _between(environment: Environment, file: _File) -> bool:
    """Is it of a VM whose migration has not ended?"""
    vm = environment.vms.get(file.vm)
    return vm is not None and bool(vm.between)


def _observed(facts: FleetFacts) -> Iterator[HostFacts]:
    return (host for host in facts.hosts.values() if not host.error)


def _files(environment: Environment, host: HostFacts) -> tuple[_File, ...]:
    found: dict[str, _File] = {}
    for path in sorted(host.files):
        owner = owner_of_volume(environment, path)
        if owner is not None:
            whole = path.partition(PART)[0]
            found.setdefault(whole, _File(owner[0], owner[1], host, whole, host.files.get(whole)))
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be done with one volume, and why; ``lost`` bytes of data."""

    change: Change
    reasons: tuple[Reason, ...] = ()
    verbs: tuple[str, ...] = ()
    lost: int = 0


def _apply(environment: Environment, host: HostFacts, vm: Vm, disk: Disk, options: PlanOptions) -> ResourceChange:
    path = volume_path(host, disk)
    verdict = _verdict(environment, host, disk, host.files.get(path))
    if verdict.change is Change.REPLACE:
        _refuse_protected(host, vm, disk, path, options)
    target = address.volume(vm.name, disk.name)
    return ResourceChange(
        target,
        KIND,
        f"{vm.name}.{disk.name}",
        host.host,
        verdict.change,
        Impact.DATA_LOSS if verdict.change is Change.REPLACE else Impact.LIVE,
        verdict.reasons,
        verdict.lost,
        tuple(_step(target, host, verb, vm, disk, path) for verb in verdict.verbs),
    )


def _verdict(environment: Environment, host: HostFacts, disk: Disk, fact: FileFact | None) -> _Verdict:
    if fact is None:
        return _Verdict(Change.CREATE, (Reason("it does not exist", source=disk.source),), ("create",))
    if anew := rebuild(environment, host, disk):
        return _Verdict(Change.REPLACE, anew, ("delete", "create"), fact.allocated)
    changes = dict(_live_changes(host, disk, fact))
    return _Verdict(Change.UPDATE if changes else Change.NONE, tuple(changes.values()), tuple(changes))


def _live_changes(host: HostFacts, disk: Disk, fact: FileFact) -> Iterator[tuple[str, Reason]]:
    if disk.size > volume_size(fact) > 0:
        before, after = size_text(volume_size(fact)), size_text(disk.size)
        yield "resize", Reason(f"size: {before} -> {after}", "size", before, after, disk.source)
    marked = protected(host, fact.path)
    if marked != disk.protect:
        before, after = str(marked).lower(), str(disk.protect).lower()
        yield "protect", Reason(f"protect: {before} -> {after}", "protect", before, after, disk.source)


def _refuse_protected(host: HostFacts, vm: Vm, disk: Disk, path: str, options: PlanOptions) -> None:
    """Consent to losing data is not consent to losing protected data."""
    held = disk.protect or protected(host, path)
    if held and options.allow_data_loss and not options.destroy_protected:
        raise GuardError(
            f"disk {disk.name} of {vm.name} is protected and would be made anew",
            code="NF-GUARD-004",
            where=disk.source,
            cause=f"{path} on {host.host}",
            hints=("put the old image, size or format back, or add --destroy-protected",),
        )


def _step(target: str, host: HostFacts, verb: str, vm: Vm, disk: Disk, path: str) -> Step:
    own = address.vm(vm.name)
    after = [address.step(own, "stop")]
    arguments: dict[str, Any] = {"vm": vm.name, "disk": disk.name}
    if verb == "delete":
        arguments = {"path": path}
    if verb == "create":
        after.append(address.step(target, "delete"))
        if disk.image:
            after.append(address.step(address.image(disk.image, host.host), "fetch"))
    return Step(
        id=address.step(target, verb),
        action=f"volume.{verb}",
        resource=target,
        host=host.host,
        step_class=StepClass.CONVERGENT,
        args=arguments,
        after=tuple(after),
        timeout=COPY_TIMEOUT if verb == "create" else TIMEOUT,
        label=f"volume {verb}",
    )


def _remove(environment: Environment, each: _File, options: PlanOptions, *, consent: bool) -> ResourceChange:
    target, name = _address(environment, each), f"{each.vm}.{each.disk}"
    kept = "" if each.parts else _kept(environment, each, options, consent=consent)
    if kept:
        return ResourceChange(target, KIND, name, each.host.host, Change.NONE, reasons=(Reason(kept),))
    own = address.vm(each.vm)
    step = Step(
        id=address.step(target, "delete"),
        action="volume.delete",
        resource=target,
        host=each.host.host,
        step_class=StepClass.CONVERGENT,
        args={"path": each.path},
        after=tuple(address.step(vm, verb) for vm in (own, f"{own}@{each.host.host}") for verb in _LETS_GO),
        timeout=TIMEOUT,
        label="volume delete",
    )
    lost = each.fact.allocated if each.fact is not None else 0
    impact = Impact.DATA_LOSS if each.fact is not None else Impact.LIVE
    why = () if each.fact is not None else (Reason("an unfinished copy"),)
    return ResourceChange(target, KIND, name, each.host.host, Change.DELETE, impact, why, lost, (step,))


_LETS_GO = ("stop", "change", "undefine")
"""A VM's steps after which no guest has the file open."""


def _kept(environment: Environment, each: _File, options: PlanOptions, *, consent: bool) -> str:
    """Why a volume stays; "" when it may go."""
    if not consent:
        return "kept: its VM or disk is no longer in the file" if _stray(environment, each) else "kept"
    if (_protect(environment, each) or protected(each.host, each.path)) and not options.destroy_protected:
        return "kept: it is protected (--destroy-protected deletes it)"
    return ""


def _desired(environment: Environment, each: _File) -> tuple[Vm, Disk] | None:
    vm = environment.vms.get(each.vm)
    disk = vm.disks.get(each.disk) if vm is not None else None
    return (vm, disk) if vm is not None and disk is not None else None


def _stray(environment: Environment, each: _File) -> bool:
    return _desired(environment, each) is None


def _protect(environment: Environment, each: _File) -> bool:
    found = _desired(environment, each)
    return found is not None and found[1].protect


def _address(environment: Environment, each: _File) -> str:
    """``volume.db.root``, or with ``@HOST`` for a file the file's disk of that name is not (another host or pool)."""
    plain = address.volume(each.vm, each.disk)
    found = _desired(environment, each)
    if found is None or (found[0].host == each.host.host and volume_path(each.host, found[1]) == each.path):
        return plain
    return f"{plain}@{each.host.host}"

"""Which images which hosts need, against those they have. Pure.

Images are a cache that the environments on a host share: ``up`` adds to it, ``down`` leaves it, ``down --volumes``
removes what this environment used and nothing backs on any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from novafleet.errors import ConfigError, Location
from novafleet.model import address
from novafleet.model.environment import Artifact, Environment, Image, Vm
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.plan import Change, PlanOptions, Reason, ResourceChange, Step, StepClass
from novafleet.plan import record, storage

KIND = "image"
TIMEOUT = 3600.0
RETRIES = 2
SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one host needs of one image; ``args`` tell the action which."""

    address: str
    name: str
    host: str
    artifacts: tuple[Artifact, ...]
    args: Mapping[str, Any]
    source: Location


def plan_up(
    environment: Environment,
    facts: FleetFacts,
    options: PlanOptions,  # noqa: ARG001 - every capability is planned by the same call
) -> tuple[ResourceChange, ...]:
    """A fetch of each image a host needs and has not got. Raises ConfigError NF-IMG-008."""
    return tuple(_fetch(wanted, host) for wanted, host in _observed(environment, facts))


def plan_down(environment: Environment, facts: FleetFacts, options: PlanOptions) -> tuple[ResourceChange, ...]:
    """With ``options.volumes`` the removal of this environment's images that nothing else uses."""
    if not options.volumes:
        return ()
    seen = [(wanted, host) for wanted, host in _observed(environment, facts) if _traces(wanted, host)]
    return tuple(_remove(environment, wanted, host, options) for wanted, host in seen)


def _observed(environment: Environment, facts: FleetFacts) -> Iterator[tuple[Wanted, HostFacts]]:
    for wanted in needs(environment):
        host = facts.hosts.get(wanted.host)
        if host is not None and not host.error:
            yield wanted, host


def needs(environment: Environment) -> tuple[Wanted, ...]:
    """Every image on every host that needs it: what its VMs' disks are made from or booted with, and the archives of
    its stacks. Raises ConfigError NF-IMG-008 for an artifact without digest or with a foreign scheme."""
    wanted: dict[str, Wanted] = {}
    for image in environment.images.values():
        for host in sorted({vm.host for vm in environment.vms.values() if roles(image, vm)}):
            each = _of_image(environment, image, host)
            wanted[each.address] = each
    for stack in environment.stacks.values():
        for reference, artifact in stack.images.items():
            name = address.archive(stack.name, reference, stack.host)
            args = {"stack": stack.name, "image": reference}
            wanted[name] = Wanted(name, f"{stack.name}.{reference}", stack.host, (artifact,), args, stack.source)
    for each in wanted.values():
        _check(each)
    return tuple(wanted.values())


def roles(image: Image, vm: Vm) -> frozenset[str]:
    """Which parts of an image a VM needs: disk, kernel, initrd."""
    needed = {"disk"} if image.disk and any(disk.image == image.name for disk in vm.disks.values()) else set()
    if vm.boot == image.name:
        needed |= {role for role in ("kernel", "initrd") if getattr(image, role)}
    return frozenset(needed)


def _of_image(environment: Environment, image: Image, host: str) -> Wanted:
    vms = [vm for vm in environment.vms.values() if vm.host == host]
    needed = frozenset[str]().union(*(roles(image, vm) for vm in vms))
    parts = [role for role in ("disk", "kernel", "initrd") if role in needed]
    artifacts = tuple(getattr(image, role) for role in parts)
    args = {"image": image.name, "roles": parts}
    return Wanted(address.image(image.name, host), image.name, host, artifacts, args, image.source)


def _check(wanted: Wanted) -> None:
    for artifact in wanted.artifacts:
        if not artifact.sha256:
            raise ConfigError(
                f"image {wanted.name} has no sha256",
                code="NF-IMG-008",
                where=wanted.source,
                hints=(f"sha256sum {artifact.path or artifact.url.rpartition('/')[2]}, then add `sha256:`",),
            )
        if artifact.url and not artifact.url.startswith(SCHEMES):
            raise ConfigError(
                f"image {wanted.name}: a host can pull from http:// and https:// only",
                code="NF-IMG-008",
                where=wanted.source,
                cause=artifact.url,
                hints=("use `path:` for a file on this machine",),
            )


def _missing(wanted: Wanted, host: HostFacts) -> bool:
    paths = [(storage.image_path(host, artifact.sha256), artifact.sha256) for artifact in wanted.artifacts]
    return any(path not in host.files or host.digests.get(path) != sha256 for path, sha256 in paths)


def _fetch(wanted: Wanted, host: HostFacts) -> ResourceChange:
    if not _missing(wanted, host):
        return ResourceChange(wanted.address, KIND, wanted.name, host.host, Change.NONE)
    reason = Reason(f"not on {host.host} yet", source=wanted.source)
    step = _step(wanted, "fetch", "image.fetch", wanted.args)
    return ResourceChange(wanted.address, KIND, wanted.name, host.host, Change.CREATE, reasons=(reason,), steps=(step,))


def _step(wanted: Wanted, verb: str, action: str, args: Mapping[str, Any], after: tuple[str, ...] = ()) -> Step:
    return Step(
        id=address.step(wanted.address, verb),
        action=action,
        resource=wanted.address,
        host=wanted.host,
        step_class=StepClass.CONVERGENT,
        args=args,
        after=after,
        timeout=TIMEOUT,
        retries=RETRIES,
        label="image",
    )


def _traces(wanted: Wanted, host: HostFacts) -> bool:
    """Is the image there, or the beginning of it that a killed fetch left?"""
    paths = tuple(storage.image_path(host, artifact.sha256) for artifact in wanted.artifacts)
    return any(path.startswith(paths) for path in host.files)


def _remove(environment: Environment, wanted: Wanted, host: HostFacts, options: PlanOptions) -> ResourceChange:
    paths = tuple(storage.image_path(host, artifact.sha256) for artifact in wanted.artifacts)
    users = sorted(file.path for file in host.files.values() if file.backing in paths)
    kept = [f"{path} backs on it" for path in users if not _goes(environment, host, path, options)]
    kept += [f"{name} of another environment uses it" for name in _others(environment, host, paths)]
    if kept:
        reason = Reason(f"kept: {kept[0]}")
        return ResourceChange(wanted.address, KIND, wanted.name, host.host, Change.NONE, reasons=(reason,))
    digests = [artifact.sha256 for artifact in wanted.artifacts]
    step = _step(
        wanted, "remove", "image.remove", {"digests": digests}, (*_freed_by(environment, users), *_stack(wanted))
    )
    return ResourceChange(wanted.address, KIND, wanted.name, host.host, Change.DELETE, steps=(step,))


def _others(environment: Environment, host: HostFacts, paths: tuple[str, ...]) -> Iterator[str]:
    for domain in host.domains.values():
        owner = record.read(domain)
        if (owner is None or owner.environment != environment.name) and any(path in domain.xml for path in paths):
            yield domain.name


def _goes(environment: Environment, host: HostFacts, path: str, options: PlanOptions) -> bool:
    """Will this ``down`` delete the volume? The action looks again: it never removes what a volume backs on."""
    if not path.rpartition("/")[2].startswith(f"{environment.name}."):
        return False
    disks = (disk for vm in environment.vms.values() for disk in vm.disks.values())
    protected = f"{path}{storage.PROTECTED_SUFFIX}" in host.files or any(
        disk.protect and storage.volume_path(host, disk) == path for disk in disks
    )
    return options.destroy_protected or not protected


def _freed_by(environment: Environment, users: list[str]) -> Iterator[str]:
    for vm in environment.vms.values():
        yield address.step(address.vm(vm.name), "undefine")
    for path in users:
        parts = path.rpartition("/")[2].removeprefix(f"{environment.name}.").split(".")
        if len(parts) == 3:
            yield address.step(address.volume(parts[0], parts[1]), "delete")


def _stack(wanted: Wanted) -> tuple[str, ...]:
    name = wanted.args.get("stack")
    return (address.step(address.stack(name), "delete"),) if name else ()

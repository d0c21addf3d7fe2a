"""The lab's hosts: created, started, watched until they are what they claim to be, and removed."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from novafleet.errors import LabError
from novafleet.lab.build import RECIPE
from novafleet.lab.docker import attempt, docker, listed
from novafleet.lab.layout import (
    LABEL,
    OPTIONAL_DEVICES,
    SHARED_VOLUME,
    VOLUMES,
    LabHost,
    create_arguments,
    of_container,
)
from novafleet.lab.place import Place
from novafleet.lab.progress import Progress

T = TypeVar("T")
READY_DEADLINE = 180.0
"""Seconds from a host's start until ssh, libvirt and the engine must answer; it takes 5 to 15 on two cores."""
POLL = 0.3
USERS: Mapping[str, tuple[str, int]] = {"root": ("root", 0), "ops": ("home/ops", 1000), "opspw": ("home/opspw", 1001)}
"""Home directory and user id of everyone who lets the lab's key in."""
PARTS = ("ssh", "libvirt", "engine")


@dataclass(frozen=True, slots=True)
class HostState:
    """A host as it is: the container's state in the engine's word, and the version of each part that answers."""

    host: LabHost
    state: str
    ssh: str = ""
    libvirt: str = ""
    engine: str = ""

    @property
    def ready(self) -> bool:
        return bool(self.ssh and self.libvirt and self.engine)


def existing() -> dict[LabHost, str]:
    """Every host there is with its container's state (``running``, ``exited``, ``created`` …), by number."""
    found = {}
    for row in listed("container", f"label={LABEL}=host"):
        host = of_container(row["Names"])
        if host:
            found[host] = str(row["State"])
    return dict(sorted(found.items(), key=lambda item: item[0].number))


def start(place: Place, host: LabHost, state: str, image: str, cgroup: int) -> None:
    """Bring a host's container to run; one that was never started is made again. Raises LabError NF-LAB-001."""
    if state in ("created", "dead", ""):
        if state:
            docker("rm", "--force", host.container)
        _create(place, host, image, cgroup)
    docker("start", host.container)


def _create(place: Place, host: LabHost, image: str, cgroup: int) -> None:
    for volume in (*(host.volume(purpose) for purpose in VOLUMES), SHARED_VOLUME):
        docker("volume", "create", "--label", f"{LABEL}=volume", volume)
    devices = [device for device in OPTIONAL_DEVICES if Path(device).exists()]
    docker("create", *create_arguments(host, image, cgroup=cgroup, devices=devices))
    docker("cp", "-", f"{host.container}:/", stdin=identity(place, host))


def identity(place: Place, host: LabHost) -> bytes:
    """A tar of what makes a host itself: machine id, SSH host key, and the key that it lets in."""
    key = place.host_keys / host.name
    public = key.with_name(f"{key.name}.pub")
    authorized = place.key.with_name(f"{place.key.name}.pub").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, "etc/machine-id", f"{host.machine_id}\n".encode(), 0o444)
        _add(tar, "etc/ssh/ssh_host_ed25519_key", key.read_bytes(), 0o600)
        _add(tar, "etc/ssh/ssh_host_ed25519_key.pub", public.read_bytes(), 0o644)
        for home, owner in USERS.values():
            _add(tar, f"{home}/.ssh", None, 0o700, owner)
            _add(tar, f"{home}/.ssh/authorized_keys", authorized, 0o600, owner)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes | None, mode: int, owner: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid, entry.mtime = mode, owner, owner, int(time.time())
    entry.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    entry.size = len(content or b"")
    tar.addfile(entry, io.BytesIO(content or b""))


def look(host: LabHost, state: str) -> HostState:
    """Ask a host what works on it."""
    if state != "running":
        return HostState(host, state)
    script = (RECIPE / "host" / "check.sh").read_bytes()
    said = attempt("exec", "--interactive", host.container, "sh", "-s", stdin=script).stdout.decode(errors="replace")
    parts = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return HostState(host, state, **{part: parts.get(part, "") for part in PARTS})


def wait(host: LabHost, progress: Progress, deadline: float = READY_DEADLINE) -> HostState:
    """Until ssh, libvirt and the engine answer. Raises LabError NF-LAB-007."""
    seen = look(host, "running")
    if seen.ready:
        return seen
    with progress.step(f"waiting for {host.name} ({host.flavour}, {host.address})"):
        end = time.monotonic() + deadline
        while not (seen := look(host, "running")).ready:
            if time.monotonic() > end:
                raise _not_ready(seen, deadline)
            time.sleep(POLL)
    return seen


def _not_ready(seen: HostState, deadline: float) -> LabError:
    silent = ", ".join(part for part in PARTS if not getattr(seen, part))
    return LabError(
        f"{silent} did not answer within {deadline:g} s",
        code="NF-LAB-007",
        where=seen.host.name,
        hints=(
            f"docker exec {seen.host.container} systemctl --failed",
            f"docker logs {seen.host.container}",
            "novafleet lab down && novafleet lab up",
        ),
    )


def each(hosts: Sequence[LabHost], work: Callable[[LabHost], T]) -> list[T]:
    """Do the same to all hosts at once; results in their order."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(work, hosts))

"""``lab up``, ``status``, ``ssh`` and ``down``. Blocking on purpose: nothing here needs an event loop."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence

import yaml

from novafleet.errors import LabError
from novafleet.lab import build, engine, guests, hosts, keys
from novafleet.lab.docker import attempt, docker, listed
from novafleet.lab.hosts import HostState
from novafleet.lab.layout import (
    DEFAULT_HOSTS,
    GATEWAY,
    LABEL,
    NAME,
    NETWORK,
    SUBNET,
    LabHost,
)
from novafleet.lab.layout import hosts as first_hosts
from novafleet.lab.place import Place, replace
from novafleet.lab.progress import Progress


def up(place: Place, progress: Progress, count: int = 0, *, debian: bool = False) -> tuple[HostState, ...]:
    """Bring up the first ``count`` hosts (0: those there are, else three) and what serves them; what is up stays.

    Raises LabError (NF-LAB-*).
    """
    ready = _if_complete(place, count, debian)
    if ready:
        return ready
    with place.locked(lambda: progress.say("Another lab command is at work: waiting for it to end")):
        engine.ensure(place)
        found = hosts.existing()
        wanted = _wanted(found, count)
        keys.ensure(place, wanted)
        replace(place.inventory, inventory(place, wanted), 0o644)
        _ensure_network()
        _start(place, progress, {host: found.get(host, "") for host in wanted})
        guests.ensure(place, progress, debian=debian)
        return tuple(hosts.each(wanted, lambda host: hosts.wait(host, progress)))


def _if_complete(place: Place, count: int, debian: bool) -> tuple[HostState, ...]:
    """The hosts when all is up already, else none. Takes no lock: whoever only looks waits for nobody's build."""
    if not place.known_hosts.exists() or not engine.answers():
        return ()
    found = hosts.existing()
    wanted = _wanted(found, count)
    if any(found.get(host) != "running" for host in wanted) or not guests.complete(place, debian=debian):
        return ()
    states = tuple(hosts.each(wanted, lambda host: hosts.look(host, found[host])))
    return states if all(state.ready for state in states) else ()


def inventory(place: Place, wanted: Sequence[LabHost]) -> str:
    """An inventory file of these hosts."""
    groups = {
        engine_name: {"hosts": [host.name for host in wanted if host.engine == engine_name]}
        for engine_name in sorted({host.engine for host in wanted})
    }
    document = {
        "user": "root",
        "key": str(place.key),
        "known_hosts": str(place.known_hosts),
        "hosts": {host.name: {"address": host.address, "labels": {"flavour": host.flavour}} for host in wanted},
        "groups": {"kvm": {"children": groups}},
    }
    return "# Written by `novafleet lab up`.\n" + yaml.safe_dump(document, sort_keys=False)


def _wanted(found: Mapping[LabHost, str], count: int) -> tuple[LabHost, ...]:
    return first_hosts(count or max((host.number for host in found), default=DEFAULT_HOSTS))


def _start(place: Place, progress: Progress, wanted: Mapping[LabHost, str]) -> None:
    down = tuple(host for host, state in wanted.items() if state != "running")
    if not down:
        return
    images = {flavour: build.ensure_host(flavour, progress) for flavour in sorted({host.flavour for host in down})}
    cgroup = engine.cgroup_version()
    with progress.step(f"starting {', '.join(host.name for host in down)}"):
        hosts.each(down, lambda host: hosts.start(place, host, wanted[host], images[host.flavour], cgroup))


def _ensure_network() -> None:
    if not listed("network", f"name=^{NETWORK}$"):
        argv = ("network", "create", "--label", f"{LABEL}=network", "--subnet", SUBNET, "--gateway", GATEWAY, NETWORK)
        docker(*argv, code="NF-LAB-008")


def status() -> tuple[HostState, ...]:
    """Every host there is; empty when the lab is down. Raises LabError NF-LAB-002 when no engine is installed."""
    if not engine.answers():
        return ()
    found = hosts.existing()
    return tuple(hosts.each(tuple(found), lambda host: hosts.look(host, found[host])))


def ssh_argv(place: Place, name: str, command: Sequence[str], user: str = "root") -> list[str]:
    """``ssh`` onto a host with the lab's own key and known_hosts; one word is a line for the shell there, several are
    a program and its arguments. Raises LabError NF-LAB-009."""
    found = {host.name: (host, state) for host, state in hosts.existing().items()} if engine.answers() else {}
    if name not in found or found[name][1] != "running":
        there = ", ".join(found) or "none"
        raise LabError(
            f"{name} is not running", code="NF-LAB-009", cause=f"hosts: {there}", hints=("novafleet lab up",)
        )
    options = {
        "IdentityFile": place.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": place.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
    }
    given = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
    remote = ("--", command[0] if len(command) == 1 else shlex.join(command)) if command else ()
    return ["ssh", "-F", "none", *given, f"{user}@{found[name][0].address}", *remote]


def down(place: Place, progress: Progress, *, purge: bool = False) -> None:
    """Remove every container, volume and network of the lab; with ``purge`` also its images, keys and state, and
    stop the engine if the lab had started it. Raises LabError (NF-LAB-*)."""
    with place.locked(lambda: progress.say("Another lab command is at work: waiting for it to end")):
        if engine.answers():
            _remove(progress)
            if purge:
                _remove_images(progress)
        if purge:
            engine.stop(place)
    if purge:
        shutil.rmtree(place.root)


def _remove(progress: Progress) -> None:
    containers = [row["Names"] for row in listed("container", f"label={LABEL}")]
    volumes = [row["Name"] for row in listed("volume", f"label={LABEL}")]
    networks = [row["Name"] for row in listed("network", f"label={LABEL}")]
    for kind, names in (("container", containers), ("volume", volumes), ("network", networks)):
        if names:
            with progress.step(f"removing {len(names)} {kind}{'s' if len(names) > 1 else ''}"):
                docker(kind, "rm", *(() if kind == "network" else ("--force",)), *names)


def _remove_images(progress: Progress) -> None:
    rows = (*listed("image", f"label={LABEL}"), *listed("image", f"reference={NAME}-*"))
    names = {
        row["ID"] if "<none>" in (row["Repository"], row["Tag"]) else f"{row['Repository']}:{row['Tag']}"
        for row in rows
    }
    with progress.step(f"removing {len(names)} images"):
        for name in sorted(names):
            attempt("rmi", "--force", name)

"""Which engine and which of its commands run a stack on a host. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from novafleet.errors import ConfigError
from novafleet.model.environment import Stack
from novafleet.model.facts import HostFacts

PROVIDERS = {
    "compose": ("docker compose", "docker-compose", "podman-compose"),
    "kube": ("podman kube play",),
    "quadlet": ("quadlet",),
}
"""By a stack's kind, the commands that can run it, best first; the containers collector probes them."""
_INSTALL = {
    ("compose", "docker"): "apt-get install docker-compose   # or Docker's docker-compose-plugin",
    ("compose", "podman"): "apt-get install podman-compose",
    ("compose", "auto"): "apt-get install docker.io docker-compose   # or podman podman-compose",
    ("kube", "podman"): "apt-get install podman   # 4.2 or later",
    ("kube", "auto"): "apt-get install podman   # 4.2 or later",
    ("quadlet", "podman"): "install Podman 4.4 or later",
    ("quadlet", "auto"): "install Podman 4.4 or later",
}


@dataclass(frozen=True, slots=True)
class Runner:
    """``engine`` is docker | podman, ``provider`` one of ``PROVIDERS``."""

    engine: str
    provider: str


def choose(stack: Stack, host: HostFacts) -> Runner:
    """What runs the stack there; a stack that runs already stays with its engine when the file leaves it open.

    Raises ConfigError NF-STK-002 when the host has nothing that can.
    """
    able = [
        Runner(engine.name, provider)
        for provider in PROVIDERS[stack.kind]
        for engine in host.engines.values()
        if provider in engine.compose and stack.runtime in ("auto", engine.name)
    ]
    if not able:
        raise _nothing(stack, host)
    fact = host.stacks.get(stack.project)
    return next((runner for runner in able if fact and runner.engine == fact.runtime), able[0])


def _nothing(stack: Stack, host: HostFacts) -> ConfigError:
    found = [
        f"{each.name} {each.version} ({', '.join(each.compose) or 'no Compose'})" for each in host.engines.values()
    ]
    wanted = stack.kind if stack.runtime == "auto" else f"{stack.kind} with {stack.runtime}"
    remedy = _INSTALL.get((stack.kind, stack.runtime), "Docker runs `kind: compose` only")
    return ConfigError(
        f"stack {stack.name}: nothing on {host.host} can run {wanted}",
        code="NF-STK-002",
        where=stack.source,
        cause="found there: " + (", ".join(found) or "no container engine"),
        hints=(f"on {host.host}: {remedy}", "or give the stack another `host:`, `runtime:` or `kind:`"),
    )

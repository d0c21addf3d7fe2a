"""What ``docker inspect`` and ``podman inspect`` say about the containers of a Compose project. Pure.

The two engines agree on the label ``com.docker.compose.project`` (podman-compose sets it beside its own) and differ in
where health is: ``State.Health.Status`` in Docker and Podman 4+, ``State.Healthcheck.Status`` in Podman 3.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from novafleet.model.facts import ContainerFact

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_PODMAN_LABELS = {
    PROJECT_LABEL: "io.podman.compose.project",
    SERVICE_LABEL: "io.podman.compose.service",
}
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created"}
"""Podman's words that Docker has another one for."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container: what it is, which engine runs it, and whether that engine would start it again by itself."""

    id: str
    engine: str
    project: str
    fact: ContainerFact
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the containers of a project amount to. ``final``: waiting longer cannot help. ``bad``: those at fault."""

    ok: bool
    text: str
    final: bool = False
    bad: tuple[Container, ...] = ()


def container_facts(inspect: Mapping[str, Iterable[object]]) -> Mapping[str, tuple[ContainerFact, ...]]:
    """By project, the containers in the engines' inspect documents (``{engine: [document]}``)."""
    facts: dict[str, tuple[ContainerFact, ...]] = {}
    for container in containers(inspect):
        facts[container.project] = (*facts.get(container.project, ()), container.fact)
    return facts


def containers(inspect: Mapping[str, Iterable[object]]) -> tuple[Container, ...]:
    """The containers that belong to a project, each once (``docker`` may be Podman's own alias), sorted by name."""
    found: dict[str, Container] = {}
    for engine, documents in inspect.items():
        for document in documents:
            if isinstance(document, dict) and (container := _container(engine, document)):
                found.setdefault(container.id, container)
    return tuple(sorted(found.values(), key=lambda container: container.fact.name))


def parse_inspect(text: str) -> Mapping[str, list[object]]:
    """``{engine: [document]}`` from lines ``@ENGINE`` each followed by one JSON array; what is not JSON is dropped."""
    documents: dict[str, list[object]] = {}
    for part in f"\n{text}".split("\n@")[1:]:
        engine, _, body = part.partition("\n")
        try:
            parsed = json.loads(body or "[]")
        except json.JSONDecodeError:
            continue
        documents[engine.strip()] = parsed if isinstance(parsed, list) else []
    return documents


def _container(engine: str, document: Mapping[str, Any]) -> Container | None:
    config = _mapping(document.get("Config"))
    labels = _mapping(config.get("Labels"))
    project = _label(labels, PROJECT_LABEL)
    if not project or document.get("IsInfra"):
        return None
    state = _mapping(document.get("State"))
    status = str(state.get("Status", ""))
    name = str(document.get("Name", "")).lstrip("/")
    policy = _mapping(_mapping(document.get("HostConfig")).get("RestartPolicy")).get("Name", "")
    fact = ContainerFact(
        name=name,
        service=_label(labels, SERVICE_LABEL) or name,
        image=str(document.get("ImageName") or config.get("Image") or ""),
        state=_STATES.get(status, status),
        health=_health(state),
        exit_code=_number(state.get("ExitCode")),
    )
    return Container(str(document.get("Id", name)), engine, project, fact, str(policy) not in {"", "no"})


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _label(labels: Mapping[str, Any], name: str) -> str:
    return str(labels.get(name) or labels.get(_PODMAN_LABELS[name]) or "")


def _health(state: Mapping[str, Any]) -> str:
    health = _mapping(state.get("Health")) or _mapping(state.get("Healthcheck"))
    status = str(health.get("Status") or "")
    return "" if status == "none" else status


def healthy(seen: Iterable[Container], services: Collection[str] = ()) -> Verdict:
    """Are all containers (or those of ``services``) running and healthy?

    Unless it is named, one that exited with 0 and that its engine would not start again is a job that is done.
    """
    judged = tuple(each for each in seen if not services or each.fact.service in services)
    missing = sorted(set(services) - {each.fact.service for each in judged})
    if missing or not judged:
        return Verdict(False, f"no container of {', '.join(missing)}" if missing else "no containers yet")
    if all(_done(each) for each in judged):
        return Verdict(False, "all containers have exited", final=True, bad=judged)
    return _verdict({each: "" if not services and _done(each) else _problem(each) for each in judged})


def finished(seen: Iterable[Container]) -> Verdict:
    """Have all containers exited with 0?"""
    judged = tuple(seen)
    if not judged:
        return Verdict(False, "no containers yet")
    return _verdict({each: "" if _done(each) else _unfinished(each) for each in judged})


def _verdict(problems: Mapping[Container, str]) -> Verdict:
    bad = tuple(each for each, problem in problems.items() if problem)
    if not bad:
        return Verdict(True, f"{len(problems)} of {len(problems)} containers ready")
    return Verdict(False, "; ".join(problems[each] for each in bad), any(_gave_up(each) for each in bad), bad)


def _done(container: Container) -> bool:
    return container.fact.state == "exited" and container.fact.exit_code == 0 and not container.restarts


def _unfinished(container: Container) -> str:
    fact = container.fact
    return f"{fact.name} exited with {fact.exit_code}" if fact.state == "exited" else f"{fact.name} is {fact.state}"


def _problem(container: Container) -> str:
    fact = container.fact
    if fact.state != "running":
        return _unfinished(container) if fact.state else f"{fact.name} is in an unknown state"
    return "" if fact.health in {"", "healthy"} else f"{fact.name} is {fact.health}"


def _gave_up(container: Container) -> bool:
    fact = container.fact
    return fact.state == "dead" or (fact.state == "exited" and not container.restarts)

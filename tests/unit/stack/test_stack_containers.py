"""What real engines said about real containers, read the way collectors and gates read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet import bundled
from novafleet.model.facts import ContainerFact
from novafleet.observe.containers import Container, container_facts, containers, finished, healthy, parse_inspect
from novafleet.observe.registry import collectors

CAPTURED = Path(__file__).parent / "captured"
FIXTURES = bundled.folder("collectors") / "containers" / "fixtures"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*-compose.txt")), ids=lambda path: path.stem)
def test_collector(path: Path) -> None:
    [collector] = collectors(["containers"])
    document = collector.parse(path.read_text(), "@@")
    assert document == json.loads(path.with_suffix(".json").read_text())
    found = container_facts(document["inspect"])["nfstk-app"]
    assert {(each.state, each.image) for each in found} == {("running", "localhost/novafleet/httpd:1")}
    assert "healthy" in {each.health for each in found}


@pytest.mark.parametrize("path", sorted(CAPTURED.glob("*.txt")), ids=lambda path: path.stem)
def test_gate_reads_the_same(path: Path) -> None:
    seen = containers(parse_inspect(path.read_text()))
    assert {each.project for each in seen} == {"nfstk-app"}
    assert all(each.restarts for each in seen)
    assert healthy(seen).ok
    assert not finished(seen).ok


def one(
    state: str = "running", health: str = "", code: int = 0, *, restarts: bool = True, service: str = "web"
) -> Container:
    fact = ContainerFact(f"p-{service}", service, "app", state, health, code)
    return Container(service, "docker", "p", fact, restarts)


JOB = one("exited", restarts=False, service="init")
VERDICTS = {
    "running": ([one()], (), True, False),
    "healthy": ([one(health="healthy")], (), True, False),
    "starting": ([one(health="starting")], (), False, False),
    "unhealthy": ([one(health="unhealthy")], (), False, False),
    "restarting": ([one("restarting", code=1)], (), False, False),
    "crashed": ([one("exited", code=1, restarts=False)], (), False, True),
    "crashed, to be restarted": ([one("exited", code=1)], (), False, False),
    "job done beside a server": ([one(), JOB], (), True, False),
    "job named": ([one(), JOB], ("init",), False, True),
    "only jobs": ([JOB], (), False, True),
    "none": ([], (), False, False),
    "one is missing": ([one()], ("web", "db"), False, False),
    "another is sick": ([one(), one(health="unhealthy", service="db")], ("web",), True, False),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_healthy(name: str) -> None:
    seen, services, ok, final = VERDICTS[name]
    verdict = healthy(seen, services)
    assert (verdict.ok, verdict.final) == (ok, final)
    assert verdict.text


def test_finished() -> None:
    assert finished([JOB]).ok
    assert not finished([]).ok
    assert not finished([JOB, one(restarts=False)]).final
    assert finished([replace(JOB, fact=replace(JOB.fact, exit_code=2))]).final


@pytest.mark.parametrize("text", ["", "@docker\n", "@docker\nnot json", '@docker\n{"a": 1}', "@docker\n[1, null]"])
def test_nonsense_is_no_container(text: str) -> None:
    assert containers(parse_inspect(text)) == ()

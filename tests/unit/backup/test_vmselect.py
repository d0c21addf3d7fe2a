"""Which VMs a verb means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from novafleet.app import vmselect
from novafleet.app.wiring import World
from novafleet.errors import ConfigError, NotFoundError, UnreachableError
from novafleet.model.facts import Domain, FleetFacts, HostFacts, StackFact
from novafleet.model.fleet import Fleet, Host


def _domain(name: str, environment: str = "", vm: str = "") -> Domain:
    uuid = f"uuid-{name}"
    ours = (
        f"<x:resource xmlns:x='https://novafleet.dev/xmlns/1' environment='{environment}' name='{vm}' uuid='{uuid}'/>"
    )
    return Domain(name, uuid, "running", f"<domain><metadata>{ours if environment else ''}</metadata></domain>")


def _facts(host: str, *domains: Domain) -> HostFacts:
    return HostFacts(host, 0.0, domains={domain.name: domain for domain in domains})


FACTS = {
    "kvm1": _facts("kvm1", _domain("db"), _domain("dev-web", "dev", "web"), _domain("twice")),
    "kvm2": _facts("kvm2", _domain("dev-db", "dev", "db"), _domain("twice")),
}
DOWN = {**FACTS, "kvm2": HostFacts("kvm2", 0.0, error="no answer", error_code="NF-SSH-101")}


@dataclass(frozen=True)
class Hypervisors:
    """libvirt of each host."""

    facts: dict[str, HostFacts]

    async def get(self, host: Host) -> Any:
        async def domain(name: str) -> Domain:
            found = self.facts[host.name].domains.get(name)
            if found is None:
                raise NotFoundError(name)
            return found

        return SimpleNamespace(domain=domain)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    async def gather(_sessions: Any, hosts: Any, _collectors: Any, _clock: Any) -> FleetFacts:
        asked.extend(host.name for host in hosts)
        return FleetFacts({host.name: facts[host.name] for host in hosts})

    asked: list[str] = []
    facts: dict[str, HostFacts] = dict(FACTS)
    monkeypatch.setattr(vmselect, "gather", gather)
    fleet = Fleet({name: Host(name, "192.0.2.1") for name in FACTS}, {})
    parts = {"sessions": None, "hypervisors": Hypervisors(facts), "clock": None, "asked": asked}
    return cast("World", SimpleNamespace(fleet=fleet, facts=facts, **parts))


def _labels(chosen: tuple[vmselect.Chosen, ...]) -> list[str]:
    return [each.label for each in chosen]


@pytest.mark.parametrize(
    ("patterns", "environment", "found"),
    [
        (["db"], "", ["kvm1/db"]),
        (["dev-*"], "", ["kvm1/dev-web", "kvm2/dev-db"]),
        (["kvm2/*"], "", ["kvm2/dev-db", "kvm2/twice"]),
        (["kvm1/twice"], "", ["kvm1/twice"]),
        (["*/twice"], "", ["kvm1/twice", "kvm2/twice"]),
        (["dev/db"], "", ["kvm2/dev-db"]),
        (["dev/*", "db", "db"], "", ["kvm1/db", "kvm1/dev-web", "kvm2/dev-db"]),
        ([], "dev", ["kvm1/dev-web", "kvm2/dev-db"]),
        (["dev/web"], "dev", ["kvm1/dev-web"]),
    ],
)
async def test_names(world: World, patterns: list[str], environment: str, found: list[str]) -> None:
    assert _labels(await vmselect.select(world, patterns, environment)) == found


@pytest.mark.parametrize(
    ("patterns", "hosts", "found"),
    [
        (["kvm1/twice"], [], ["kvm1/twice"]),
        (["kvm2/dev-db", "kvm1/dev-web", "kvm1/dev-web"], [], ["kvm1/dev-web", "kvm2/dev-db"]),
        (["kvm1/dev-web", "kvm2/dev-d?"], ["kvm1", "kvm2"], ["kvm1/dev-web", "kvm2/dev-db"]),
        (["kvm1/dev-web", "db"], ["kvm1", "kvm2"], ["kvm1/db", "kvm1/dev-web"]),
    ],
)
async def test_who_names_host_and_domain_waits_for_no_look_at_all(
    world: World, patterns: list[str], hosts: list[str], found: list[str]
) -> None:
    assert _labels(await vmselect.select(world, patterns)) == found
    assert cast("Any", world).asked == hosts


async def test_the_name_in_the_environment_is_kept(world: World) -> None:
    [chosen] = await vmselect.select(world, ["dev/db"])
    assert (chosen.vm, chosen.environment, chosen.domain.name) == ("db", "dev", "dev-db")


@pytest.mark.parametrize(
    ("patterns", "environment", "code"),
    [
        (["twice"], "", "NF-VM-007"),
        (["dbb"], "", "NF-VM-006"),
        (["kvm1/dbb"], "", "NF-VM-006"),
        ([], "", "NF-VM-006"),
        (["db"], "dev", "NF-VM-006"),
    ],
)
async def test_refused(world: World, patterns: list[str], environment: str, code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        await vmselect.select(world, patterns, environment)
    assert refused.value.code == code


async def test_an_environment_alone_is_no_vm_but_its_vms_can_be_meant(world: World) -> None:
    with pytest.raises(ConfigError) as refused:
        await vmselect.select(world, ["dev"])
    assert refused.value.hints == ("dev is an environment; its VMs are 'dev/*'",)


async def test_a_label_leads_to_its_domain_though_an_environment_is_called_like_the_host(world: World) -> None:
    cast("Any", world).facts["kvm1"] = _facts("kvm1", _domain("db"), _domain("kvm1-db", "kvm1", "db"))
    assert _labels(await vmselect.select(world, ["kvm1/db"])) == ["kvm1/db"]
    assert _labels(await vmselect.select(world, ["kvm1/db", "dev/db"])) == ["kvm1/db", "kvm2/dev-db"]


async def test_a_host_that_is_down_matters_where_a_vm_may_be_missing(world: World) -> None:
    cast("Any", world).facts.update(DOWN)
    assert _labels(await vmselect.select(world, ["db"])) == ["kvm1/db"]
    selection = await vmselect.look(world, ["dev/*"])
    assert _labels(selection.chosen) == ["kvm1/dev-web"]
    assert isinstance(selection.unseen["kvm2"], UnreachableError)
    with pytest.raises(UnreachableError):
        await vmselect.select(world, ["dev-db"])


@pytest.mark.parametrize(
    ("patterns", "environment", "found"),
    [
        (["dev/stack.edge"], "", ["kvm1/stack.dev-edge"]),
        (["dev/*"], "", ["kvm1/dev-web", "kvm1/stack.dev-edge", "kvm2/dev-db"]),
        (["kvm1/stack.*"], "", ["kvm1/stack.dev-edge"]),
        ([], "dev", ["kvm1/dev-web", "kvm1/stack.dev-edge", "kvm2/dev-db"]),
    ],
)
async def test_stacks_where_they_are_meant_too(
    world: World, patterns: list[str], environment: str, found: list[str]
) -> None:
    facts = cast("Any", world).facts
    fact = StackFact("dev-edge", "dev", "digest", "docker", "compose")
    facts["kvm1"] = replace(facts["kvm1"], stacks={"dev-edge": fact})
    selection = await vmselect.look(world, patterns, environment, stacks=True)
    assert _labels(selection.chosen) == found
    [stack] = [each for each in selection.chosen if isinstance(each, vmselect.ChosenStack)]
    assert (stack.vm, stack.environment, stack.scope, stack.fact) == ("stack.edge", "dev", "stack.dev-edge", fact)

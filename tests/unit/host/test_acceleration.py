"""What is remembered of KVM: by host, boot and probe, and never that nobody could try."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.app import acceleration
from novafleet.app.acceleration import remember, with_acceleration
from novafleet.app.wiring import Places, SystemClock, World
from novafleet.hypervisor.connect import Connections
from novafleet.model.facts import FleetFacts, HostFacts
from novafleet.model.fleet import Fleet
from novafleet.model.secret import Secret
from novafleet.store import cache
from novafleet.transport.pool import SshPool

SYSTEM = {"machine_id": "m1", "boot_id": "b1", "kvm_device": "yes"}


def seen(verdict: str, **system: str) -> dict[str, dict[str, str]]:
    return {"system": SYSTEM | system, "acceleration": {"kvm": verdict}}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path, tmp_path / "known_hosts")


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "_probe", lambda: "p1")


def test_fresh_verdicts_replace_old_ones(places: Places) -> None:
    remember(places, [seen("fails"), seen("works", machine_id="m2")])
    remember(places, [seen("works"), seen("fails", machine_id="", boot_id="b9")])
    assert cache.read(places.acceleration) == {"m1/b1/p1": "works", "m2/b1/p1": "works"}


def test_an_untried_verdict_is_asked_again(places: Places) -> None:
    remember(places, [seen("untried")])
    assert not cache.read(places.acceleration)["m1/b1/p1"]


async def judged(places: Places, values: dict[str, str]) -> HostFacts:
    """The fleet is empty: asking the host fails."""
    async with SshPool(
        Fleet({}, {}), known_hosts=places.known_hosts, passwords=lambda _host: Secret.of("")
    ) as sessions:
        world = World(Fleet({}, {}), sessions, Connections(sessions), SystemClock(), places)
        facts = await with_acceleration(world, FleetFacts({"h": HostFacts("h", 0.0, values=values)}))
    return facts.hosts["h"]


@pytest.mark.parametrize(
    ("verdict", "values", "kvm"),
    [
        ("works", SYSTEM, True),
        ("fails", SYSTEM, False),
        ("works", SYSTEM | {"kvm_device": "no"}, False),
    ],
)
async def test_a_known_host_is_not_asked(places: Places, verdict: str, values: dict[str, str], kvm: bool) -> None:
    remember(places, [seen(verdict)])
    assert (await judged(places, values)).kvm is kvm


async def test_what_an_older_probe_believed_no_longer_counts(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(places, [seen("works")])
    monkeypatch.setattr(acceleration, "_probe", lambda: "p2")
    with pytest.raises(ExceptionGroup):  # the host is asked, and there is none
        await judged(places, SYSTEM)

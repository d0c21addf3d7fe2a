"""Where VMs are after migrations, as their domains tell."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

import pytest

from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.model.migration import Mode, Phase
from novafleet.plan import moving, record
from novafleet.plan.moving import Moving
from novafleet.plan.whereabouts import whereabouts

UUID = "8d6c2a7e-4a3c-5d70-9a63-6f0f9c3a4b11"


def domain(state: str = "running", phase: Phase | None = None, to: str = "kvm2", environment: str = "lab") -> Domain:
    root = Element("domain")
    SubElement(root, "name").text = "lab-db"
    metadata = SubElement(root, "metadata")
    metadata.append(record.element(record.DomainRecord(environment, "db", uuid=UUID)))
    if phase is not None:
        metadata.append(moving.element(Moving("0a1b2c3d", phase, Mode.LIVE, "kvm1", to, "run", True, 5.25)))
    return Domain("lab-db", UUID, state, tostring(root, encoding="unicode"))


def facts(**domains: Domain) -> FleetFacts:
    return FleetFacts({host: HostFacts(host, 0.0, domains={each.name: each}) for host, each in domains.items()})


def test_a_record_comes_back_as_it_was_written() -> None:
    written = Moving("0a1b2c3d", Phase.SWITCHING, Mode.WARM, "kvm1", "kvm2", "run", False, 1795275231.5, True)
    root = Element("domain")
    SubElement(root, "metadata").append(moving.element(written))
    assert moving.read(tostring(root, encoding="unicode")) == written


@pytest.mark.parametrize("xml", ["", "<domain/>", f"<domain xmlns:n='{moving.MIGRATION_NS}'", "no xml"])
def test_no_record_or_a_spoilt_one_is_none(xml: str) -> None:
    assert moving.read(xml) is None


def test_an_unknown_phase_is_no_record() -> None:
    spoilt = domain(phase=Phase.COPYING).xml.replace("copying", "flying")
    assert moving.read(spoilt) is None


def test_a_committed_migration_makes_its_destination_the_home() -> None:
    found = whereabouts("lab", facts(kvm2=domain(phase=Phase.COMMITTED)))
    assert (found.current, found.moved, found.between) == ({"lab-db": "kvm2"}, {"lab-db": "kvm2"}, {})


def test_one_that_went_back_is_at_home_where_it_stayed() -> None:
    assert whereabouts("lab", facts(kvm1=domain(phase=Phase.ROLLED_BACK))).moved == {"lab-db": "kvm1"}


def test_a_copy_whose_record_speaks_of_another_host_is_not_at_home() -> None:
    assert whereabouts("lab", facts(kvm3=domain(phase=Phase.COMMITTED))).moved == {}


def test_without_a_record_nothing_was_moved() -> None:
    found = whereabouts("lab", facts(kvm2=domain()))
    assert (found.current, found.moved) == ({"lab-db": "kvm2"}, {})


def test_another_environments_vm_is_not_ours() -> None:
    assert whereabouts("lab", facts(kvm2=domain(phase=Phase.COMMITTED, environment="other"))).moved == {}


@pytest.mark.parametrize(
    ("here", "there", "home"),
    [("running", "", "kvm1"), ("paused", "running", "kvm2"), ("shutoff", "shutoff", "kvm1"), ("", "running", "kvm2")],
)
def test_between_two_hosts_it_is_where_it_runs_else_where_it_came_from(here: str, there: str, home: str) -> None:
    copies = {"kvm1": here, "kvm2": there}
    found = whereabouts(
        "lab", facts(**{host: domain(state, Phase.SWITCHING) for host, state in copies.items() if state})
    )
    assert found.current["lab-db"] == home
    assert found.between["lab-db"].job == "0a1b2c3d"

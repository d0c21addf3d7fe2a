"""Definitions as libvirt 9.0 and 11.3 gave them back (``virsh dumpxml --inactive``): none of it is a change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from novafleet.capability.vm import shape, xml
from novafleet.capability.vm.diff import differences
from novafleet.model.facts import Domain
from novafleet.plan import record
from novafleet.plan.elsewhere import for_older_libvirt
from novafleet.plan.storage import seed_path
from tests.unit.vm.cases import CASES, host

CAPTURED = sorted(Path(__file__).parent.joinpath("captured").glob("*.xml"))


@pytest.fixture(params=CAPTURED, ids=lambda path: path.stem)
def captured(request: pytest.FixtureRequest) -> Path:
    return request.param


def _domain(path: Path, *, autostart: bool) -> Domain:
    text = path.read_text()
    uuid = ElementTree.fromstring(text).findtext("uuid", "")
    return Domain("x", uuid, "running", text, autostart=autostart)


def test_every_case_is_captured_on_both() -> None:
    assert {path.stem for path in CAPTURED} == {f"{name}-{release}" for name in CASES for release in ("9.0", "11.3")}


@pytest.mark.parametrize("moved", [False, True], ids=["", "moved-to-an-older-host"])
def test_what_libvirt_rewrote_is_no_difference(captured: Path, moved: bool) -> None:
    environment, vm, facts = CASES[captured.stem.partition("-")[0]]
    domain = _domain(captured, autostart=vm.autostart)
    if moved:
        root = ElementTree.fromstring(domain.xml)
        for_older_libvirt(root)
        domain = replace(domain, xml=ElementTree.tostring(root, encoding="unicode"))
    desired = shape.desired(vm, environment, facts)
    seeded = host(digests={seed_path(facts, environment.name, vm.name): desired.get("seed.digest", "")})
    assert differences(vm, desired, shape.live(domain, environment, vm, seeded)) == ()


def test_the_record_comes_back(captured: Path) -> None:
    environment, vm, facts = CASES[captured.stem.partition("-")[0]]
    found = record.read(_domain(captured, autostart=False))
    desired = shape.desired(vm, environment, facts)
    recorded = {field: text for field, text in desired.items() if field != "boot_disk"}  # it came after the captures
    assert found == record.of_vm(environment.name, vm, recorded, "r1")


def test_a_redefinition_moves_no_device(captured: Path) -> None:
    environment, vm, facts = CASES[captured.stem.partition("-")[0]]
    before = ElementTree.fromstring(captured.read_text())
    after = ElementTree.fromstring(xml.domain_xml(vm, environment, facts, live=captured.read_text()))
    assert xml.machine_of(after) == xml.machine_of(before)
    for kind in ("disk", "interface", "controller", "channel"):
        assert _addresses(after, kind) == _addresses(before, kind)


def _addresses(domain: ElementTree.Element, kind: str) -> list[tuple[str, ...]]:
    found = []
    for device in domain.iterfind(f"devices/{kind}"):
        address, alias = device.find("address"), device.find("alias")
        name = alias.get("name", "") if alias is not None else device.get("index", "")
        found.append(
            (name, *sorted(f"{key}={text}" for key, text in (address.attrib if address is not None else {}).items()))
        )
    return sorted(each for each in found if each[0])

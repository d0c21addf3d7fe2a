"""Network filters of a VM's cards: found, brought in order, and taken back."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from novafleet.capability.migration.filters import filters, make_filters, referred, unmake_filters
from novafleet.capability.migration.observed import Observed
from novafleet.model.command import Command, Completed
from novafleet.model.fleet import Host
from tests.unit.migration.dossiers import DISKS, codes, dossier, observed, xml

FILTERED = (
    '<interface type="network"><mac address="52:54:00:aa:bb:cc"/><source network="lan"/>'
    '<filterref filter="web"><parameter name="IP" value="10.9.0.10"/></filterref></interface>'
)


def filter_xml(name: str, *refs: str, uuid: str = "1", rule: str = "accept") -> str:
    inside = "".join(f'<filterref filter="{ref}"/>' for ref in refs)
    return (
        f'<filter name="{name}" chain="root"><uuid>{uuid}</uuid>{inside}<rule action="{rule}" direction="in"/></filter>'
    )


HERE = {"mac": filter_xml("mac"), "web": filter_xml("web", "mac")}


class Libvirt:
    """A host whose virsh knows filters, and remembers in which order they came and went."""

    def __init__(self, **known: str) -> None:
        self.host = Host("kvm2", "kvm2")
        self.known = known
        self.done: list[str] = []

    @property
    def session(self) -> Any:
        return self

    async def run(self, command: Command, *, stdin: bytes = b"", **_more: Any) -> Completed:
        text, said = " ".join(command.argv), ""
        if "nwfilter-dumpxml" in text:
            said = "".join(f"@@ {name}\n{self.known[name]}\n" for name in command.argv if name in self.known)
        elif "nwfilter-undefine" in text:
            self.done += [f"-{name}" for name in command.argv if name in self.known]
        elif "nwfilter-define" in text:
            name = re.findall(rb'name="([^"]+)"', stdin)[0].decode()
            self.known[name] = stdin.decode()
            self.done.append(f"+{name}")
        elif "filter - " in text:
            self.done.append(f"noted {command.argv[-1].rpartition(' ')[2]}")
        return Completed(command.argv, 0, said.encode(), b"")


def seen(here: dict[str, str], there: dict[str, str]) -> Observed:
    return observed(xml(DISKS + FILTERED), filters=here, filters_there=there)


async def test_what_a_filter_refers_to_comes_before_it() -> None:
    host = Libvirt(**HERE, deep=filter_xml("deep", "web", "mac"), other=filter_xml("other"))
    assert list(await filters(cast(Any, host), ["deep"])) == ["mac", "web", "deep"]
    assert await filters(cast(Any, host), ["nobody"]) == {}
    circle = Libvirt(a=filter_xml("a", "b"), b=filter_xml("b", "a"))
    assert set(await filters(cast(Any, circle), ["a"])) == {"a", "b"}
    assert referred("<filter") == ()


def test_a_filter_that_is_missing_there_comes_along_without_its_uuid() -> None:
    found = dossier(seen(HERE, {}))
    assert codes(found, "note").count("NF-MIG-336") == 2
    assert [re.findall('name="([^"]+)"', each)[0] for each in found.move.filters] == ["mac", "web"]
    assert not any("uuid" in each for each in found.move.filters)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"mac": filter_xml("mac", uuid="2"), "web": filter_xml("web", "mac", uuid="3")}, []),
        ({"mac": filter_xml("mac", rule="drop"), "web": HERE["web"]}, ["NF-MIG-337"]),
    ],
)
def test_the_same_rules_are_the_same_filter(there: dict[str, str], expected: list[str]) -> None:
    found = dossier(seen(HERE, there))
    assert [code for code in codes(found, "warning") if code == "NF-MIG-337"] == expected
    assert found.move.filters == ()


def test_a_filter_that_nobody_has_refuses_and_a_vm_without_any_is_not_asked() -> None:
    assert "NF-MIG-335" in codes(dossier(seen({}, {})))
    assert "NF-MIG-335" not in codes(dossier(seen({}, HERE)))
    assert dossier().move.filters == ()


async def test_they_are_noted_made_once_and_taken_back_in_the_other_order() -> None:
    move = dossier(seen(HERE, {})).move
    host = Libvirt()
    await make_filters(cast(Any, host), move)
    assert host.done == ["noted mac", "+mac", "noted web", "+web"]
    await make_filters(cast(Any, host), move)
    assert len(host.done) == 4
    await unmake_filters(cast(Any, host), ["mac", "web"])
    assert host.done[4:] == ["-web", "-mac"]

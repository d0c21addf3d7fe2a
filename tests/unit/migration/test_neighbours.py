"""Who knows a guest's addresses, and who is to ask it for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from novafleet.capability.migration.neighbours import greet, neighbours
from novafleet.errors import HypervisorError
from novafleet.model.command import Command, Completed
from novafleet.model.fleet import Host
from novafleet.model.migration import Move
from tests.unit.migration.dossiers import dossier

MAC = "52:54:00:00:00:09"
CARD = f"<interface type='network'><mac address='{MAC.upper()}'/><source network='n' bridge='virbr7'/></interface>"
XML = f"<domain type='kvm'><name>db</name><devices>{CARD}</devices></domain>"
LISTED = f"""\
10.0.0.9 dev virbr0 lladdr {MAC} STALE
10.0.0.8 dev virbr0 lladdr 52:54:00:00:00:08 REACHABLE
10.0.0.7 dev virbr0 FAILED
fd00::9 dev virbr0 lladdr {MAC} router STALE
fe80::9 dev virbr0 lladdr {MAC} STALE
$(reboot) dev virbr0 lladdr {MAC} STALE
"""


@dataclass
class Side:
    """A host that answers ``ip neigh`` and remembers what else it was asked."""

    said: str = ""
    xml: str = ""
    asked: list[Command] = field(default_factory=list)
    host: Host = field(default_factory=lambda: Host("kvm1", ""))

    @property
    def session(self) -> Any:
        return self

    hypervisor = session

    async def run(self, command: Command, **_: Any) -> Completed:
        self.asked.append(command)
        return Completed(command.argv, 0, self.said.encode(), b"", 0.0)

    async def running_xml(self, name: str) -> str:
        if not self.xml:
            raise HypervisorError(f"{name} is gone", code="NF-LV-101")
        return self.xml


def moving(xml: str = XML) -> Move:
    return replace(dossier().move, xml=xml)


async def test_the_source_tells_what_it_knows_of_the_guest() -> None:
    assert await neighbours(Side(LISTED), moving()) == (("10.0.0.9", MAC), ("fd00::9", MAC))


async def test_a_guest_without_a_card_on_a_bridge_is_not_asked_for() -> None:
    side = Side(LISTED)
    assert await neighbours(side, moving("<domain><name>db</name></domain>")) == ()
    assert not side.asked


async def test_the_destination_asks_on_the_bridge_the_guest_is_on_now() -> None:
    side = Side(xml=XML)
    await greet(side, moving(), (("10.0.0.9", MAC), ("10.0.0.8", "52:54:00:00:00:08")))
    [command] = side.asked
    assert command.argv[-3:] == ("10.0.0.9", MAC, "virbr7")
    assert command.mutates


async def test_nobody_is_greeted_who_is_not_known_or_not_there() -> None:
    gone = Side()
    await greet(gone, moving(), ())
    await greet(gone, moving(), (("10.0.0.9", MAC),))
    assert not gone.asked

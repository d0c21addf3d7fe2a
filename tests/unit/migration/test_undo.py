"""Which migration a person means to undo, and what is pruned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from novafleet.app.migratestack import named
from novafleet.app.migrateundo import Kept, chosen, is_stack, meant, way_back
from novafleet.capability.migration.quarantine import Quarantine
from novafleet.errors import ExitCode, MigrationError, UnreachableError

FIRST = Quarantine("j1", "db", "devlab-db", "u1", "devlab", "kvm1", "kvm2", "cold", 1.0, 10.0, "<domain/>")
SECOND = replace(FIRST, job="j2", host="kvm2", destination="kvm3", mode="live", at=2.0)
OTHER = replace(FIRST, job="j3", uuid="u2", host="kvm3", destination="kvm1", at=3.0)
STACK = replace(FIRST, job="j4", vm="stack.edge", domain="stack.devlab-edge", uuid="u4", xml="")


@pytest.mark.parametrize("vm", ["devlab-db", "kvm1/devlab-db", "kvm2/devlab-db", "devlab/db", "devlab-*"])
def test_a_vm_is_meant_by_any_of_its_names(vm: str) -> None:
    assert meant(vm, FIRST)
    assert not meant(vm, STACK) or vm == "devlab-*"


@pytest.mark.parametrize("name", ["devlab/edge", "devlab/stack.edge", "devlab-edge", "kvm2/devlab-edge"])
def test_so_is_a_stack(name: str) -> None:
    assert is_stack(STACK)
    assert meant(name, STACK)
    assert "stack." in named(name)


def test_the_last_way_is_the_one_to_go_back() -> None:
    assert chosen(Kept(5.0, (FIRST, SECOND), {}), "devlab/db") is SECOND


def test_a_card_goes_back_to_the_network_it_was_on() -> None:
    def vm(*cards: tuple[str, str]) -> str:
        nics = "".join(
            f'<interface type="network"><mac address="{mac}"/><source network="{name}"/></interface>'
            for mac, name in cards
        )
        return f"<domain><devices>{nics}</devices></domain>"

    before = vm(("52:54:00:00:00:0A", "lan"), ("52:54:00:00:00:0b", "back"))
    assert way_back(before, vm(("52:54:00:00:00:0a", "far"), ("52:54:00:00:00:0b", "back"))) == {"far": "lan"}
    assert way_back(before, before) == {}


def test_two_vms_of_one_name_are_not_guessed_between() -> None:
    with pytest.raises(MigrationError) as caught:
        chosen(Kept(5.0, (FIRST, OTHER), {}), "devlab-db")
    assert (caught.value.code, caught.value.cause) == ("NF-MIG-504", "kvm1/devlab-db, kvm2/devlab-db")


def test_one_that_had_its_name_there_before_is_not_in_its_way() -> None:
    older = replace(FIRST, uuid="of-another")
    assert chosen(Kept(5.0, (older, FIRST), {}), "devlab-db") is FIRST


def test_a_host_that_was_not_asked_may_have_it() -> None:
    gone = UnreachableError("no answer", where="kvm2")
    with pytest.raises(MigrationError) as caught:
        chosen(Kept(5.0, (), {"kvm2": gone}), "db")
    assert (caught.value.retry.value, "kvm2" in caught.value.cause) == ("later", True)
    assert Kept(5.0, (), {"kvm2": gone}).exit_code is ExitCode.UNREACHABLE
    assert Kept(5.0, (FIRST,), {"kvm2": gone}).exit_code is ExitCode.PARTIAL

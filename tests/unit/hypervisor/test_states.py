"""The words for libvirt's numbers, against the installed library."""

from __future__ import annotations

import libvirt

from novafleet.hypervisor.states import event_words, state_words


def test_every_state_and_reason_of_the_library_has_a_word() -> None:
    states = _constants("VIR_DOMAIN_", "NOSTATE RUNNING BLOCKED PAUSED SHUTDOWN SHUTOFF CRASHED PMSUSPENDED")
    assert {name: state_words(number, 0)[0] for name, number in states.items()} == {
        "NOSTATE": "nostate",
        "RUNNING": "running",
        "BLOCKED": "blocked",
        "PAUSED": "paused",
        "SHUTDOWN": "in-shutdown",
        "SHUTOFF": "shutoff",
        "CRASHED": "crashed",
        "PMSUSPENDED": "pmsuspended",
    }
    for state in ("RUNNING", "PAUSED", "SHUTOFF"):
        prefix = f"VIR_DOMAIN_{state}_"
        reasons = {name: getattr(libvirt, name) for name in dir(libvirt) if name.startswith(prefix)}
        for name, number in reasons.items():
            word = state_words(states[state], number)[1]
            assert word.replace(" ", "_").upper() == name.removeprefix(prefix), name


def test_every_lifecycle_event_of_the_library_has_a_word() -> None:
    names = "DEFINED UNDEFINED STARTED SUSPENDED RESUMED STOPPED SHUTDOWN PMSUSPENDED CRASHED"
    for name, number in _constants("VIR_DOMAIN_EVENT_", names).items():
        kind, detail = event_words(number, 0)
        assert kind == name.lower()
        assert not detail.isdecimal()


def test_numbers_newer_than_the_tables_stay_numbers() -> None:
    assert state_words(99, 98) == ("99", "98")
    assert state_words(1, 77) == ("running", "77")
    assert event_words(99, 3) == ("99", "3")
    assert event_words(0, 77) == ("defined", "77")


def _constants(prefix: str, names: str) -> dict[str, int]:
    return {name: getattr(libvirt, prefix + name) for name in names.split()}

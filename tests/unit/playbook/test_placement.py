"""Placement: what stays, what spreads, what must not meet, and never more than fits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.errors import ConfigError
from novafleet.playbook.placement import Hall, Seat, seat_all
from tests.unit.playbook.fleet import HOSTS, draft, written

GIB = 2**30
WEB = "environment: e\nvms:\n  web: {count: 3, memory: 1GiB, place: {%s}}\n"


def placed(folder: Path, text: str, current: dict[str, str] | None = None, **available: int) -> dict[str, str]:
    made = draft(written(folder, text)).place(current or {}, available)
    return {name: vm.host for name, vm in made.vms.items()}


def test_replicas_spread(tmp_path: Path) -> None:
    assert placed(tmp_path, WEB % "", kvm1=9 * GIB, kvm2=5 * GIB, kvm3=5 * GIB) == {
        "web-1": "kvm1", "web-2": "kvm2", "web-3": "kvm3",
    }  # fmt: skip


def test_without_spread_the_roomiest_host_is_filled(tmp_path: Path) -> None:
    found = placed(tmp_path, WEB % "spread: none", kvm1=3 * GIB, kvm2=9 * GIB, kvm3=3 * GIB)
    assert set(found.values()) == {"kvm2"}


def test_preference(tmp_path: Path) -> None:
    assert placed(tmp_path, WEB % "prefer: [kvm3]")["web-1"] == "kvm3"


def test_what_exists_stays(tmp_path: Path) -> None:
    found = placed(tmp_path, WEB % "", {"e-web-2": "kvm1", "e-web-3": "kvm1"}, kvm1=0, kvm2=GIB, kvm3=0)
    assert found == {"web-1": "kvm2", "web-2": "kvm1", "web-3": "kvm1"}


def test_a_host_in_maintenance_takes_nobody_in_and_keeps_who_is_there(tmp_path: Path) -> None:
    made = draft(written(tmp_path, WEB % "group: kvm"))
    room = {"kvm1": 9 * GIB, "kvm2": 9 * GIB}
    hosts = made.place({"e-web-1": "kvm1"}, room, None, frozenset({"kvm1"}))
    assert {name: vm.host for name, vm in hosts.vms.items()} == {"web-1": "kvm1", "web-2": "kvm2", "web-3": "kvm2"}
    with pytest.raises(ConfigError, match="kvm1 is in maintenance; kvm2 is in maintenance"):
        made.place({}, room, None, frozenset({"kvm1", "kvm2"}))


def test_a_named_host_wins_over_where_it_is(tmp_path: Path) -> None:
    assert placed(tmp_path, "environment: e\nvms: {a: {host: kvm2}}\n", {"e-a": "kvm1"}) == {"a": "kvm2"}


def test_no_room_names_every_host_and_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        placed(tmp_path, WEB % "", kvm1=GIB, kvm2=GIB, kvm3=GIB // 2)
    error = raised.value
    assert (error.code, error.what) == ("NF-ENV-030", "no host has room for web-3 (1GiB)")
    assert error.cause.startswith(
        "kvm1 has 0MiB left, lacks 1024MiB; kvm2 has 0MiB left, lacks 1024MiB; kvm3 has 512MiB left, lacks 512MiB"
    )


def test_anti_affinity_holds_whoever_says_it(tmp_path: Path) -> None:
    text = "environment: e\nvms:\n  a: {memory: 2GiB}\n  b: {place: {anti_affinity: a, prefer: kvm1}}\n"
    found = placed(tmp_path, text, kvm1=9 * GIB, kvm2=GIB, kvm3=GIB)
    assert found["a"] == "kvm1"
    assert found["b"] != "kvm1"


def test_whoever_has_one_host_only_is_not_kept_from_it(tmp_path: Path) -> None:
    text = "environment: e\nvms:\n  a: {memory: 2GiB}\n  b: {place: {group: ungrouped, anti_affinity: a}}\n"
    found = placed(tmp_path, text, kvm1=3 * GIB, kvm2=3 * GIB, kvm3=9 * GIB)
    assert found == {"a": "kvm1", "b": "kvm3"}


def test_a_vm_that_may_be_on_an_unobserved_host_is_not_started_elsewhere(tmp_path: Path) -> None:
    text = "environment: e\nvms: {a: {place: {group: all}}}\n"
    assert placed(tmp_path, text, kvm1=9 * GIB, kvm3=9 * GIB) == {"a": "kvm2"}
    assert placed(tmp_path, text, {"e-a": "kvm3"}, kvm1=9 * GIB, kvm3=9 * GIB) == {"a": "kvm3"}


seats = st.lists(
    st.builds(
        lambda base, memory, hosts, spread: (base, memory, hosts, spread),
        st.sampled_from("abc"),
        st.integers(1, 8),
        st.lists(st.sampled_from(HOSTS), min_size=1, unique=True),
        st.booleans(),
    ),
    max_size=12,
)
rooms = st.fixed_dictionaries({host: st.integers(0, 20) for host in HOSTS})


def made_seats(drawn: list[tuple[str, int, list[str], bool]]) -> list[Seat]:
    return [
        Seat(f"{base}-{n}", base, memory, tuple(hosts), spread) for n, (base, memory, hosts, spread) in enumerate(drawn)
    ]


@given(seats, rooms)
def test_room_is_never_exceeded_and_nobody_is_forgotten(
    drawn: list[tuple[str, int, list[str], bool]], room: dict[str, int]
) -> None:
    waiting = made_seats(drawn)
    chosen, errors = seat_all(waiting, Hall(dict(room)))
    for host in HOSTS:
        assert sum(seat.memory for seat in waiting if chosen.get(seat.name) == host) <= room[host]
    assert all(chosen[seat.name] in seat.hosts for seat in waiting if seat.name in chosen)
    assert len(chosen) + len(errors) == len(waiting)


@given(seats, rooms)
def test_the_same_question_has_the_same_answer(
    drawn: list[tuple[str, int, list[str], bool]], room: dict[str, int]
) -> None:
    assert seat_all(made_seats(drawn), Hall(dict(room)))[0] == seat_all(made_seats(drawn), Hall(dict(room)))[0]


@given(st.integers(1, 40))
def test_replicas_are_level(count: int) -> None:
    chosen, _ = seat_all([Seat(f"w-{n}", "w", 1, HOSTS) for n in range(count)], Hall({}))
    loads = [list(chosen.values()).count(host) for host in HOSTS]
    assert max(loads) - min(loads) <= 1

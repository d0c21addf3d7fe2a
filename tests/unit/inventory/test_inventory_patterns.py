"""Patterns choose the hosts that Ansible's choose; ``expected.json`` is what ansible-core 2.19.14 said."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import ConfigError
from novafleet.inventory import load_fleet, select
from novafleet.inventory.pattern import matching
from tests.unit.inventory.places import CONTENT, fleet

FLEET = load_fleet([CONTENT / "pattern" / "hosts"])
EXPECTED = json.loads((CONTENT / "pattern" / "expected.json").read_text())
EVERY = tuple(FLEET.hosts)

parts = st.sampled_from(
    [*FLEET.groups, "w1", "kvm02", "w*", "~.*lan$", "front[0:3]", "w[1:3]", "kvm[01:02]", "all[-1]"]
)


relaxed = settings(deadline=None, max_examples=60)


def chosen(pattern: str) -> set[str]:
    return set(matching(FLEET, pattern))


@pytest.mark.parametrize("pattern", sorted(EXPECTED))
def test_same_hosts_as_ansible(pattern: str) -> None:
    assert sorted(matching(FLEET, pattern)) == EXPECTED[pattern]


@relaxed
@given(parts, parts)
def test_union_intersection_difference(left: str, right: str) -> None:
    assert chosen(f"{left}:{right}") == chosen(left) | chosen(right) == chosen(f"{left},{right}")
    assert chosen(f"{left}:&{right}") == chosen(left) & chosen(right) == chosen(f"{right}:&{left}")
    assert chosen(f"{left}:!{right}") == chosen(left) - chosen(right)


@relaxed
@given(parts)
def test_neutral_and_absorbing(part: str) -> None:
    assert chosen(f"{part}:&all") == chosen(f"{part}:{part}") == chosen(part)
    assert chosen(f"!{part}") == set(EVERY) - chosen(part)
    assert chosen(f"{part}:!{part}") == set()


@relaxed
@given(st.lists(parts, min_size=1, max_size=4), st.lists(parts, max_size=3), st.lists(parts, max_size=3), st.randoms())
def test_only_the_kind_of_a_part_counts_not_its_place(plain, within, without, random) -> None:  # type: ignore[no-untyped-def]
    written = [*plain, *(f"&{part}" for part in within), *(f"!{part}" for part in without)]
    random.shuffle(written)
    wanted = reduce(set.union, map(chosen, plain))
    wanted = reduce(set.intersection, map(chosen, within), wanted)
    assert chosen(":".join(written)) == reduce(set.difference, map(chosen, without), wanted)


@relaxed
@given(parts, parts)
def test_a_limit_takes_hosts_away_and_keeps_the_order(pattern: str, limit: str) -> None:
    wanted = [name for name in matching(FLEET, pattern) if name in chosen(limit)]
    if wanted:
        assert [host.name for host in select(FLEET, pattern, limit)] == wanted
    else:
        with pytest.raises(ConfigError):
            select(FLEET, pattern, limit)


@relaxed
@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_a_config_error(text: str) -> None:
    try:
        found = matching(FLEET, text)
    except ConfigError as error:
        assert error.code in ("NF-INV-016", "NF-INV-005")
    else:
        assert set(found) <= set(EVERY)


@pytest.mark.parametrize(
    ("pattern", "what", "hint"),
    [
        ("kvm04", "'kvm04' is neither a host nor a group", "did you mean 'kvm03'?"),
        ("web:&pord", "'pord' is neither a host nor a group (in 'web:&pord')", "did you mean 'prod'?"),
        ("web:!", "'web:!' is not a host pattern: a name is missing after & or !", ""),
        ("~(", "'~(' is not a host pattern: the regular expression '(' is wrong", ""),
        ("web:&kvm", "no host matches 'web:&kvm'", "novafleet host ls"),
        ("nothing*", "no host matches 'nothing*'", "novafleet host ls"),
        ("d-[a:d].lan", "'d-d.lan' is neither", "did you mean"),
        ("w[3:1]", "'w[3:1]' is not a range: 3 is greater than 1", ""),
    ],
)
def test_errors(pattern: str, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select(FLEET, pattern)
    assert caught.value.what.startswith(what)
    assert hint in "".join(caught.value.hints)


def test_brackets_count_in_a_group_and_else_name_hosts() -> None:
    assert matching(FLEET, "kvm[1:2]") == ("kvm02", "kvm03")
    assert matching(FLEET, "w[1:3]") == ("w1", "w2", "w3")


def test_an_index_counts_in_the_order_of_the_group(tmp_path: Path) -> None:
    found = fleet(tmp_path, "[prod]\nb\na\n[web]\na\nb\n[top]\nc\n[top:children]\nprod\n", "hosts")
    assert [matching(found, pattern) for pattern in ("prod[0]", "web[0]", "top")] == [("b",), ("a",), ("c", "b", "a")]


def test_addresses() -> None:
    assert matching(FLEET, "2001:db8::1") == matching(FLEET, "[2001:db8::1]") == ("2001:db8::1",)
    assert "2001:db8::1" not in matching(FLEET, "all:![2001:db8::1]")

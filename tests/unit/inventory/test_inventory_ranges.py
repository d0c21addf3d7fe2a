"""Ranges expand as Ansible's do; ``ranges.json`` is what ansible-core 2.19.14's expand_hostname_range said."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novafleet.errors import ConfigError
from novafleet.inventory import ranges
from tests.unit.inventory.places import CONTENT

RECORDED = json.loads((CONTENT / "ranges.json").read_text())

relaxed = settings(deadline=None, max_examples=60)
names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["kvm", "db-", "r1n"]),
    st.one_of(st.integers(0, 30).map(str), st.integers(0, 30).map("{:02d}".format), st.just("")),
    st.sampled_from(["", ".lan", "x"]),
)


@pytest.mark.parametrize("text", sorted(RECORDED))
def test_same_names_as_ansible(text: str) -> None:
    assert list(ranges.expand(text)) == RECORDED[text]


@relaxed
@given(st.integers(0, 2000), st.integers(0, 200), st.integers(1, 7), st.integers(1, 6))
def test_numbers(first: int, more: int, step: int, width: int) -> None:
    last = first + more
    assert ranges.expand(f"h[{first}:{last}:{step}].lan") == tuple(f"h{n}.lan" for n in range(first, last + 1, step))
    low, high = f"{first:0{width}d}", f"{last:0{width}d}"
    if len(low) == len(high):
        assert ranges.expand(f"[{low}:{high}]") == tuple(f"{n:0{len(low)}d}" for n in range(first, last + 1))


@relaxed
@given(st.integers(0, 51), st.integers(0, 51))
def test_letters(first: int, last: int) -> None:
    letters = string.ascii_letters
    text = f"[{letters[first]}:{letters[last]}]"
    if first <= last:
        assert ranges.expand(text) == tuple(letters[first : last + 1])
    else:
        with pytest.raises(ConfigError):
            ranges.expand(text)


@relaxed
@given(st.text(alphabet="ab019[]:-,. ", max_size=20))
def test_any_text_expands_or_is_a_config_error(text: str) -> None:
    try:
        assert len(ranges.expand(text)) <= ranges.LIMIT
    except ConfigError as error:
        assert error.code == "NF-INV-005"


@relaxed
@given(st.lists(names, max_size=40))
def test_folding_and_expanding_gives_the_names_back(found: list[str]) -> None:
    folded = ranges.fold(found)
    assert {name for part in folded.split(",") if part for name in ranges.expand(part)} == set(found)


def test_folded_for_people() -> None:
    assert ranges.fold(["kvm3", "kvm1", "kvm2", "web", "kvm10"]) == "kvm[1:3],kvm10,web"
    assert ranges.fold([f"n{number:02d}" for number in range(1, 21)]) == "n[01:20]"

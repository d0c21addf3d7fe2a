"""YAML with positions, and a schema that reports everything it finds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.source.excerpt import excerpt
from novafleet.source.load import MAX_BYTES, load, parse
from novafleet.source.reference import page, records
from novafleet.source.schema import Field, Integer, MapOf, Record, Text
from novafleet.source.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Box:
    width: int
    label: str
    source: Location
    origins: dict[str, Location] = field(default_factory=dict)


BOX = Record(
    "box",
    "A box.",
    (Field("width", Integer(1, 9), doc="Its width.", example="3"), Field("label", Text(), "none", "What is | on it.")),
    into=Box,
)
BOXES = Record("boxes", "Boxes.", (Field("all", MapOf(BOX), {}, "By name."),), into=lambda **values: values["all"])


def test_positions() -> None:
    box = BOX.decode(parse("width: 3\nlabel: x\n", "f"))
    assert (box.width, str(box.source), str(box.origins["label"])) == (3, "f:1:1", "f:2:1")


def test_all_errors_at_once() -> None:
    with pytest.raises(ConfigErrors) as raised:
        BOXES.decode(parse("all:\n  a: {width: 0, lable: x}\n  b: {}\n", "f"))
    assert [(error.code, str(error.where)) for error in raised.value.errors] == [
        ("NF-CFG-020", "f:2:17"), ("NF-CFG-023", "f:2:14"), ("NF-CFG-022", "f:3:6"),
    ]  # fmt: skip


def test_excerpt_points_at_the_column() -> None:
    assert excerpt("a\nb: c\n", 2, 4) == "    2 | b: c\n           ^"
    assert excerpt("a", 7, 1) == ""


def test_a_huge_file(tmp_path: Path) -> None:
    path = tmp_path / "huge.yml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="is larger than 4 MiB") as raised:
        load(path)
    assert raised.value.code == "NF-CFG-002"


def test_an_empty_file() -> None:
    assert parse("", "f").value is None


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_any_text_is_a_node_or_a_config_error(text: str) -> None:
    try:
        parse(text, "f").plain()
    except ConfigError as error:
        assert error.code.startswith("NF-CFG-0")


keys = st.text("abcxyz", min_size=1, max_size=5)
trees = st.recursive(
    st.integers(-(2**63), 2**63) | st.booleans() | st.none() | st.text("ab \n'\"#:{}[]", max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_what_json_writes_is_read_back(tree: object) -> None:
    assert parse(json.dumps(tree), "f").plain() == tree


def test_reference_of_any_schema() -> None:
    text = page("Boxes", "All about boxes.", BOXES)
    assert [record.name for record in records(BOXES)] == ["boxes", "box"]
    assert "| `all` | a mapping from names to [box](#box) |  | By name. |" in text
    assert "| `width` | a whole number from 1 to 9 | **required** | Its width. Example: `width: 3` |" in text
    assert "What is \\| on it." in text


def test_did_you_mean() -> None:
    assert did_you_mean("memroy", ["memory", "vcpus"]) == ("did you mean 'memory'?",)
    assert did_you_mean("q", ["memory", "vcpus"], "keys") == ("known keys: memory, vcpus",)
    assert did_you_mean("q", []) == ()

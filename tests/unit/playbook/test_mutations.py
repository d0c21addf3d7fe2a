"""Whatever stands anywhere in an environment file: it is read, or refused with a place. Never a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.source.load import load
from tests.unit.playbook.fleet import draft

SAMPLE = Path(__file__).parents[2] / "content" / "sample"
TREE = load(SAMPLE / "devlab.yml").plain()
TREE["include"] = [str(SAMPLE / "images.yml"), str(SAMPLE / "networks.yml")]
TREE["stacks"]["edge"]["compose"] = str(SAMPLE / "stacks" / "edge")
TREE["stacks"]["metrics"]["quadlet"] = str(SAMPLE / "stacks" / "metrics")
TREE["stacks"]["edge"]["images"] = {}


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in members:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(tree))
    spot = copy
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    return copy


ODD = st.sampled_from(
    [None, True, False, 0, -1, 10**30, 1.5, "", "x", "../x", "/", "a\nb", "${", "${nope}", "${env:PASSWORD}",
     "db", "web", "web-1", "lab", "mini", "kvm1", "kvm", "10.20.0.1", "10.20.0.0/24", "1GiB", "255.255.255.255", "\x00",
     "${file:/}", "${file:\x00}", "~nobody/x", "y" * 5000,
     "é", [], [None], ["x"], [["x"]], [{}], {}, {"x": None}, {"x": {}}, {"tcp": 1}, {"": ""}, {"a b": 1}]
) | st.text(max_size=20)  # fmt: skip


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(list(places(TREE))), ODD)
def test_any_value_anywhere(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    file = tmp_path / "env.json"
    file.write_text(json.dumps(changed(TREE, path, value)))
    try:
        draft(file).place({}, {})
    except ConfigErrors as errors:
        assert all(isinstance(error.where, Location) and error.where.line for error in errors.errors)
    except ConfigError as error:
        assert isinstance(error.where, Location), error
        assert error.where.line, error


def test_the_sample_itself_is_read(tmp_path: Path) -> None:
    file = tmp_path / "env.json"
    file.write_text(json.dumps(TREE))
    assert len(draft(file).place({}, {}).vms) == 7
    with pytest.raises(ConfigError):
        file.write_text(json.dumps(changed(TREE, ("environment",), None)))
        draft(file)

"""Collectors are found in a project first, and a broken one is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError
from novafleet.observe.registry import collectors, describe, project_folder, read


def made(root: Path, parse: str | None) -> Path:
    folder = root / "mine"
    folder.mkdir()
    (folder / "collect.sh").write_text("echo 1\n")
    if parse is not None:
        (folder / "parse.py").write_text(parse)
    return root


def test_a_project_replaces_a_bundled_collector(tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "collect.sh").write_text("echo mine\n")
    (tmp_path / "system" / "parse.py").write_text("def parse(text, mark):\n    return {'mine': text}\n")
    system, libvirt = collectors(["system", "libvirt"], tmp_path)
    assert system.parse("x", "@@") == {"mine": "x"}
    assert "virsh" in libvirt.script


def test_one_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no collector named nope") as raised:
        collectors(["nope"], tmp_path)
    assert raised.value.code == "NF-COL-001"
    assert str(tmp_path) in raised.value.hints[0]


@pytest.mark.parametrize("parse", [None, "def parse(:\n", "import nowhere_at_all\n", "def read(text): ...\n"])
def test_one_that_cannot_be_loaded(tmp_path: Path, parse: str | None) -> None:
    with pytest.raises(ConfigError) as raised:
        collectors(["mine"], made(tmp_path, parse))
    assert raised.value.code == "NF-COL-001"
    assert str(raised.value.where).endswith("mine/parse.py")
    assert raised.value.hints


def test_the_folder_beside_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    assert project_folder([tmp_path / "inventory" / "lab.yml"]) is None
    own = tmp_path / "collectors"
    own.mkdir()
    for inventory in ("inventory/lab.yml", "inventory", "hosts.yml"):
        assert project_folder([tmp_path / inventory]) == own


def test_descriptions_name_an_own_one_in_place_of_a_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "system"
    own.mkdir()
    (own / "collect.sh").write_text("echo mine\n")
    (own / "collector.yml").write_text("{description: mine, cost: expensive, root: true, timeout: 3}\n")
    by_name = {each.name: each for each in describe(tmp_path)}
    assert by_name["system"].description == "mine"
    assert by_name["acceleration"].cost == "expensive"


@pytest.mark.parametrize(
    "text", ["", "[]", "description: x", "{description: x, cost: free, root: no, timeout: 1}", "a: {"]
)
def test_a_description_that_says_too_little(tmp_path: Path, text: str) -> None:
    made(tmp_path, "")
    (tmp_path / "mine/collector.yml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        describe(tmp_path)
    assert raised.value.code == "NF-COL-001"
    assert str(raised.value.where).endswith("mine/collector.yml")


def test_a_parser_that_fails_is_named_with_its_line(tmp_path: Path) -> None:
    [mine] = collectors(["mine"], made(tmp_path, "def parse(text, mark):\n    return {'n': int(text)}\n"))
    assert read(mine, "1", "@@") == {"n": 1}
    with pytest.raises(ConfigError) as raised:
        read(mine, "one", "@@")
    assert raised.value.code == "NF-COL-002"
    assert str(raised.value.where).endswith("mine/parse.py:2")
    assert "ValueError" in raised.value.cause


@pytest.mark.parametrize("fails", ["ElementTree.fromstring(text)", "1 / len(text)"])
def test_a_parser_of_xml_that_was_cut_off(tmp_path: Path, fails: str) -> None:
    source = f"from xml.etree import ElementTree\ndef parse(text, mark):\n    return {{'n': {fails}}}\n"
    [mine] = collectors(["mine"], made(tmp_path, source))
    with pytest.raises(ConfigError) as raised:
        read(mine, "", "@@")
    assert raised.value.code == "NF-COL-002"

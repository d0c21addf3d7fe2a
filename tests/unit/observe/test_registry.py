"""Collectors are found in a project first, and a broken one is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError
from novafleet.observe.registry import collectors


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

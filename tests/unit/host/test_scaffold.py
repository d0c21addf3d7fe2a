"""``init`` copies the shipped folders, and never over anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.app.project import FOLDERS, scaffold
from novafleet.errors import ConfigError


def test_a_new_project(tmp_path: Path) -> None:
    made = scaffold(tmp_path / "fleet")
    assert [path.name for path in made] == list(FOLDERS)
    assert (tmp_path / "fleet/inventory/lab.yml").is_file()
    assert [path.name for path in (tmp_path / "fleet/collectors").iterdir() if path.is_dir()] == ["pressure"]
    assert not list((tmp_path / "fleet").rglob("fixtures"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_overwritten(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with pytest.raises(ConfigError) as raised:
        scaffold(tmp_path)
    assert raised.value.code == "NF-CFG-004"
    assert [path.name for path in tmp_path.iterdir()] == [folder]

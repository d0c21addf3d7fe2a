"""Every malformed inventory has one precise finding: code, file:line:column and what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from novafleet.errors import ConfigError, ExitCode
from novafleet.inventory import load_fleet
from tests.unit.inventory.places import CONTENT, findings, fleet, write

MALFORMED = CONTENT / "malformed"
EXPECTED = json.loads((MALFORMED / "expected.json").read_text())
PAGES = Path(__file__).parents[3] / "docs" / "errors"


def test_every_file_is_expected() -> None:
    assert {path.name for path in MALFORMED.iterdir()} - {"expected.json"} == EXPECTED.keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_one_precise_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MALFORMED)
    with pytest.raises(ConfigError) as caught:
        load_fleet([Path(name)])
    found = findings(caught.value)
    assert [f"{error.code} {error.where}: {error.what}" for error in found] == EXPECTED[name]
    assert caught.value.exit_code is ExitCode.USAGE
    assert all((PAGES / f"{error.code}.md").exists() for error in found if "INV" in error.code)


def test_all_errors_of_all_files_together(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "inv/a.yml": "hosts:\n  kvm1: {port: 0, adress: x}\n  kvm2: {user: 'a b', jump: nowhere}\n"
            "groups:\n  g: {hosts: [kvm3]}\n  h: {children: [i]}\n",
            "inv/b.yml": "hosts: {kvm9: {jump: kvm9}}\n",
        },
    )
    with pytest.raises(ConfigError) as caught:
        load_fleet([root / "inv"])
    assert [error.code for error in findings(caught.value)] == [
        "NF-CFG-023",
        "NF-CFG-020",
        "NF-INV-004",
        "NF-INV-006",
        "NF-INV-006",
        "NF-INV-012",
    ]


def test_unreadable_files_do_not_hide_each_other(tmp_path: Path) -> None:
    root = write(tmp_path, {"inv/a.yml": "hosts: [", "inv/b": "[web\n", "inv/c.yml": "hosts: {k: {port: 0}}"})
    with pytest.raises(ConfigError) as caught:
        load_fleet([root / "inv", root / "gone.yml"])
    assert [error.code for error in findings(caught.value)] == ["NF-CFG-003", "NF-INV-003", "NF-INV-001", "NF-CFG-023"]


@pytest.mark.parametrize("paths", [[], ["gone.yml"]])
def test_no_inventory(paths: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_fleet([Path(path) for path in paths])
    assert caught.value.code == "NF-INV-001"


def test_a_written_password_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet(tmp_path, "hosts: {kvm1: {become: {password: hunter2}}}")
    assert "hunter2" not in str(caught.value.finding())


def test_several_circles_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet(tmp_path, "[a:children]\nb\n[b:children]\na\n[c]\nh\n[c:children]\nd\n[d:children]\nc\n", "hosts")
    assert [error.code for error in findings(caught.value)] == ["NF-INV-008", "NF-INV-008"]


def test_odd_things_in_a_directory(tmp_path: Path) -> None:
    root = write(tmp_path, {"inv/hosts": "w1\n", "inv/.hidden": "[", "inv/notes.txt": "[", "inv/sub/more": "w2\n"})
    (root / "inv/loop").symlink_to(".")
    assert list(load_fleet([root / "inv"]).hosts) == ["w1", "w2"]
    (root / "inv/broken").symlink_to("nowhere")
    os.mkfifo(root / "inv/pipe")
    with pytest.raises(ConfigError) as caught:
        load_fleet([root / "inv"])
    assert [error.code for error in findings(caught.value)] == ["NF-INV-001", "NF-INV-001"]


TEXTS = sorted(path for path in CONTENT.rglob("*") if path.is_file() and path.stat().st_size < 2000)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TEXTS), st.integers(0, 2000), st.integers(0, 8), st.binary(max_size=6))
def test_damaged_files_load_or_are_config_errors(tmp_path: Path, path: Path, at: int, cut: int, insert: bytes) -> None:
    data = path.read_bytes()
    at = min(at, len(data))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data[:at] + insert + data[at + cut :])
    try:
        load_fleet([damaged])
    except ConfigError as error:
        for finding in findings(error):
            assert finding.what
            assert str(finding.where)

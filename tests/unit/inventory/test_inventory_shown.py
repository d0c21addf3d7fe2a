"""``host ls``, ``host show``, ``host why``: what they find and how it is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novafleet.app import inventory as app
from novafleet.errors import ConfigError
from novafleet.inventory import why
from novafleet.inventory.own import INVENTORY
from novafleet.inventory.reference import inventory_reference
from novafleet.report import console
from novafleet.report import inventory as report
from novafleet.source.reference import records
from tests.unit.inventory.places import fleet, write

TEXT = """
user: root
hosts:
  gate: {}
  kvm1: {address: 10.0.0.1, user: ops, labels: {rack: r1}, jump: gate, vars: {nested: {a: [1, null]}}}
groups:
  kvm: {hosts: kvm1, become: {password: ask}, vars: {ntp: a}}
"""


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    monkeypatch.chdir(write(tmp_path, {"lab.yml": TEXT, "group_vars/all": "ntp: b\nflag: true"}))
    console.out.cache_clear()
    return (tmp_path / "lab.yml",)


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_list(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_hosts(app.ls(inventory))
    assert printed(capsys) == [
        "NAME  ADDRESS   USER  JUMP  BECOME              GROUPS     LABELS",
        "gate  gate      root  -     -                   ungrouped  -",
        "kvm1  10.0.0.1  ops   gate  sudo, password ask  kvm        rack=r1",
    ]


def test_list_as_document(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_hosts(app.ls(inventory, "kvm"), "json")
    (host,) = json.loads(capsys.readouterr().out)["hosts"]
    assert host | {"key": "", "known_hosts": "", "fingerprint": ""} == {
        "name": "kvm1",
        "address": "10.0.0.1",
        "port": 0,
        "user": "ops",
        "key": "",
        "known_hosts": "",
        "jump": ["gate"],
        "become": {"enabled": True, "password": "ask"},
        "trust": "strict",
        "fingerprint": "",
        "labels": {"rack": "r1"},
        "groups": ["kvm"],
    }


def test_one_host(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_host(app.show(inventory, "kvm1"))
    lines = printed(capsys)
    assert lines[0] == "kvm1  lab.yml:5:3"
    assert "user         ops                 lab.yml:5:29" in lines
    assert "port         (ssh_config)        -" in lines
    assert "vars.flag    true                group_vars/all:2:1" in lines


def test_one_host_as_document(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_host(app.show(inventory, "kvm1"), "json")
    document = json.loads(capsys.readouterr().out)
    assert document["vars"] == {"nested": {"a": [1, None]}, "ntp": "b", "flag": True}


def test_why(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_why(app.why(inventory, "kvm1", "ntp"))
    assert printed(capsys) == [
        "kvm1: vars.ntp = b",
        "      VALUE  SET BY",
        "wins  b      group_vars/all:1:1",
        "      a      lab.yml:7:54",
    ]


def test_why_of_a_default(inventory: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    report.print_why(app.why(inventory, "kvm1", "port"))
    assert printed(capsys) == ["kvm1: port = (ssh_config)", "No file sets it: this is the default."]


def test_names_may_be_qualified_or_not(tmp_path: Path) -> None:
    found = fleet(tmp_path, TEXT)
    assert why(found, "kvm1", "rack").name == why(found, "kvm1", "labels.rack").name == "labels.rack"
    assert why(found, "kvm1", "vars.ntp") == why(found, "kvm1", "ntp")
    assert [origin.won for origin in why(found, "kvm1", "user").origins] == [False, True]


@pytest.mark.parametrize(
    ("host", "var", "near"), [("kmv1", "user", "kvm1"), ("kvm1", "usr", "user"), ("kvm1", "ntpp", "ntp")]
)
def test_unknown_names(tmp_path: Path, host: str, var: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        why(fleet(tmp_path, TEXT), host, var)
    assert (caught.value.code, caught.value.hints) == ("NF-INV-017", (f"did you mean {near!r}?",))


def test_a_variable_of_ansible_is_found_by_either_name(tmp_path: Path) -> None:
    found = fleet(tmp_path, "h ansible_host=192.0.2.1\n", "hosts")
    assert why(found, "h", "address").value == why(found, "h", "ansible_host").value == "192.0.2.1"


def test_notices_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app.ls([write(tmp_path, {"hosts": "a ansible_connection=local\nb\n"}) / "hosts"])
    assert caplog.messages == [
        f"{tmp_path}/hosts:1:3: a is left out: ansible_connection=local, but hosts are managed over SSH"
    ]


def test_the_reference_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "inventory.md"
    renew = """python -c 'from novafleet.inventory.reference import inventory_reference as r; print(r(), end="")'"""
    assert page.read_text() == inventory_reference(), f"run: {renew} > docs/reference/inventory.md"


def test_every_key_is_described() -> None:
    assert all(field.doc for record in records(INVENTORY) for field in record.fields)

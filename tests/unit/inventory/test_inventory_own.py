"""Our own YAML, merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.inventory import load_fleet
from novafleet.model.fleet import Become, TrustPolicy
from tests.unit.inventory.places import fleet, write

EXAMPLE = """
user: root
key: ./keys/fleet
become: true
labels: {site: lab}
hosts:
  bastion: {address: 198.51.100.7, port: 2222, become: false}
  kvm1:
    labels: {rack: 4, spare: true}
    trust: pinned
    fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
  kvm[02:04]:
    address: 10.0.0.[12:14]
    become: {password: env:SUDO}
groups:
  kvm:
    hosts: [kvm1, "kvm[02:04]"]
    jump: bastion
    vars: {ntp: 10.0.0.1, dns: [a, b]}
    children:
      docker:
        hosts: kvm02
        vars: {ntp: 10.0.0.2}
  direct:
    children: [docker]
    jump: []
"""


def test_example(tmp_path: Path) -> None:
    found = fleet(tmp_path, EXAMPLE)
    assert list(found.hosts) == ["bastion", "kvm1", "kvm02", "kvm03", "kvm04"]
    assert {name: group.hosts for name, group in found.groups.items()} == {
        "all": ("bastion", "kvm1", "kvm02", "kvm03", "kvm04"),
        "ungrouped": ("bastion",),
        "kvm": ("kvm1", "kvm02", "kvm03", "kvm04"),
        "docker": ("kvm02",),
        "direct": ("kvm02",),
    }
    assert found.notices == ()


def test_connection(tmp_path: Path) -> None:
    hosts = fleet(tmp_path, EXAMPLE).hosts
    assert [host.address for host in hosts.values()] == ["198.51.100.7", "kvm1", "10.0.0.12", "10.0.0.13", "10.0.0.14"]
    assert {host.user for host in hosts.values()} == {"root"}
    assert {host.key for host in hosts.values()} == {str(tmp_path / "keys/fleet")}
    assert [hosts[name].jump for name in ("bastion", "kvm1", "kvm02")] == [(), ("bastion",), ("bastion",)]
    assert [host.become for host in hosts.values()][:3] == [Become(), Become(enabled=True), Become(True, "env:SUDO")]
    assert hosts["kvm1"].trust is TrustPolicy.PINNED


def test_labels_and_variables(tmp_path: Path) -> None:
    hosts = fleet(tmp_path, EXAMPLE).hosts
    assert hosts["kvm1"].labels == {"site": "lab", "rack": "4", "spare": "true"}
    assert hosts["kvm1"].vars == {"ntp": "10.0.0.1", "dns": ["a", "b"]}
    assert hosts["kvm02"].vars["ntp"] == "10.0.0.2"


def test_places(tmp_path: Path) -> None:
    host = fleet(tmp_path, EXAMPLE).hosts["kvm02"]
    assert host.groups == ("direct", "docker", "kvm")
    assert str(host.source) == f"{tmp_path}/hosts.yml:12:3"
    assert [place.line for place in host.origins["become"]] == [4, 14]
    assert host.history["vars.ntp"] == ("10.0.0.1", "10.0.0.2")


def test_of_equal_depth_the_last_name_wins(tmp_path: Path) -> None:
    text = "hosts: {h: }\ngroups:\n  b: {hosts: h, user: b}\n  a: {hosts: h, user: a}\n  all: {user: all}\n"
    assert fleet(tmp_path, text).hosts["h"].user == "b"


def test_variable_files_speak_yaml_1_2_beside_our_file(tmp_path: Path) -> None:
    write(tmp_path, {"group_vars/all.yml": "answer: no\noctal: 010", "host_vars/h/x.yml": "mine: 1"})
    assert fleet(tmp_path, "hosts: {h: }").hosts["h"].vars == {"answer": "no", "octal": "010", "mine": 1}


def test_a_file_for_the_password_lies_beside_the_inventory(tmp_path: Path) -> None:
    host = fleet(tmp_path, "hosts: {h: {become: {password: file:secret/sudo}}}").hosts["h"]
    assert host.become.password == f"file:{tmp_path}/secret/sudo"


def test_hosts_of_one_file_in_groups_of_another(tmp_path: Path) -> None:
    root = write(tmp_path, {"i/10-groups.yml": "groups: {web: {hosts: [h]}}", "i/20-hosts.yml": "hosts: {h: }"})
    assert load_fleet([root / "i"]).groups["web"].hosts == ("h",)


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = "hosts:\n  a: &a {user: x, port: 23}\n  b: {<<: *a, port: 24}\n"
    host = fleet(tmp_path, text).hosts["b"]
    assert (host.user, host.port) == ("x", 24)


@pytest.mark.parametrize("hop", ["me@gate.lan", "gate.lan:22", "me@[2001:db8::1]:22"])
def test_jump_hosts_outside_the_inventory(tmp_path: Path, hop: str) -> None:
    assert fleet(tmp_path, f'hosts: {{h: {{jump: "{hop}"}}}}').hosts["h"].jump == (hop,)


def test_the_shipped_lab_inventory() -> None:
    lab = Path(__file__).parents[3] / "inventory" / "lab.yml"
    if not lab.exists():
        pytest.skip("inventory/lab.yml is not there")
    assert {"kvm1", "kvm2", "kvm3"} <= load_fleet([lab]).hosts.keys()


def test_two_thousand_hosts(tmp_path: Path) -> None:
    text = """
user: root
hosts: {"h[1000:2999]": {address: "10.[0:19].0.[0:99]"}}
groups:
  g1: {hosts: "h[1000:1999]", vars: {n: 1}}
  g2: {hosts: "h[2000:2999]", vars: {n: 2}}
"""
    found = fleet(tmp_path, text)
    assert len(found.hosts) == 2000
    assert (found.hosts["h2999"].vars, found.hosts["h2999"].address) == ({"n": 2}, "10.19.0.99")

"""Ansible's inventories mean to us what they mean to Ansible: ``expected.json`` is what ansible-core 2.19.14 said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from novafleet.errors import ConfigError, Location
from novafleet.inventory import load_fleet
from novafleet.model.encode import encode
from novafleet.model.fleet import Become
from tests.unit.inventory.places import CONTENT, fleet, write

CASES = sorted(path for path in (CONTENT / "ansible").iterdir() if path.is_dir())
BESIDE = ("expected.json", "group_vars", "host_vars")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_hosts_groups_and_variables_as_ansible(case: Path) -> None:
    (inventory,) = (path for path in case.iterdir() if path.name not in BESIDE)
    found = load_fleet([inventory])
    expected = json.loads((case / "expected.json").read_text())
    assert encode({name: host.vars for name, host in found.hosts.items()}) == expected["hosts"]
    groups = {
        name: sorted(group.hosts)
        for name, group in found.groups.items()
        if group.hosts and name not in ("all", "ungrouped")
    }
    assert groups == expected["groups"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_value_knows_its_place(case: Path) -> None:
    (inventory,) = (path for path in case.iterdir() if path.name not in BESIDE)
    for host in load_fleet([inventory]).hosts.values():
        assert host.source.file
        for name, places in host.origins.items():
            assert len(places) == len(host.history[name])
            assert all(Path(place.file).is_file() for place in places)


@pytest.mark.parametrize(
    ("arguments", "jump", "known_hosts", "trust"),
    [
        ("-o ProxyJump=bastion", ("bastion",), "", "strict"),
        ("-J me@bastion:2222,second", ("me@bastion:2222", "second"), "", "strict"),
        ("-Jbastion -o Compression=yes", ("bastion",), "", "strict"),
        ("-o 'ProxyJump me@bastion'", ("me@bastion",), "", "strict"),
        ('-o ProxyCommand="ssh -W %h:%p -q -p 2022 me@bastion"', ("me@bastion:2022",), "", "strict"),
        ("-o ProxyCommand='ssh -l me -W [%h]:%p bastion'", ("me@bastion",), "", "strict"),
        ("-o UserKnownHostsFile=/srv/known -o StrictHostKeyChecking=accept-new", (), "/srv/known", "accept-new"),
        ("-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null", (), "", "strict"),
        ("-o ProxyCommand='/usr/bin/ssh -W %h:%p bastion'", ("bastion",), "", "strict"),
        ("-o ProxyJump=none", (), "", "strict"),
        ("-o ControlMaster=auto -o ControlPersist=60s", (), "", "strict"),
    ],
)
def test_ssh_arguments(tmp_path: Path, arguments: str, jump: tuple[str, ...], known_hosts: str, trust: str) -> None:
    text = json.dumps({"all": {"hosts": {"h": {"ansible_ssh_common_args": arguments}}}})
    host = fleet(tmp_path, text).hosts["h"]
    assert (host.jump, host.known_hosts, host.trust.value) == (jump, known_hosts, trust)


def test_unfollowed_trust_is_said(tmp_path: Path) -> None:
    found = fleet(tmp_path, "[g]\nh1\nh2\n[g:vars]\nansible_ssh_common_args=-o StrictHostKeyChecking=no\n", "hosts")
    assert [notice.text for notice in found.notices] == [
        "ansible_ssh_common_args: StrictHostKeyChecking=no is not followed, host keys are checked"
    ]


@pytest.mark.parametrize(
    ("arguments", "ignored"),
    [
        ("-F ssh.cfg -J bastion", "-F ssh.cfg"),
        ("-o 'ProxyCommand=ssh -i keys/jump -W %h:%p bastion'", "-i keys/jump of bastion"),
    ],
)
def test_unfollowed_arguments_are_said(tmp_path: Path, arguments: str, ignored: str) -> None:
    found = fleet(tmp_path, json.dumps({"all": {"hosts": {"h": {"ansible_ssh_common_args": arguments}}}}))
    assert found.hosts["h"].jump == ("bastion",)
    assert [notice.text for notice in found.notices] == [f"ansible_ssh_common_args: {ignored} is not followed"]


def test_connection_variables(tmp_path: Path) -> None:
    text = """
        [all:vars]
        ansible_user=ops
        [g]
        h ansible_host=192.0.2.1 ansible_port=2222 ansible_ssh_private_key_file=keys/id ansible_become=yes
        six:2200 ansible_host=2001:db8::1 ansible_ssh_user=root ansible_become_password=hunter2 ansible_become=1
    """
    hosts = fleet(tmp_path, text.replace("        ", ""), "hosts").hosts
    first, six = hosts["h"], hosts["six"]
    assert (first.address, first.port, first.user, first.key) == ("192.0.2.1", 2222, "ops", "keys/id")
    assert (first.become.enabled, first.become.password) == (True, "")
    assert (six.address, six.port, six.user, six.become.password) == ("2001:db8::1", 2200, "root", "ask")
    assert "hunter2" not in json.dumps(encode(hosts)) + repr(hosts)


def test_variables_that_hold_nothing_are_not_set(tmp_path: Path) -> None:
    names = ("host", "ssh_host", "port", "become", "connection", "ssh_common_args")
    text = "all:\n  hosts:\n    h:\n" + "".join(f"      ansible_{name}:\n" for name in names)
    host = fleet(tmp_path, f"{text}      ansible_user: ''\n      ansible_ssh_private_key_file: ''\n").hosts["h"]
    assert (host.address, host.port, host.user, host.key, host.become.enabled) == ("h", 0, "", "", False)


def test_names_in_braces_are_replaced(tmp_path: Path) -> None:
    text = """
all:
  vars:
    domain: lan
    gate: "gate.{{ domain }}"
    ansible_host: "{{ inventory_hostname }}.{{ domain }}"
    ansible_ssh_common_args: '-o ProxyJump="ops@{{ gate }}"'
  hosts: {h1: }
"""
    host = fleet(tmp_path, text).hosts["h1"]
    assert (host.address, host.jump) == ("h1.lan", ("ops@gate.lan",))


def test_the_place_of_the_inventory_is_a_variable(tmp_path: Path) -> None:
    host = fleet(tmp_path, "h ansible_ssh_private_key_file='{{ inventory_dir }}/id'\n", "inv/hosts").hosts["h"]
    assert (host.key, "inventory_dir" in host.vars) == (str(tmp_path / "inv/id"), False)


def test_hosts_not_reached_over_ssh_are_left_out(tmp_path: Path) -> None:
    found = fleet(tmp_path, "localhost ansible_connection=local\nw1\n", "hosts")
    assert list(found.hosts) == ["w1"]
    assert found.groups["all"].hosts == ("w1",)
    assert "ansible_connection=local" in found.notices[0].text


@pytest.mark.parametrize("plugin", ["ansible.builtin.ssh", "ansible.netcommon.libssh", '"{{ how }}" how=ssh'])
def test_any_name_of_ssh_is_ssh(tmp_path: Path, plugin: str) -> None:
    found = fleet(tmp_path, f"h ansible_connection={plugin} ansible_become_method=ansible.builtin.sudo\n", "hosts")
    assert (list(found.hosts), found.notices) == (["h"], ())


def test_variable_files_of_nobody_are_said_when_nearly_somebodys(tmp_path: Path) -> None:
    write(tmp_path, {"group_vars/wbe.yml": "x: 1", "group_vars/other.yml": "x: 1", "host_vars/zz.yml": "x: 1"})
    found = fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert ["'web'" in notice.text for notice in found.notices] == [True]


def test_variable_files_of_nobody_stay_closed(tmp_path: Path) -> None:
    vault = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"
    write(tmp_path, {"group_vars/README.md": "# x", "group_vars/prod/vault.yml": vault, "host_vars/gone.yml": "x: ["})
    found = fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert (list(found.hosts), found.notices) == (["w1"], ())


def test_a_vaulted_variable_file_is_passed_over_and_said(tmp_path: Path) -> None:
    """The usual pair: what is secret in a file of its own, and a name for it that anybody may read."""
    vault = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"
    plain = "x: 1\nansible_become: true\nansible_become_password: '{{ vault_sudo }}'\n"
    write(tmp_path, {"group_vars/all/vault.yml": vault, "group_vars/all/main.yml": plain})
    found = fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert found.hosts["w1"].vars["x"] == 1
    assert (str(tmp_path / "group_vars/all/vault.yml"), True) in [
        (notice.source.file, "encrypted by ansible-vault" in notice.text) for notice in found.notices
    ]


VAULTED = "!vault |\n    $ANSIBLE_VAULT;1.1;AES256\n    6162\n"


def test_vaulted_values_are_passed_over_and_said(tmp_path: Path) -> None:
    """Neither what was encrypted nor what it stands before is taken for the variable's value."""
    write(tmp_path, {"group_vars/all.yml": "token: old\nlist: [1]\n", "host_vars/w1.yml": f"x: 1\ntoken: {VAULTED}"})
    write(tmp_path, {"host_vars/w2.yml": f"list:\n  - {VAULTED}"})
    found = fleet(tmp_path, "[web]\nw1\nw2\n", "hosts")
    assert found.hosts["w1"].vars == {"x": 1, "list": [1]}
    assert found.hosts["w2"].vars == {"token": "old"}
    text = "{} is encrypted by ansible-vault: not known here"
    assert [(notice.source, notice.text) for notice in found.notices] == [
        (Location(str(tmp_path / "host_vars/w1.yml"), 2, 1), text.format("token")),
        (Location(str(tmp_path / "host_vars/w2.yml"), 1, 1), text.format("list")),
    ]


def test_a_vaulted_password_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, {"group_vars/all.yml": f"ansible_become: true\nansible_become_password: {VAULTED}"})
    found = fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert found.hosts["w1"].become == Become(enabled=True, password="ask")
    assert "ANSIBLE" not in repr(found)


@pytest.mark.parametrize("name", ["ansible_host", "ansible_port", "ansible_user", "ansible_become"])
def test_what_a_connection_needs_cannot_be_vaulted(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"host_vars/w1.yml": f"{name}: {VAULTED}"})
    with pytest.raises(ConfigError) as caught:
        fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert caught.value.code == "NF-INV-015"
    assert str(caught.value.where).endswith("w1.yml:1:1")


def test_variable_files_of_a_later_inventory(tmp_path: Path) -> None:
    write(tmp_path, {"a/hosts": "w1\n", "a/group_vars/db.yml": "x: 1", "b": "[db]\nd1\n"})
    assert load_fleet([tmp_path / "a/hosts", tmp_path / "b"]).hosts["d1"].vars == {"x": 1}


def test_a_shadowed_variable_file_is_said(tmp_path: Path) -> None:
    write(tmp_path, {"group_vars/web/a.yml": "x: 1", "group_vars/web.yml": "x: 2"})
    found = fleet(tmp_path, "[web]\nw1\n", "hosts")
    assert found.hosts["w1"].vars == {"x": 1}
    assert [notice.source.file for notice in found.notices] == [str(tmp_path / "group_vars/web.yml")]


def test_later_inventories_win(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/hosts": "[web]\nw1 x=a y=a\n", "b/hosts.yml": "hosts: {w1: {vars: {x: b}}, w2: {}}"})
    found = load_fleet([root / "a/hosts", root / "b/hosts.yml"])
    assert found.hosts["w1"].vars == {"x": "b", "y": "a"}
    assert [place.file for place in found.hosts["w1"].origins["vars.x"]] == [
        str(root / "a/hosts"),
        str(root / "b/hosts.yml"),
    ]


def test_a_group_may_have_a_priority_below_zero(tmp_path: Path) -> None:
    text = "[a]\nh\n[b]\nh\n[a:vars]\nx=a\n[b:vars]\nx=b\nansible_group_priority=-1\n"
    assert fleet(tmp_path, text, "hosts").hosts["h"].vars["x"] == "a"


def test_what_only_begins_like_a_literal_is_text(tmp_path: Path) -> None:
    assert fleet(tmp_path, "[all:vars]\nx={{ 'hello' }}\n[kvm]\nh\n", "hosts").hosts["h"].vars["x"] == "{{ 'hello' }}"


def test_unsafe_text_is_text(tmp_path: Path) -> None:
    write(tmp_path, {"group_vars/all.yml": "ansible_user: !unsafe root\nlist: !unsafe ['{{ a']\n"})
    host = fleet(tmp_path, "all: {hosts: {h: {motd: !unsafe '{{ b'}}}").hosts["h"]
    assert (host.user, host.vars["list"], host.vars["motd"]) == ("root", ["{{ a"], "{{ b")

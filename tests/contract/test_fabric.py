"""A fabfile's way to the fleet's hosts, over a real sshd: where it leads, and whom it trusts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from novafleet.app.fabfile import fleet
from novafleet.errors import ConfigError, TrustError
from novafleet.transport.fabric import FleetGroup, connection
from novafleet.transport.target import SshTarget
from tests.sshd import Sshd, running_sshd

QUIET: Mapping[str, Any] = {"hide": True, "in_stream": False}
group_exception = pytest.importorskip("fabric").exceptions.GroupException


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with running_sshd(tmp_path, "Subsystem sftp internal-sftp") as server:
        yield server


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def group(sshd: Sshd, pattern: str = "all", *, through: bool = False, **fields: object) -> FleetGroup:
    """Two names of one sshd, each with ``fields``; ``through``: the first is reached by the second."""
    host = sshd.host()
    common = {"port": host.port, "user": host.user, "key": host.key, "known_hosts": host.known_hosts, **fields}
    hosts = {name: {"address": address, **common} for name, address in (("one", "127.0.0.1"), ("two", "127.0.0.2"))}
    hosts["one"] |= {"jump": "two"} if through else {}
    inventory = sshd.folder / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"hosts": hosts}))
    return fleet(inventory, pattern)


def test_tasks_run_on_the_hosts_of_a_pattern(sshd: Sshd) -> None:
    with group(sshd, trust="accept-new") as hosts:
        done = {each.original_host: result.stdout for each, result in hosts.run("echo $((6*7))", **QUIET).items()}
    assert done == {"one": "42\n", "two": "42\n"}
    with group(sshd, "two", trust="accept-new") as hosts:
        assert [each.original_host for each in hosts] == ["two"]


def test_files_go_and_come(sshd: Sshd, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    (tmp_path / "here").write_bytes(b"\0data\n")
    with group(sshd, "one", trust="accept-new") as hosts:
        hosts.put(str(tmp_path / "here"), str(there))
        hosts.get(str(there), str(back))
    assert back.read_bytes() == b"\0data\n"


def test_an_unknown_host_is_refused_and_the_others_are_not_kept_from_running(sshd: Sshd, tmp_path: Path) -> None:
    one, *_ = sshd.known_hosts.read_text().splitlines()
    sshd.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {one.split(None, 1)[1]}\n")
    with group(sshd) as hosts, pytest.raises(group_exception) as raised:
        hosts.run("true", **QUIET)
    told = {each.original_host: result for each, result in raised.value.result.items()}
    assert told["one"].ok
    assert isinstance(told["two"], TrustError)
    assert told["two"].code == "NF-SSH-201"
    assert not (tmp_path / "config/novafleet/known_hosts").exists()


def test_a_new_key_is_recorded_where_the_policy_accepts_it_and_a_changed_one_never(sshd: Sshd, tmp_path: Path) -> None:
    sshd.known_hosts.write_text("")
    own = tmp_path / "config/novafleet/known_hosts"
    with group(sshd, "one", trust="accept-new") as hosts:
        hosts.run("true", **QUIET)
    name, algorithm, key = own.read_text().split()
    assert name == f"[127.0.0.1]:{sshd.port}"
    own.write_text(f"{name} {algorithm} {key[:-8]}AAAAAAA=\n")
    with group(sshd, "one", trust="accept-new") as hosts, pytest.raises(group_exception) as raised:
        hosts.run("true", **QUIET)
    (error,) = raised.value.result.values()
    assert isinstance(error, TrustError)
    assert error.code == "NF-SSH-202"


def test_a_pinned_key_is_the_only_one(sshd: Sshd) -> None:
    fingerprint = "SHA256:" + "A" * 43
    with group(sshd, "one", trust="pinned", fingerprint=fingerprint) as hosts, pytest.raises(group_exception) as raised:
        hosts.run("true", **QUIET)
    (error,) = raised.value.result.values()
    assert isinstance(error, TrustError)
    assert error.code == "NF-SSH-202"


def test_the_way_leads_through_jump_hosts(sshd: Sshd) -> None:
    with group(sshd, "one", trust="accept-new", through=True) as hosts:
        (result,) = hosts.run("echo $SSH_CONNECTION", **QUIET).values()
    assert hosts[0].gateway.original_host == "two"
    assert result.stdout.split()[2] == "127.0.0.1"


def test_a_pattern_without_hosts_is_an_error(sshd: Sshd) -> None:
    with pytest.raises(ConfigError) as raised:
        group(sshd, "three")
    assert raised.value.code == "NF-INV-016"


def test_a_proxy_command_is_the_shells_and_a_public_half_is_the_agents(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "only.pub").write_text(sshd.key.with_suffix(".pub").read_text())
    host, name = sshd.host(), f"/dev/tcp/127.0.0.1/{sshd.port}"
    pump = f"bash -c 'exec 3<>{name}; cat <&3 & exec cat >&3' $UNSET_HERE 2>/dev/null"
    files = {"identities": (str(tmp_path / "only"), host.key), "known_hosts": (host.known_hosts,)}
    target = SshTarget("kvm1", "127.0.0.1", sshd.port, host.user, proxy_command=pump, **files)
    with connection(target, tmp_path / "own", agent="") as made:
        assert made.run("echo hello", **QUIET).stdout == "hello\n"

"""Inventory first, then what ``ssh -G`` says; jump chains; one fork for hosts that are configured alike."""

import os
import pwd
import shutil
import socket
import time
from pathlib import Path

import pytest

from novafleet.errors import ConfigError, DeadlineError
from novafleet.model.fleet import Fleet, Host, TrustPolicy
from novafleet.transport.resolve import Resolver
from novafleet.transport.sshconfig import SshConfig, survey
from novafleet.transport.target import SshTarget

pytestmark = pytest.mark.skipif(not shutil.which("ssh"), reason="needs the ssh program")


async def resolve(tmp_path: Path, config: str, name: str, *hosts: Host) -> SshTarget:
    (tmp_path / "config").write_text(config)
    fleet = Fleet({host.name: host for host in hosts}, {})
    resolver = Resolver(fleet, tmp_path / "own", SshConfig(tmp_path / "config"), {})
    return await resolver.target(fleet.hosts[name])


async def test_config_fills_what_the_inventory_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "more").write_text(f"Host kvm*\n  User deploy\n  Port 2200\n  IdentityFile {tmp_path}/key-%n\n")
    (tmp_path / "key-kvm1").write_text("")
    config = f"Include {tmp_path}/more\nHost kvm1\n  HostName 10.0.0.1\n  HostKeyAlias db\n"
    target = await resolve(tmp_path, config, "db1", Host("db1", "kvm1"))
    assert (target.label, target.host, target.user, target.port) == ("db1", "10.0.0.1", "deploy", 2200)
    assert (target.host_key_alias, target.identities) == ("db", (f"{tmp_path}/key-kvm1",))
    assert target.known_hosts[-1] == str(tmp_path / "own")


async def test_the_inventory_wins(tmp_path: Path) -> None:
    host = Host("kvm1", "kvm1", port=22, user="root", key="/k", known_hosts="/kh")
    target = await resolve(tmp_path, "Host *\n  User deploy\n  Port 2200\n  IdentityFile /other\n", "kvm1", host)
    assert (target.user, target.port, target.identities, target.identities_only) == ("root", 22, ("/k",), True)
    assert target.known_hosts == ("/kh", str(tmp_path / "own"))


@pytest.mark.parametrize(
    ("word", "policy"), [("accept-new", "accept-new"), ("no", "accept-new"), ("yes", "strict"), ("ask", "strict")]
)
async def test_strictness(tmp_path: Path, word: str, policy: str) -> None:
    target = await resolve(tmp_path, f"StrictHostKeyChecking {word}\n", "kvm1", Host("kvm1", "kvm1"))
    assert target.trust is TrustPolicy(policy)


async def test_match_is_understood(tmp_path: Path) -> None:
    config = 'Match host kvm1 exec "true"\n  User matched\nMatch host kvm2 exec "false"\n  User wrong\n'
    hosts = (Host("kvm1", "kvm1"), Host("kvm2", "kvm2"))
    assert (await resolve(tmp_path, config, "kvm1", *hosts)).user == "matched"
    assert (await resolve(tmp_path, config, "kvm2", *hosts)).user != "wrong"


def chain(target: SshTarget | None) -> list[str]:
    return [*chain(target.via), f"{target.user}@{target.host}:{target.port}"] if target else []


async def test_jump_chains(tmp_path: Path) -> None:
    config = "Host hidden\n  ProxyJump a@first:2201,second\nHost second\n  User b\nHost none\n  ProxyJump none\n"
    hosts = (Host("hidden", "hidden", user="u"), Host("none", "none", user="u"))
    hosts += (Host("own", "own", user="u", jump=("gate",)), Host("gate", "10.1.1.1", user="g", port=2022))
    assert chain(await resolve(tmp_path, config, "hidden", *hosts)) == ["a@first:2201", "b@second:22", "u@hidden:22"]
    assert chain(await resolve(tmp_path, config, "none", *hosts)) == ["u@none:22"]
    assert chain(await resolve(tmp_path, config, "own", *hosts)) == ["g@10.1.1.1:2022", "u@own:22"]


async def test_circles_and_broken_files_are_findings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await resolve(tmp_path, "", "a", Host("a", "a", jump=("b",)), Host("b", "b", jump=("a",)))
    assert caught.value.code == "NF-SSH-120"
    with pytest.raises(ConfigError) as caught:
        await resolve(tmp_path, "NoSuchWord yes\n", "a", Host("a", "a"))
    assert caught.value.code == "NF-SSH-121" and "nosuchword" in caught.value.cause.lower()
    assert "\r" not in caught.value.cause


async def test_a_thousand_alike_hosts_cost_one_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("Host odd\n  User odd\nHost *\n  User all\n")
    hosts = [Host(f"kvm{n}", f"kvm{n}") for n in range(1000)]
    resolver = Resolver(Fleet({}, {}), tmp_path / "own", SshConfig(tmp_path / "config"), {})
    targets = [await resolver.target(host) for host in (*hosts, Host("odd", "odd"))]
    assert {target.user for target in targets[:-1]} == {"all"} and targets[-1].user == "odd"
    assert [target.host for target in targets[:3]] == ["kvm0", "kvm1", "kvm2"]
    assert len(resolver.config._answers) == 2


async def test_a_file_of_known_hosts_for_each_host(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"UserKnownHostsFile {tmp_path}/known/%h\nIdentityAgent {tmp_path}/agent-%n\n")
    resolver = Resolver(Fleet({}, {}), tmp_path / "own", SshConfig(tmp_path / "config"), {})
    for name in ("kvm1", "kvm2"):
        target = await resolver.target(Host(name, name))
        assert (target.known_hosts[0], target.agent) == (f"{tmp_path}/known/{name}", f"{tmp_path}/agent-{name}")


async def test_tokens_and_variables(tmp_path: Path) -> None:
    node = socket.gethostname()
    key = tmp_path / f"key-{os.getuid()}-{node}-{node.partition('.')[0]}-db"
    key.write_text("")
    config = "IdentityFile ${KEYS}/key-%i-%l-%L-%k\nHostKeyAlias db\nHost kvm1\n  ProxyJump me@corp@gate-%n:2222\n"
    (tmp_path / "config").write_text(config)
    resolver = Resolver(Fleet({}, {}), tmp_path / "own", SshConfig(tmp_path / "config"), {"KEYS": str(tmp_path)})
    target = await resolver.target(Host("kvm1", "kvm1", user="u"))
    assert target.identities == (str(key),)
    assert chain(target) == ["me@corp@gate-kvm1:2222", "u@kvm1:22"]


async def test_family_and_patience(tmp_path: Path) -> None:
    target = await resolve(tmp_path, "AddressFamily inet\nConnectTimeout 30\n", "kvm1", Host("kvm1", "kvm1"))
    assert (target.address_family, target.connect_timeout) == ("inet", 30.0)
    target = await resolve(tmp_path, "", "kvm1", Host("kvm1", "kvm1"))
    assert (target.address_family, target.connect_timeout) == ("any", 10.0)


async def test_a_match_that_hangs_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("novafleet.transport.sshconfig.ANSWER_TIMEOUT", 0.5)
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="Match exec"):
        await resolve(tmp_path, 'Match exec "sleep 20; true"\n  User wrong\n', "kvm1", Host("kvm1", "kvm1"))
    assert time.monotonic() - began < 10


async def test_a_configuration_that_nobody_can_read_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "config").write_text("Host kvm1\n  User deploy\nHost kvm2\n  User other\n")
    resolver = Resolver(Fleet({}, {}), tmp_path / "own", SshConfig(tmp_path / "config"), {})
    for name in ("kvm1", "kvm2"):
        await resolver.target(Host(name, name))
    assert [record.message for record in caplog.records].count(
        f"{tmp_path}/config does not count: ssh reads it, and there is no ssh program here"
    ) == 1


@pytest.mark.parametrize("line", ["BindAddress 127.0.0.9", "BindInterface lo", "VerifyHostKeyDNS yes"])
async def test_what_does_not_count_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str) -> None:
    await resolve(tmp_path, f"{line}\n", "kvm1", Host("kvm1", "kvm1"))
    assert [record.message.split()[1] for record in caplog.records] == [line.split()[0].lower()]


async def test_home_is_that_of_the_passwd_entry_as_to_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host never-read-by-ssh\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "never-read-by-ssh" not in survey(None).patterns
    target = await resolve(tmp_path, "UserKnownHostsFile ~/.ssh/known\n", "kvm1", Host("kvm1", "kvm1", key="~/key"))
    assert target.known_hosts[0] == f"{pwd.getpwuid(os.getuid()).pw_dir}/.ssh/known"
    assert target.identities == (f"{tmp_path}/key",)

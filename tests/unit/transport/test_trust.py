"""known_hosts as sshd(8) describes it, and what becomes of a presented key."""

import base64
import subprocess
from pathlib import Path

import pytest

from novafleet.errors import TrustError
from novafleet.model.fleet import TrustPolicy
from novafleet.transport.trust import HostKey, Judgement, KnownHosts, KnownKeys, OwnKnownHosts, judge

ONE, TWO = (HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + bytes([n]) * 36) for n in (1, 2))


def known(tmp_path: Path, *lines: str) -> KnownHosts:
    (tmp_path / "known").write_text("\n".join(lines))
    return KnownHosts.read([tmp_path / "known", tmp_path / "missing"])


@pytest.mark.parametrize(
    ("patterns", "host", "port", "found"),
    [
        ("kvm1", "kvm1", 22, True),
        ("KVM1", "kvm1", 22, True),
        ("kvm1", "kvm2", 22, False),
        ("kvm1,10.0.0.1", "10.0.0.1", 22, True),
        ("kvm1", "kvm1", 2222, True),
        ("[kvm1]:2222", "kvm1", 2222, True),
        ("[kvm1]:2222", "kvm1", 22, False),
        ("*.lab", "kvm1.lab", 22, True),
        ("*.lab,!kvm1.lab", "kvm1.lab", 22, False),
        ("[*.lab]:2222", "kvm1.lab", 2222, True),
        ("kvm?", "kvm1", 22, True),
    ],
)
def test_patterns(tmp_path: Path, patterns: str, host: str, port: int, found: bool) -> None:
    keys = known(tmp_path, "# a comment", "", "not a line", f"{patterns} {ONE} comment").of(host, port)
    assert keys.keys == ((ONE,) if found else ())
    assert keys.places == ((f"{tmp_path}/known:4",) if found else ())


def test_hashed(tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"kvm1 {ONE}\n[kvm1]:2222 {TWO}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", tmp_path / "known"], check=True, capture_output=True)
    hosts = KnownHosts.read([tmp_path / "known"])
    assert (hosts.of("kvm1").keys, hosts.of("kvm1", 2222).keys, hosts.of("kvm2").keys) == ((ONE,), (TWO,), ())


def test_markers(tmp_path: Path) -> None:
    keys = known(tmp_path, f"@cert-authority *.lab {ONE}", f"@revoked * {TWO}").of("kvm1.lab")
    assert (keys.keys, keys.authorities, keys.revoked) == ((), (ONE,), (TWO,))


def test_the_name_without_port_speaks_for_a_port_as_in_ssh(tmp_path: Path) -> None:
    """Ports of one address lead to several machines; who revoked a key, or trusts an authority, meant it anyway."""
    keys = known(tmp_path, f"kvm1 {ONE}").of("kvm1", 2222)
    assert judge("kvm1", ONE, keys, TrustPolicy.STRICT) == Judgement()
    assert judge("kvm1", TWO, keys, TrustPolicy.ACCEPT_NEW) == Judgement(record=True)
    for alias in (known(tmp_path, f"db {ONE}").of("db", 2222, alias=True), known(tmp_path, f"kvm1 {ONE}").of("kvm1")):
        with pytest.raises(TrustError, match="changed"):
            judge("kvm1", TWO, alias, TrustPolicy.ACCEPT_NEW)
    revoked = known(tmp_path, f"kvm1 {ONE}", f"@revoked [kvm1]:2222 {ONE}").of("kvm1", 2222)
    with pytest.raises(TrustError, match="revoked"):
        judge("kvm1", ONE, revoked, TrustPolicy.STRICT)
    authority = known(tmp_path, f"kvm1 {ONE}", f"@cert-authority * {TWO}").of("kvm1", 2222)
    assert (authority.keys, set(authority.authorities)) == ((ONE,), {TWO})


UNKNOWN, SAME, OTHER = KnownKeys(), KnownKeys((ONE,), places=("f:1",)), KnownKeys((TWO,), places=("f:7",))


@pytest.mark.parametrize(
    ("keys", "policy", "pin", "expected"),
    [
        (SAME, TrustPolicy.STRICT, "", "pass"),
        (UNKNOWN, TrustPolicy.STRICT, "", "NF-SSH-201"),
        (OTHER, TrustPolicy.STRICT, "", "NF-SSH-202"),
        (UNKNOWN, TrustPolicy.ACCEPT_NEW, "", "record"),
        (OTHER, TrustPolicy.ACCEPT_NEW, "", "NF-SSH-202"),
        (UNKNOWN, TrustPolicy.PINNED, ONE.fingerprint, "pass"),
        (SAME, TrustPolicy.PINNED, TWO.fingerprint, "NF-SSH-202"),
        (SAME, TrustPolicy.PINNED, "", "NF-SSH-202"),
        (KnownKeys((ONE,), revoked=(ONE,), places=("f:1",)), TrustPolicy.STRICT, "", "NF-SSH-203"),
    ],
)
def test_judgement(keys: KnownKeys, policy: TrustPolicy, pin: str, expected: str) -> None:
    try:
        outcome = "record" if judge("kvm1", ONE, keys, policy, pin).record else "pass"
    except TrustError as error:
        outcome = error.code
        assert ONE.fingerprint in error.cause
        assert keys is not OTHER or f"{TWO.fingerprint} (f:7)" in error.cause
    assert outcome == expected


def test_own_file_replaces_only_its_own_entry(tmp_path: Path) -> None:
    own = OwnKnownHosts(tmp_path / "folder" / "known_hosts")
    for host, port, key in (("KVM1", 22, ONE), ("kvm1", 2222, ONE), ("kvm2", 22, ONE), ("kvm1", 22, TWO)):
        own.add(host, port, key)
    hosts = KnownHosts.read([own.path])
    assert [hosts.of("kvm1").keys, hosts.of("kvm1", 2222).keys, hosts.of("kvm2").keys] == [(TWO,), (ONE,), (ONE,)]
    assert own.path.stat().st_mode & 0o777 == 0o600


def test_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key"], check=True, capture_output=True, text=True).stdout
    key = HostKey.parse((tmp_path / "key.pub").read_text())
    assert key.fingerprint == shown.split()[1]
    assert base64.b64encode(key.blob).decode() in str(key)

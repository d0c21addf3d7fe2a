"""URLs of repositories: what each leads to, and what is refused."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import pytest

from novafleet.errors import ConfigError, NovaFleetError
from novafleet.model.secret import Secret
from novafleet.objectstore import libnfs, s3
from novafleet.objectstore.credentials import Credentials, find
from novafleet.objectstore.directory import DirectoryStore
from novafleet.objectstore.nfs import Export
from novafleet.objectstore.open import open_store
from novafleet.objectstore.s3 import Address, S3Store

KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_CONFIG_FILE": "/dev/null"}


def test_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for url in (
        f"{tmp_path}/backup",
        "backup",
        "~/backup",
        "./backup",
        f"file://{tmp_path}/backup",
        f"file://localhost{tmp_path}/backup",
    ):
        store = open_store(url)
        assert isinstance(store, DirectoryStore)
        assert store.url == str(tmp_path / "backup")
    assert open_store("file:///srv/with%20space").url == "/srv/with space"
    assert open_store("./2027-01-01T10:00").url == str(tmp_path / "2027-01-01T10:00")
    assert not list(tmp_path.iterdir()), "nothing is made before something is written"


S3_URLS = {
    "s3://b": Address("b"),
    "s3://b/some/prefix/": Address("b", "some/prefix"),
    "s3://b/p?endpoint=http://h:9000&region=eu-west-1": Address("b", "p", "http://h:9000", "eu-west-1"),
    "s3://b/p?endpoint=https%3A%2F%2Fs3.example.org%2F&style=virtual": Address(
        "b", "p", "https://s3.example.org", virtual_host=True
    ),
}


@pytest.mark.parametrize("url", S3_URLS)
def test_buckets(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Address] = []
    monkeypatch.setattr(s3, "_client", lambda address, _credentials, **_: seen.append(address))
    store = open_store(url, KEYS)
    assert isinstance(store, S3Store)
    assert store.url == url
    assert set(seen) == {S3_URLS[url]}


def test_buckets_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Address] = []
    monkeypatch.setattr(s3, "_client", lambda address, _credentials, **_: seen.append(address))
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----")
    place = {"AWS_ENDPOINT_URL": "https://h", "AWS_DEFAULT_REGION": "here", "AWS_CA_BUNDLE": str(authority)}
    open_store("s3://b", {**KEYS, **place})
    assert seen[0] == Address("b", "", "https://h", "here", authority="-----BEGIN CERTIFICATE-----")


def test_the_region_that_aws_configure_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Address] = []
    monkeypatch.setattr(s3, "_client", lambda address, _credentials, **_: seen.append(address))
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\ns3 =\n  max_queue_size = 9\n[profile far]\nregion = ap-south-1\n")
    aws = {**KEYS, "AWS_CONFIG_FILE": str(config)}
    cases: dict[str, tuple[str, dict[str, str]]] = {
        "eu-west-1": ("", {}),
        "ap-south-1": ("", {"AWS_PROFILE": "far"}),
        "eu-north-1": ("", {"AWS_REGION": "eu-north-1"}),
        "here": ("?region=here", {}),
        "us-east-1": ("?endpoint=http://h", {}),
    }
    for expected, (query, environ) in cases.items():
        open_store(f"s3://b{query}", {**aws, **environ})
        assert seen.pop().region == expected
    config.write_text("no section")
    open_store("s3://b", aws)
    assert seen.pop().region == "us-east-1"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libnfs 5, whether or not there is one."""
    monkeypatch.setattr("novafleet.objectstore.nfs.load", type("Library", (), {"major": 5}))


NFS_URLS = {
    "nfs://nas/export/repo": Export("nas", "/export/repo"),
    "nfs://nas:2050/export/?version=4": Export("nas", "/export", 4, 2050),
    "nfs://[fd00::1]/e%20x/r?mountport=20048&uid=0&gid=5": Export("fd00::1", "/e x/r", mountport=20048, uid=0, gid=5),
}


@pytest.mark.parametrize("url", NFS_URLS)
@pytest.mark.usefixtures("installed")
def test_exports(url: str) -> None:
    assert open_store(url)._files._export == NFS_URLS[url]  # type: ignore[attr-defined]


REFUSED = {
    "": "NF-STORE-003",
    "  ": "NF-STORE-003",
    "s4://bucket": "NF-STORE-003",
    "sftp://host/path": "NF-STORE-003",
    "ada@host:/srv/backup": "NF-STORE-003",
    "host:backup": "NF-STORE-003",
    "file:/srv/backup": "NF-STORE-003",
    "s3:https://host/bucket": "NF-STORE-003",
    "file://srv/backup": "NF-STORE-003",
    "file:///srv?x=1": "NF-STORE-003",
    "nfs://server": "NF-STORE-003",
    "nfs:///export": "NF-STORE-003",
    "nfs://server/export?version=2": "NF-STORE-003",
    "nfs://server/export?uid=root": "NF-STORE-003",
    "nfs://server:x/export": "NF-STORE-003",
    "nfs://server/export?endpoint=http://x": "NF-STORE-003",
    "s3:///prefix": "NF-STORE-003",
    "s3://bucket:9000/prefix": "NF-STORE-003",
    "s3://bucket?endpont=http://x": "NF-STORE-003",
    "s3://bucket?endpoint=x:9000": "NF-STORE-003",
    "s3://bucket?style=any": "NF-STORE-003",
    "s3://bucket?ca=/nothing/here": "NF-STORE-003",
    "s3://bucket?ca=/etc/hostname": "NF-STORE-003",
    "s3://bucket/a#b": "NF-STORE-003",
    "s3://bucket/../b": "NF-STORE-003",
    "s3://bucket/a//b": "NF-STORE-003",
    "s3://bucket/a%0ab": "NF-STORE-003",
    "s3://bucket?endpoint=http://s3 .example.org": "NF-STORE-003",
    "s3://bucket?endpoint=http://h/%0a": "NF-STORE-003",
    "s3://bucket?endpoint=http://h?x=1": "NF-STORE-003",
    "s3://bucket?region=eu west": "NF-STORE-003",
    "s3://bucket?credentials=file:~nobody.here/keys": "NF-STORE-024",
    "s3://bucket?ca=~nobody.here/ca": "NF-STORE-003",
    "~nobody.here/backup": "NF-STORE-003",
    "file:///srv/a%00b": "NF-STORE-003",
    "nfs://server/export/a%00b": "NF-STORE-003",
    "s3://AK:a-secret@bucket/prefix": "NF-STORE-004",
    "s3://bucket?endpoint=https://AK:a-secret@host": "NF-STORE-004",
    "nfs://user@server/export": "NF-STORE-004",
    "s3://bucket?access_key=AK&secret=a-secret": "NF-STORE-003",
    "s3://bucket?credentials=/etc/keys": "NF-STORE-024",
}


@pytest.mark.parametrize("url", REFUSED)
def test_refused(url: str) -> None:
    with pytest.raises(NovaFleetError) as caught:
        open_store(url, KEYS)
    assert caught.value.code == REFUSED[url]
    assert caught.value.hints
    assert "a-secret" not in str(caught.value.finding())


def test_a_misspelt_option_is_recognised() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("s3://bucket?endpont=http://x", KEYS)
    assert caught.value.hints == ("did you mean 'endpoint'?",)


CREDENTIALS = "[default]\naws_access_key_id = AK\naws_secret_access_key = a-secret\n[other]\naws_access_key_id=B\n"


@pytest.mark.parametrize(
    ("content", "query", "environ", "says"),
    [
        (None, "", {}, "there is no file"),
        (CREDENTIALS, "", {"AWS_PROFILE": "gone"}, "[gone], only: default, other"),
        (CREDENTIALS, "&profile=other", {}, "aws_secret_access_key is missing"),
        ("a-secret", "", {}, "not of the form"),
        (None, "", {"AWS_ACCESS_KEY_ID": "AK"}, "AWS_SECRET_ACCESS_KEY is missing"),
        (None, "", {**KEYS, "AWS_SESSION_TOKEN": "a-secret\nb"}, "AWS_SESSION_TOKEN has characters"),
        (None, "", {**KEYS, "AWS_ACCESS_KEY_ID": "AKé"}, "AWS_ACCESS_KEY_ID has characters"),
        (CREDENTIALS, "", {}, ""),
        (CREDENTIALS, "&profile=default", {"AWS_ACCESS_KEY_ID": "half"}, ""),
    ],
)
def test_credentials(tmp_path: Path, content: str | None, query: str, environ: dict[str, str], says: str) -> None:
    path = tmp_path / "a+b"
    if content:
        path.write_text(content)
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(path), **environ}
    url = f"s3://b?endpoint=http://h{query}"
    if not says:
        open_store(url, environ)
        open_store(f"{url}&credentials=file:{path}", {})
        return
    with pytest.raises(NovaFleetError) as caught:
        open_store(url, environ)
    assert caught.value.code == "NF-STORE-024"
    assert says in caught.value.what
    assert "a-secret" not in str(caught.value.finding())


def test_line_ends_around_credentials(tmp_path: Path) -> None:
    """Of files that were read into variables, or came from Windows."""
    path = tmp_path / "credentials"
    path.write_bytes(CREDENTIALS.replace("\n", "\r\n").encode())
    expected = Credentials("AK", Secret.of("a-secret"), Secret.of("t"))
    assert find("", "", {name: f"{text}\r\n" for name, text in {**KEYS, "AWS_SESSION_TOKEN": "t"}.items()}) == expected
    assert find(f"file:{path}", "", {}) == replace(expected, token=Secret.of(""))


def test_libnfs_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    libnfs.load.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(NovaFleetError) as caught:
        open_store("nfs://server/export")
    assert caught.value.code == "NF-STORE-030"
    assert "apt-get install libnfs13" in caught.value.hints[0]


def test_libnfs_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novafleet.objectstore.nfs.load", type("Library", (), {"major": 4}))
    open_store("nfs://server/export")
    with pytest.raises(NovaFleetError) as caught:
        open_store("nfs://server/export?version=4")
    assert caught.value.code == "NF-STORE-032"

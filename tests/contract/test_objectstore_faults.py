"""S3 that answers 500 and 503, cuts bodies short, loses replies, is slow, refuses or is not there."""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from novafleet.errors import ExitCode, MissingObjectError, NovaFleetError, Retry, StoreError
from novafleet.objectstore import s3
from novafleet.objectstore.open import open_store
from novafleet.ports import ObjectStore
from tests.faultproxy import Fault, Proxy, proxied, refusal
from tests.objectstores import BUCKET, S3Server, free_ports

BODY = random.randbytes(300_000)
PASSING = (Fault.BUSY, Fault.BROKEN, Fault.CONFLICT, Fault.LOST, Fault.HUNG_UP, Fault.SLOW)


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[Proxy]:
    async with proxied(s3_server.endpoint) as running:
        yield running


@pytest.fixture
async def store(s3_server: S3Server, proxy: Proxy) -> AsyncIterator[ObjectStore]:
    opened = open_store(s3_server.url(f"f{random.randrange(1 << 40):x}", proxy.endpoint))
    assert await opened.create("leases/first", b"")
    yield opened
    await opened.close()


@pytest.mark.parametrize("fault", PASSING)
async def test_passing_faults_are_sat_out(store: ObjectStore, proxy: Proxy, fault: Fault) -> None:
    async def twice() -> None:
        assert not proxy.faults, "the fault before was not met"
        proxy.faults = [fault] * (1 if fault is Fault.SLOW else 2)

    await twice()
    await store.put("object", BODY)
    await twice()
    assert await store.get("object") == BODY
    await twice()
    assert await store.get("object", 1000, 50_000) == BODY[1000:51_000]
    await twice()
    assert (await store.stat("object")).size == len(BODY)
    await twice()
    assert [found.key async for found in store.list("object/")] == []
    await twice()
    await store.delete("object")
    with pytest.raises(MissingObjectError):
        await store.get("object")


async def test_bodies_cut_short(store: ObjectStore, proxy: Proxy) -> None:
    await store.put("object", BODY)
    proxy.faults = [Fault.CUT, Fault.CUT, Fault.BUSY, Fault.CUT]
    assert await store.get("object") == BODY
    proxy.faults = [Fault.CUT]
    assert await store.get("object", 7, 100_000) == BODY[7:100_007]
    proxy.faults = [Fault.CUT, Fault.CUT]
    assert [found.key async for found in store.list("")] == ["leases/first", "object"]
    assert not proxy.faults


@pytest.mark.parametrize("faults", [[fault] for fault in PASSING] + [[Fault.LOST, Fault.BUSY, Fault.HUNG_UP]], ids=str)
async def test_a_lost_reply_is_settled_by_reading(store: ObjectStore, proxy: Proxy, faults: list[Fault]) -> None:
    proxy.faults = list(faults)
    assert await store.create("leases/ours", b"ours"), "whoever wrote it has won, whatever became of the answer"
    proxy.faults = list(faults)
    assert not await store.create("leases/ours", b"theirs")
    assert not proxy.faults
    assert await store.get("leases/ours") == b"ours"


async def test_each_write_is_one_request(store: ObjectStore, proxy: Proxy) -> None:
    proxy.seen.clear()
    large = random.randbytes(12 << 20)
    await store.put("object", large)
    assert await store.create("other", large)
    assert [line.split()[0] for line in proxy.seen] == ["PUT", "PUT"]


async def test_patience_ends(store: ObjectStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_patience", 0.5)
    proxy.faults = [Fault.BUSY] * 1000
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await store.put("object", b"")
    assert time.monotonic() - began < 5
    assert (caught.value.code, caught.value.retry) == ("NF-STORE-023", Retry.LATER)
    assert "503" in caught.value.cause
    proxy.faults = [Fault.LOST] * 1000
    monkeypatch.setattr(store, "_patience", 0.5)
    with pytest.raises(StoreError):
        await store.get("leases/first")
    proxy.faults = []
    assert await store.get("leases/first") == b""


async def _error(url: str, environ: dict[str, str] | None = None) -> NovaFleetError:
    store = open_store(url, environ or {})
    with pytest.raises(NovaFleetError) as caught:
        await store.put("object", b"x")
    with pytest.raises(NovaFleetError) as read:
        await store.get("object")
    assert read.value.code == caught.value.code
    await store.close()
    assert url.partition("?")[0] in str(caught.value.where)
    assert "SKTEST" not in str(caught.value.finding()), "a secret in an error"
    assert caught.value.exit_code is ExitCode.FAILED
    return caught.value


async def test_credentials_that_are_wrong(s3_server: S3Server) -> None:
    for key, secret in (("AKTEST", "SKTESTwrong"), ("NOBODY", "SKTESTsecret123")):
        environ = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        found = await _error(f"s3://{BUCKET}/x?endpoint={s3_server.endpoint}", environ)
        assert (found.code, found.retry) == ("NF-STORE-020", Retry.AFTER_FIX)
        assert found.cause.startswith("403 ")


REASONS = {
    "RequestTimeTooSkewed": ("403 Forbidden", "NF-STORE-020", "clocks", "date -u"),
    "AccessDenied": ("403 Forbidden", "NF-STORE-020", "does not let these credentials do that", "s3:ListBucket"),
    "InvalidAccessKeyId": ("403 Forbidden", "NF-STORE-020", "refused these credentials", "AWS_ACCESS_KEY_ID"),
    "AuthorizationHeaderMalformed": ("400 Bad Request", "NF-STORE-023", "another region", "region=eu-west-1"),
    "PermanentRedirect": ("301 Moved Permanently", "NF-STORE-023", "another region", "region=NAME"),
    "SlowDown": ("503 Slow Down", "NF-STORE-023", "failed", ""),
}


async def test_variables_that_only_the_client_knows(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SKIP_SIGNATURE": "true", "CONDITIONAL_PUT": "disabled", "SESSION_TOKEN": "another's"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store = open_store(s3_url)
    assert [await store.create("leases/a", body) for body in (b"1", b"2")] == [True, False]
    await store.close()


@pytest.mark.parametrize("reason", REASONS)
async def test_each_refusal_says_what_to_do(
    s3_server: S3Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.0)
    status, code, what, hint = REASONS[reason]
    words = f"the region 'us-east-1' is wrong; expecting '{'eu-west-1' if status.startswith('400') else ''}'"
    document = f"<Error><Code>{reason}</Code><Message>{words}</Message></Error>"

    def refused(head: bytes) -> bytes:
        answer = refusal(status, document)
        return answer.partition(document.encode())[0] if head.startswith(b"HEAD ") else answer

    proxy.refused = refused
    url = s3_server.url("x", proxy.endpoint)
    found = await _error(url)
    store = open_store(url)
    with pytest.raises(NovaFleetError) as looked:
        await store.stat("object")
    await store.close()
    for each in (found, looked.value):
        assert (each.code, what in each.what, any(hint in line for line in each.hints or ("",))) == (code, True, True)


async def test_a_bucket_that_is_not_there(rclone_server: S3Server) -> None:
    found = await _error(rclone_server.url("x").replace(BUCKET, "nosuchbucket", 1))
    assert (found.code, found.retry) == ("NF-STORE-021", Retry.AFTER_FIX)


async def test_an_endpoint_that_is_not_there(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.3)
    for endpoint in (f"http://127.0.0.1:{free_ports(1)[0]}", "http://no-such-host.invalid"):
        found = await _error(s3_server.url("x", endpoint))
        assert (found.code, found.retry) == ("NF-STORE-022", Retry.LATER)
        assert found.cause
    found = await _error(s3_server.url("x", s3_server.endpoint.replace("http:", "https:")))
    assert (found.code, found.cause) == ("NF-STORE-022", "what answers there speaks no TLS")


def certificate(folder: Path) -> Path:
    """An authority nobody knows (``ca.pem``), and what it says of 127.0.0.1 (``leaf.pem``, ``leaf.key``)."""
    request = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority, key = folder / "ca.pem", folder / "ca.key"
    subprocess.run((*request, "-subj", "/CN=authority", "-keyout", key, "-out", authority), check=True)
    names = ("-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
    files = ("-keyout", folder / "leaf.key", "-out", folder / "leaf.pem")
    subprocess.run((*request, "-CA", authority, "-CAkey", key, *names, *files), check=True)
    return authority


async def test_a_private_authority(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.1)
    authority = await asyncio.to_thread(certificate, tmp_path)
    authority.write_text(f"# Főtanúsítvány\n{authority.read_text()}", "utf-8")  # bundles say whose each is
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    async with proxied(s3_server.endpoint, tls) as proxy:
        url = s3_server.url("tls", proxy.endpoint)
        found = await _error(url)
        assert (found.code, found.cause) == ("NF-STORE-022", "its certificate: UnknownIssuer")
        store = open_store(f"{url}&ca={authority}")
        assert [await store.create("object", BODY) for _ in range(2)] == [True, False]
        assert await store.get("object") == BODY
        await store.delete("object")
        await store.close()


def self_signed(folder: Path, *, authority: bool) -> ssl.SSLContext:
    """A server's certificate as ``openssl req -x509`` makes it, which says of itself that it is an authority."""
    kind = f"basicConstraints=critical,CA:{'TRUE' if authority else 'FALSE'}"
    says = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", kind)
    made = ("-subj", "/CN=nas", "-keyout", folder / "own.key", "-out", folder / "own.pem")
    request = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run((*request, *made, *says), check=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "own.pem", folder / "own.key")
    return tls


async def test_a_certificate_of_its_own(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST_PATIENCE", 0.1)
    tls = await asyncio.to_thread(self_signed, tmp_path, authority=True)
    async with proxied(s3_server.endpoint, tls) as proxy:
        found = await _error(f"{s3_server.url('tls', proxy.endpoint)}&ca={tmp_path}/own.pem")
        assert found.cause == "its certificate: CaUsedAsEndEntity"
        assert "CA:FALSE" in found.hints[1]
    tls = await asyncio.to_thread(self_signed, tmp_path, authority=False)
    async with proxied(s3_server.endpoint, tls) as proxy:
        store = open_store(f"{s3_server.url('tls', proxy.endpoint)}&ca={tmp_path}/own.pem")
        await store.put("object", BODY)
        await store.close()


LOCKED = (
    "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object "
    "requests with Object Lock parameters</Message></Error>"
)


async def test_a_bucket_with_a_default_retention(s3_server: S3Server, proxy: Proxy) -> None:
    """AWS wants a checksum of every body there; SeaweedFS, which does not, checks those it gets."""

    def refused(head: bytes) -> bytes:
        bare = head.startswith(b"PUT ") and b"x-amz-checksum-sha256" not in head
        return refusal("400 Bad Request", LOCKED) if bare else b""

    proxy.refused = refused
    for verb in ("put", "create"):
        store = open_store(s3_server.url(f"f{random.randrange(1 << 40):x}", proxy.endpoint))
        if verb == "put":
            await store.put("object", BODY)
        assert [await store.create("snapshots/one", body) for body in (b"1", b"2")] == [True, False]
        proxy.seen.clear()
        await store.put("object", BODY[::-1])
        assert [line[:4] for line in proxy.seen] == ["PUT "], "once it is known, nothing is sent twice"
        assert await store.get("object") == BODY[::-1]
        await store.close()


async def test_the_process_ends_as_it_should(s3_url: str) -> None:
    """obstore's asynchronous calls end some processes with SIGABRT; ours are blocking ones in threads."""
    program = (
        "import asyncio, sys\n"
        "from novafleet.objectstore.open import open_store\n"
        "from novafleet.errors import MissingObjectError\n"
        "async def main():\n"
        "    store = open_store(sys.argv[1])\n"
        "    try: await store.get('nothing')\n"
        "    except MissingObjectError: pass\n"
        "asyncio.run(main())\n"
    )
    for _ in range(6):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, s3_url)
        assert await process.wait() == 0

"""Notifications, with a real mail server and a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import ssl
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from novafleet.errors import NotifyError, Retry
from novafleet.model.policy import Email, Notify, Webhook
from novafleet.notify import mail
from novafleet.notify.message import Message, secret_of
from novafleet.notify.send import PAUSES, send
from tests.unit.schedule.test_scheduled_run import Clock

SECRET = "correct horse"
MESSAGE = Message(
    "failure", "[novafleet] dev: FAILED\r\nBcc: x@y", "dev: FAILED\n  kvm1/dev-db …\n", {"run": {}}, 1.8e9
)


@dataclass
class Post:
    """What a mail server was given; ``refuses`` is answered to every message."""

    mails: list[EmailMessage] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return self.refuses.pop(0)
        self.to += envelope.rcpt_tos
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == SECRET.encode(), handled=False)


@pytest.fixture
def post() -> Post:
    return Post()


@asynccontextmanager
async def serving(post: Post, **options: Any) -> AsyncIterator[int]:
    """A mail server on this machine; its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(post, hostname="mail", **options), "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


@pytest.fixture
async def mailserver(post: Post) -> AsyncIterator[int]:
    async with serving(post) as port:
        yield port


def email(at: int, **more: Any) -> Email:
    values = {"to": ("ops@example.org", "b@example.org"), "sender": "nf@example.org", "starttls": False, **more}
    return Email(server="127.0.0.1", port=at, **values)


async def test_a_mail_arrives(mailserver: int, post: Post) -> None:
    clock = Clock()
    assert await send(Notify(email=email(mailserver)), MESSAGE, clock) == (
        ("mail to ops@example.org, b@example.org", None),
    )
    found = post.mails[0]
    assert found["Subject"] == "[novafleet] dev: FAILED Bcc: x@y", "no header can be smuggled in"
    assert found["Bcc"] is None
    assert (found["X-NovaFleet-Event"], found["Auto-Submitted"]) == ("failure", "auto-generated")
    assert found.get_content().splitlines() == MESSAGE.text.splitlines()
    assert post.to == ["ops@example.org", "b@example.org"]
    assert clock.slept == []


async def test_not_now_is_tried_again(mailserver: int, post: Post) -> None:
    post.refuses = ["451 greylisted", "451 greylisted"]
    clock = Clock()
    assert (await send(Notify(email=email(mailserver)), MESSAGE, clock))[0][1] is None
    assert clock.slept == list(PAUSES[:2])


@pytest.mark.parametrize(("answer", "tries"), [("550 no such user", 1), ("451 greylisted", 4)])
async def test_a_refusal_is_told(mailserver: int, post: Post, answer: str, tries: int) -> None:
    post.refuses = [answer] * 9
    clock = Clock()
    error = (await send(Notify(email=email(mailserver)), MESSAGE, clock))[0][1]
    assert error is not None
    assert error.code == "NF-NOTIFY-001"
    assert answer[4:] in error.cause
    assert len(post.refuses) == 9 - tries


async def test_nobody_listens() -> None:
    clock = Clock()
    error = (await send(Notify(email=email(1)), MESSAGE, clock))[0][1]
    assert error is not None
    assert error.cause
    assert clock.slept == list(PAUSES)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*words, *names], check=True, capture_output=True, timeout=60)
    return made, key


@pytest.fixture
async def secure(post: Post, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """A mail server that wants STARTTLS and a login."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    login = {"auth_required": True, "authenticator": post.login}
    async with serving(post, tls_context=context, require_starttls=True, **login) as port:
        yield port


async def test_encrypted_and_logged_in(
    secure: int, post: Post, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    wanted = email(secure, starttls=True, user="nf", password="env:SMTP_PASSWORD")
    assert (await send(Notify(email=wanted), MESSAGE, Clock()))[0][1] is None
    assert post.logins == [(b"nf", SECRET.encode())]
    assert len(post.mails) == 1


async def test_a_wrong_password_is_not_repeated_nor_shown(
    secure: int, post: Post, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("SMTP_PASSWORD", "hunter2")
    wanted = email(secure, starttls=True, user="nf", password="env:SMTP_PASSWORD")
    error = (await send(Notify(email=wanted), MESSAGE, Clock()))[0][1]
    assert error is not None
    assert "535" in error.cause
    assert "hunter2" not in json.dumps(error.finding())
    assert len(post.logins) == 2, "smtplib tries PLAIN, then LOGIN; we do not repeat it"


async def test_a_certificate_nobody_vouches_for(secure: int, post: Post) -> None:
    clock = Clock()
    error = (await send(Notify(email=email(secure, starttls=True)), MESSAGE, clock))[0][1]
    assert error is not None
    assert "certificate" in error.cause.lower()
    assert (post.mails, clock.slept) == ([], [])


async def test_a_server_without_encryption(mailserver: int, post: Post) -> None:
    error = (await send(Notify(email=email(mailserver, starttls=True)), MESSAGE, Clock()))[0][1]
    assert error is not None
    assert "STARTTLS" in error.cause
    assert post.mails == [], "nothing goes in the clear"


@dataclass
class Receiver:
    """A web server: what it was sent, and the statuses it answers, 204 when there are no more."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(({key.lower(): value for key, value in self.headers.items()}, body))
            status = found.answers.pop(0) if found.answers else 204
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", found.url + "elsewhere")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/hook/t0ken/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def genuine(header: str, secret: bytes, body: bytes, now: float) -> bool:
    """What docs/guides/schedules.md tells receivers to do."""
    match = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", header)
    if not match or abs(now - int(match[1])) > 300:
        return False
    wanted = hmac.new(secret, match[1].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, match[2])


async def test_a_webhook_is_signed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    hook = Webhook(receiver.url, f"file:{tmp_path}/secret")
    clock = Clock()
    assert await send(Notify(webhook=hook), MESSAGE, clock) == (("webhook", None),)
    headers, body = receiver.requests[0]
    signature = headers["x-novafleet-signature"]
    assert genuine(signature, SECRET.encode(), body, clock.now())
    assert not genuine(signature, b"other", body, clock.now())
    assert not genuine(signature, SECRET.encode(), body + b" ", clock.now())
    assert not genuine(signature, SECRET.encode(), body, clock.now() + 301)
    assert (headers["content-type"], headers["x-novafleet-event"]) == ("application/json", "failure")
    assert json.loads(body)["event"] == "failure"
    assert SECRET not in body.decode()


async def test_a_webhook_without_secret_is_not_signed(receiver: Receiver) -> None:
    await send(Notify(webhook=Webhook(receiver.url)), MESSAGE, Clock())
    assert "x-novafleet-signature" not in receiver.requests[0][0]


@pytest.mark.parametrize(
    ("answers", "requests"),
    [([503, 429], 3), ([500] * 4, 4), ([404], 1), ([401], 1), ([302], 1), ([307], 1)],
)
async def test_what_is_tried_again(receiver: Receiver, answers: list[int], requests: int) -> None:
    receiver.answers = list(answers)
    error = (await send(Notify(webhook=Webhook(receiver.url)), MESSAGE, Clock()))[0][1]
    assert len(receiver.requests) == requests
    if requests == 3:
        assert error is None
        return
    assert error is not None
    assert f"HTTP {answers[-1]}" in error.cause
    assert "t0ken" not in json.dumps(error.finding()), "the path of a hook is often its secret"


async def test_one_that_fails_does_not_keep_the_other(receiver: Receiver) -> None:
    told = await send(Notify(email=email(1), webhook=Webhook(receiver.url)), MESSAGE, Clock())
    assert [bool(error) for _, error in told] == [True, False]
    assert len(receiver.requests) == 1


async def test_a_lacking_secret_is_told_and_nothing_sent(receiver: Receiver) -> None:
    told = await send(Notify(webhook=Webhook(receiver.url, "env:NO_SUCH_VARIABLE")), MESSAGE, Clock())
    assert told[0][1] is not None
    assert told[0][1].code == "NF-NOTIFY-004"
    assert receiver.requests == []


def test_where_secrets_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_bytes(b"a b\r\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret_of("credential:one").reveal() == b"a b"
    assert secret_of(f"file:{tmp_path}/one").reveal() == b"a b"
    with pytest.raises(NotifyError):
        secret_of("credential:two")


async def test_apprise_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    told = await send(Notify(apprise=("env:NTFY",)), MESSAGE, Clock())
    assert told[0][1] is not None
    assert told[0][1].code == "NF-NOTIFY-003"
    assert "pip install" in told[0][1].hints[0]


async def test_apprise_is_given_the_url(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A stand-in with apprise's interface (https://github.com/caronc/apprise/wiki/Development_API)."""
    given: list[Any] = []

    class Apprise:
        def add(self, url: str) -> bool:
            given.append(url)
            logging.getLogger("apprise").warning("url %s", url)
            return url.startswith("ntfy://")

        def notify(self, **said: Any) -> bool:
            given.append(said)
            return True

    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Apprise))  # type: ignore[arg-type]
    monkeypatch.setenv("NTFY", "ntfy://t0ken@example.org")
    monkeypatch.setenv("WRONG", "t0ken")
    assert (await send(Notify(apprise=("env:NTFY",)), MESSAGE, Clock()))[0][1] is None
    assert given[1]["notify_type"] == "failure"
    wrong = (await send(Notify(apprise=("env:WRONG",)), MESSAGE, Clock()))[0][1]
    assert wrong is not None
    assert wrong.retry is Retry.AFTER_FIX
    assert "t0ken" not in str(wrong) + caplog.text


def test_the_limit_of_patience() -> None:
    assert mail.SECONDS * (len(PAUSES) + 1) + sum(PAUSES) < 200
    assert asyncio.iscoroutinefunction(send)

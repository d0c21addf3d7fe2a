"""Mail by SMTP."""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from novafleet.errors import NotifyError, Retry
from novafleet.model.policy import Email
from novafleet.notify.message import Message, secret_of

SECONDS = 30.0
IMPLICIT_TLS = 465


def send(email: Email, message: Message) -> None:
    """Hand it to the mail server; blocks. Raises NotifyError NF-NOTIFY-001: worth a retry when the server was not
    reached or said "not now" (4xx)."""
    try:
        with _connected(email) as server:
            if email.user:
                server.login(email.user, secret_of(email.password).reveal().decode())
            server.send_message(_mail(email, message))
    except smtplib.SMTPRecipientsRefused as exc:
        code, said = next(iter(exc.recipients.values()))
        raise _undelivered(email, f"{code} {said.decode(errors='replace')}", temporary=code < 500) from exc
    except smtplib.SMTPResponseException as exc:
        reply: str | bytes = exc.smtp_error
        words = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
        raise _undelivered(email, f"{exc.smtp_code} {words}", temporary=exc.smtp_code < 500) from exc
    except (smtplib.SMTPNotSupportedError, ssl.SSLError) as exc:
        raise _undelivered(email, str(exc), temporary=False) from exc
    except (smtplib.SMTPException, OSError) as exc:
        raise _undelivered(email, str(exc), temporary=True) from exc


def _connected(email: Email) -> smtplib.SMTP:
    trusted = ssl.create_default_context()
    if email.port == IMPLICIT_TLS:
        return smtplib.SMTP_SSL(email.server, email.port, timeout=SECONDS, context=trusted)
    server = smtplib.SMTP(email.server, email.port, timeout=SECONDS)
    if not email.starttls:
        return server
    try:
        server.starttls(context=trusted)
    except (smtplib.SMTPException, OSError):
        server.close()
        raise
    return server


def _mail(email: Email, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = email.sender, ", ".join(email.to)
    mail["Subject"] = " ".join(message.subject.split())
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    mail["Message-ID"] = make_msgid(domain=email.sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday reply is wanted
    mail["X-NovaFleet-Event"] = message.event
    mail.set_content(message.text)
    return mail


def _undelivered(email: Email, cause: str, *, temporary: bool) -> NotifyError:
    return NotifyError(
        f"no mail to {', '.join(email.to)}",
        where=f"{email.server}:{email.port}",
        cause=cause,
        retry=Retry.LATER if temporary else Retry.AFTER_FIX,
    )

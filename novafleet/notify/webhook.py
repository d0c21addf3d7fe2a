"""A JSON document by HTTP POST, signed.

``X-NovaFleet-Signature: t=SECONDS,v1=HEX``: ``t`` is the time of sending (seconds since the epoch), ``v1`` the
HMAC-SHA256, with the shared secret, of ``t``, a dot and the body. A receiver computes it again, compares in constant
time, and refuses what is too old: so that nothing can be forged, changed, or sent again later.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import urllib.error
import urllib.request

from novafleet.errors import NotifyError, Retry
from novafleet.model.policy import Webhook
from novafleet.model.secret import Secret
from novafleet.notify.message import Message, secret_of

HEADER = "X-NovaFleet-Signature"
SECONDS = 30.0
_LATER = (408, 425, 429)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET without a body, perhaps to somebody else: it is refused."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def send(webhook: Webhook, message: Message, now: float) -> None:
    """Post it; blocks. Raises NotifyError NF-NOTIFY-002: worth a retry unless the server refused it (4xx)."""
    body = json.dumps({"event": message.event, "subject": message.subject, **message.document}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "novafleet", "X-NovaFleet-Event": message.event}
    if webhook.secret:
        headers[HEADER] = signature(secret_of(webhook.secret), body, int(now))
    request = urllib.request.Request(webhook.url, data=body, headers=headers, method="POST")  # noqa: S310 - the schema lets only http and https in
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
            answer.read(1)
    except urllib.error.HTTPError as exc:
        with exc:
            temporary = exc.code >= 500 or exc.code in _LATER
            raise _undelivered(webhook, f"HTTP {exc.code} {exc.reason}", temporary=temporary) from exc
    except (OSError, http.client.HTTPException) as exc:
        raise _undelivered(webhook, str(exc), temporary=True) from exc


def signature(secret: Secret, body: bytes, at: int) -> str:
    """The header's value for a body sent at ``at``."""
    digest = hmac.new(secret.reveal(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _undelivered(webhook: Webhook, cause: str, *, temporary: bool) -> NotifyError:
    # a hook's path is often its secret
    server = "/".join(webhook.url.split("/")[:3])
    return NotifyError(
        "the webhook did not take it",
        code="NF-NOTIFY-002",
        where=server,
        cause=cause,
        retry=Retry.LATER if temporary else Retry.AFTER_FIX,
    )

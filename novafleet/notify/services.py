"""Whatever apprise knows: chats, pagers, phones. An extra: ``pip install 'novafleet[notify]'``."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from novafleet.errors import NotifyError, Retry
from novafleet.notify.message import Message, secret_of

KINDS = {"failure": "failure", "success": "success", "missed": "warning"}


def send(reference: str, message: Message) -> None:
    """Hand it to the service whose URL is at ``reference``; blocks. Raises NotifyError NF-NOTIFY-003."""
    try:
        apprise: Any = importlib.import_module("apprise")
    except ImportError as exc:
        raise NotifyError(
            "apprise is not installed",
            code="NF-NOTIFY-003",
            cause=str(exc),
            retry=Retry.AFTER_FIX,
            hints=("pip install 'novafleet[notify]'",),
        ) from exc
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its warnings hold the URLs
    service = apprise.Apprise()
    if not service.add(secret_of(reference).reveal().decode()):
        raise _refused(f"{reference} is no URL that apprise knows", Retry.AFTER_FIX)
    if not service.notify(
        body=message.text, title=message.subject, notify_type=KINDS[message.event], body_format="text"
    ):
        raise _refused(f"the service of {reference} did not take it", Retry.LATER)


def _refused(what: str, retry: Retry) -> NotifyError:
    return NotifyError(what, code="NF-NOTIFY-003", retry=retry)

"""Tell everybody a policy names; one that cannot be told keeps nobody else from being told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from novafleet.errors import NotifyError, Retry
from novafleet.model.policy import Notify
from novafleet.notify import mail, services, webhook
from novafleet.notify.message import Message
from novafleet.ports import Clock

PAUSES = (2.0, 8.0, 30.0)
"""Seconds before each new try."""


async def send(notify: Notify, message: Message, clock: Clock) -> tuple[tuple[str, NotifyError | None], ...]:
    """Whom it went to, and for each why it did not arrive, if so."""
    ways = list(_ways(notify, message, clock))
    ended = await asyncio.gather(*(_persistently(way, clock) for _, way in ways))
    return tuple((name, error) for (name, _), error in zip(ways, ended, strict=True))


def _ways(notify: Notify, message: Message, clock: Clock) -> Iterator[tuple[str, Callable[[], None]]]:
    if notify.email is not None:
        email = notify.email
        yield f"mail to {', '.join(email.to)}", lambda: mail.send(email, message)
    if notify.webhook is not None:
        hook = notify.webhook
        yield "webhook", lambda: webhook.send(hook, message, clock.now())
    for reference in notify.apprise:
        yield f"apprise {reference}", lambda name=reference: services.send(name, message)  # type: ignore[misc]


async def _persistently(way: Callable[[], None], clock: Clock) -> NotifyError | None:
    for pause in (*PAUSES, None):
        try:
            await asyncio.to_thread(way)
        except NotifyError as error:
            if error.retry is not Retry.LATER or pause is None:
                return error
            await clock.sleep(pause)
        else:
            return None
    raise AssertionError("the last try returns")

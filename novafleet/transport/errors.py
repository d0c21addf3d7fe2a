"""What happens inside the transport and is dealt with there; only ``translate`` turns it into findings."""

from __future__ import annotations


class DroppedError(Exception):
    """The server closed a login before it said who it is: MaxStartups, or a penalty. A ProxyCommand's words."""


class LostBeforeStartError(Exception):
    """The connection was found dead before a command was asked for: asking again on a new one is safe."""


class ForwardingOffError(Exception):
    """The server does not forward to this socket; the reason is the server's."""

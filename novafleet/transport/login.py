"""One login as asyncssh tells of it (``asyncssh.SSHClient``): it calls these methods, nothing here imports it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from novafleet.errors import AuthError, NovaFleetError
from novafleet.transport.target import SshTarget
from novafleet.transport.translate import Offered
from novafleet.transport.trust import HostKey, admit, known_keys
from novafleet.transport.way import Way


class Keys(Enum):
    """How far the identities came; where the server goes on to something else in the middle, one was accepted."""

    UNASKED = 0
    SHOWN = 1
    USED_UP = 2


class PublicKey(Protocol):
    """What is used of ``asyncssh.SSHKey``."""

    @property
    def public_data(self) -> bytes:
        """In SSH wire encoding."""

    def get_algorithm(self) -> str:
        """Its name."""


class Login:
    """Judges the host key, offers identities, and remembers how far it came."""

    def __init__(self, target: SshTarget, own: Path) -> None:
        self.target = target
        self.known = known_keys(target, own)
        self.refusal: NovaFleetError | None = None
        self.offered = Offered()
        self.useless: list[AuthError] = []
        self.rounds: list[Callable[[], Awaitable[list[Any]]]] = []
        self.way: Way | None = None
        self._own = own
        self._keys = Keys.UNASKED
        self._methods: list[str] = []
        self._shown: set[bytes] = set()

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: PublicKey) -> bool:
        """Whether the host is who it should be; ``refusal`` says why not."""
        presented = HostKey(key.get_algorithm(), key.public_data)
        try:
            admit(self.target, presented, self.known, self._own)
        except NovaFleetError as error:
            self.refusal = error
            return False
        return True

    async def public_key_auth_requested(self) -> list[Any] | None:
        """The identities to try next, each once; None when there are no more."""
        self._keys = Keys.SHOWN
        while self.rounds:
            pairs = {pair.public_data: pair for pair in await self.rounds.pop(0)()}
            if new := {blob: pair for blob, pair in pairs.items() if blob not in self._shown}:
                self._shown |= new.keys()
                return list(new.values())
        if self.useless and not self._shown and not self.offered.encrypted:
            self.refusal = self.useless[0]
        self._keys = Keys.USED_UP
        return None

    def kbdint_auth_requested(self) -> None:
        """The server asks for what only a person can answer."""
        self._methods.append("keyboard-interactive")

    def password_auth_requested(self) -> None:
        """The server asks for a password."""
        self._methods.append("password")

    @property
    def demand(self) -> str:
        """What the server wants that no key can give, where it does."""
        methods = " or ".join(dict.fromkeys(self._methods))
        if not methods or self._keys is Keys.USED_UP:
            return ""
        taken = self._keys is Keys.SHOWN
        return (
            f"the key was accepted, but sshd also wants {methods}" if taken else f"sshd takes no keys, only {methods}"
        )

    async def end_way(self) -> None:
        """The connection is over."""
        if self.way:
            await self.way.close()

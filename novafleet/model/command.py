"""A command for a remote host: an argv list or a constant script with arguments, never a built string."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Command:
    """One process to run on a host.

    ``argv`` is passed word by word (the transport quotes it for the remote shell); ``become`` asks
    for root; ``env`` is exported through ``env(1)``, so never put a secret there: use ``stdin``
    of ``Shell.run``. ``mutates`` marks what only the holder of the lease may do.
    """

    argv: tuple[str, ...]
    become: bool = False
    mutates: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def script(cls, text: str, *arguments: str, become: bool = False, mutates: bool = False) -> Command:
        """A POSIX script, constant in our source; data travels as ``$1``, ``$2`` …, never inside ``text``."""
        return cls(("sh", "-c", text, "novafleet", *arguments), become=become, mutates=mutates)

    def as_root(self) -> Command:
        """The same command with ``become``."""
        return replace(self, become=True)


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind; ``status`` is 128+N after signal N."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True when the status is 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes become U+FFFD (hosts are untrusted)."""
        return self.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Output:
    """One piece of streamed output; ``stream`` is 1 or 2."""

    stream: int
    data: bytes

"""Root through sudo: one try, its password on standard input before anything of the command's own.

sudo and the command share three streams. A marker on standard error tells where sudo ends: until it has been seen,
the words are sudo's and nothing but the password has been sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from novafleet.errors import PrivilegeError
from novafleet.model.command import Output
from novafleet.model.secret import Secret
from novafleet.transport.link import Process, Wrapped
from novafleet.transport.translate import no_privilege

STARTED = 'echo "$0" >&2; exec "$@"'
"""Runs as root: says that sudo is done, then becomes the command."""


@dataclass(frozen=True, slots=True)
class Sudo:
    """How one command reaches root: ``token`` makes its markers unguessable."""

    token: str
    password: Secret | None = None

    @property
    def prompt(self) -> bytes:
        """What sudo prints when it wants the password."""
        return f"[novafleet {self.token}]".encode()

    @property
    def started(self) -> bytes:
        """The line printed as root."""
        return f"novafleet-{self.token}-started".encode()

    def words(self) -> tuple[str, ...]:
        """What stands before the command (sudo(8))."""
        asking = ("-S", "-p", self.prompt.decode()) if self.password else ("-n",)
        return ("sudo", *asking, "--", "sh", "-c", STARTED, self.started.decode())


class Elevated(Wrapped):
    """A process that has become root."""

    def __init__(self, process: Process, first: deque[Output]) -> None:
        super().__init__(process)
        self._first = first

    async def read(self) -> Output | None:
        """The next piece of the command's output."""
        return self._first.popleft() if self._first else await super().read()


async def elevate(process: Process, sudo: Sudo, host: str) -> Elevated:
    """Answer sudo's one question and wait for the command to start. Raises PrivilegeError NF-SUDO-*."""
    said = b""
    asked = False
    early: deque[Output] = deque()
    while (piece := await process.read()) is not None:
        if piece.stream == 1:
            early.append(piece)  # the two streams overtake each other: the command's first words may be here already
            continue
        said += piece.data
        preamble, marker, rest = said.partition(sudo.started + b"\n")
        if marker:
            early.extend([Output(2, rest)] if rest else [])
            return Elevated(process, early)
        if preamble.count(sudo.prompt) > asked:
            await _answer(process, sudo, host, again=asked)
            asked = True
    raise no_privilege(host, said.replace(sudo.prompt, b"").decode("utf-8", "replace").strip(), await process.status())


async def _answer(process: Process, sudo: Sudo, host: str, *, again: bool) -> None:
    if again or sudo.password is None:
        process.write_eof()
        await process.close()
        raise PrivilegeError(
            "sudo does not take the password",
            code="NF-SUDO-002",
            where=host,
            hints=(
                "correct `become.password` in the inventory; it is not tried again, so that no account gets locked",
            ),
        )
    await process.write(sudo.password.reveal() + b"\n")

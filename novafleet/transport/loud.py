"""Login shells that say something before every command: a `neofetch` in `~/.bashrc`, an `echo` in `config.fish`.

Until the first answer has shown that a host has none such, its commands begin with a word that nobody can guess, and
what comes before that on standard output is dropped. The login shell prints it: that costs no process.
"""

from __future__ import annotations

from collections.abc import Callable

from novafleet.model.command import Output
from novafleet.transport.link import Process, Wrapped


class Announced(Wrapped):
    """A process whose output begins after ``word``; ``heard`` is told once what came before."""

    def __init__(self, process: Process, word: bytes, heard: Callable[[bytes], None]) -> None:
        super().__init__(process)
        self._word = word
        self._heard = heard
        self._said: bytes | None = b""

    async def read(self) -> Output | None:
        """The next piece of the command's output. Where the word never came it was not run: what nologin, or a forced
        command, said instead is a complaint."""
        while self._said is not None:
            piece = await super().read()
            if piece is None:
                said, self._said = self._said, None
                return Output(2, said) if said else None
            if piece.stream != 1:
                return piece
            before, word, rest = (self._said + piece.data).partition(self._word)
            self._said = None if word else before
            if word:
                self._heard(before)
                if rest:
                    return Output(1, rest)
        return await super().read()

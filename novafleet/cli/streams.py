"""What becomes of output that cannot be written: a log on a full disk, a pipe whose reader is gone."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from novafleet.errors import NovaFleetError, Retry


def guard_streams() -> None:
    """Let standard error fail in silence, for work must not end halfway because nobody can read how it goes, and
    standard output with NF-RUN-017. One that was closed leads nowhere."""
    out, err = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: PTH123, SIM115
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = _Results(out), _Progress(err)


class _Stream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Progress(_Stream):
    """Tried again each time: somebody may make room."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _Results(_Stream):
    def write(self, text: str) -> int:
        if text == "":  # click asks so whether it takes text
            return 0
        try:
            return self._stream.write(text)
        except OSError as error:
            raise self._lost(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> Exception:
        """A reader that has seen enough (`| head`) is no error to speak of; click ends with status 1."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # what is left goes there at exit
        if error.errno == errno.EPIPE:
            return error
        return NovaFleetError(
            "the result cannot be written",
            code="NF-RUN-017",
            where="standard output",
            cause=error.strerror or str(error),
            hints=("novafleet runs ls   # what was begun by then is recorded: how did it end?",),
            retry=Retry.AFTER_FIX,
        )

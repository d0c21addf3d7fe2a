"""A value that redacts itself wherever it is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Bytes that must not reach a log, journal, plan or process list; ``reveal`` is the one way out."""

    _value: bytes

    @classmethod
    def of(cls, value: str | bytes) -> Secret:
        """Wrap text (as UTF-8) or bytes."""
        return cls(value.encode() if isinstance(value, str) else value)

    def reveal(self) -> bytes:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

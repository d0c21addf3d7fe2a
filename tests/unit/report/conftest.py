"""Reports as a person sees them: 100 columns, no colour, compared with text that was read and found right."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from novafleet.report import console

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "NOVAFLEET_GOLDEN"
"""Set it to write what reports print now: then read the difference."""


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same terminal everywhere."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "TZ": "UTC"}.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    console.out.cache_clear()
    console.err.cache_clear()
    yield
    console.out.cache_clear()
    console.err.cache_clear()
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def golden(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Compare what was printed with ``golden/NAME.txt``: standard output, then standard error where there is some."""

    def compare(name: str) -> None:
        printed = capsys.readouterr()
        lines = [line.rstrip() for line in printed.out.splitlines()]
        if printed.err:
            lines += ["--- standard error", *(line.rstrip() for line in printed.err.splitlines())]
        path = GOLDEN / f"{name}.txt"
        if REWRITE in os.environ:
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines) + "\n")
        assert lines == path.read_text().splitlines()

    return compare

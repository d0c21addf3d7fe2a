"""Short words for findings."""

from __future__ import annotations

from novafleet.model.migration import Finding, Mode, Severity

RUNNING = (Mode.LIVE, Mode.POSTCOPY)
"""Modes in which the guest goes on running."""
COPIES = (Mode.LIVE, Mode.POSTCOPY, Mode.WARM)
"""Modes that copy what a disk holds rather than its file."""


def blocker(code: str, what: str, fix: str, modes: tuple[Mode, ...] = ()) -> Finding:
    """What refuses."""
    return Finding(Severity.BLOCKER, code, what, fix, modes)


def warning(code: str, what: str, fix: str = "", modes: tuple[Mode, ...] = ()) -> Finding:
    """What is shown and asks for nothing."""
    return Finding(Severity.WARNING, code, what, fix, modes)


def note(code: str, what: str, fix: str = "", modes: tuple[Mode, ...] = ()) -> Finding:
    """What is good to know."""
    return Finding(Severity.NOTE, code, what, fix, modes)

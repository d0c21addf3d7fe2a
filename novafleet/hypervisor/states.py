"""libvirt's numbers for states, reasons and lifecycle events, as its own words (include/libvirt/libvirt-domain.h)."""

from __future__ import annotations

STATES = ("nostate", "running", "blocked", "paused", "in-shutdown", "shutoff", "crashed", "pmsuspended")
"""virDomainState."""

_REASONS: dict[str, tuple[str, ...]] = {
    "running": (
        "unknown",
        "booted",
        "migrated",
        "restored",
        "from snapshot",
        "unpaused",
        "migration canceled",
        "save canceled",
        "wakeup",
        "crashed",
        "postcopy",
        "postcopy failed",
    ),
    "paused": (
        "unknown",
        "user",
        "migration",
        "save",
        "dump",
        "ioerror",
        "watchdog",
        "from snapshot",
        "shutting down",
        "snapshot",
        "crashed",
        "starting up",
        "postcopy",
        "postcopy failed",
        "api error",
    ),
    "in-shutdown": ("unknown", "user"),
    "shutoff": (
        "unknown",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from snapshot",
        "daemon",
    ),
    "crashed": ("unknown", "panicked"),
}

_EVENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("defined", ("added", "updated", "renamed", "from snapshot")),
    ("undefined", ("removed", "renamed")),
    ("started", ("booted", "migrated", "restored", "from snapshot", "wakeup")),
    (
        "suspended",
        (
            "paused",
            "migrated",
            "ioerror",
            "watchdog",
            "restored",
            "from snapshot",
            "api error",
            "postcopy",
            "postcopy failed",
        ),
    ),
    ("resumed", ("unpaused", "migrated", "from snapshot", "postcopy", "postcopy failed")),
    ("stopped", ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot")),
    ("shutdown", ("finished", "guest", "host")),
    ("pmsuspended", ("memory", "disk")),
    ("crashed", ("panicked", "crashloaded")),
)


def state_words(state: int, reason: int) -> tuple[str, str]:
    """(state, reason) of virDomainGetState as words; a number newer than this table stays a number."""
    word = _word(STATES, state)
    return word, _word(_REASONS.get(word, ("unknown",)), reason)


def event_words(event: int, detail: int) -> tuple[str, str]:
    """(kind, detail) of a lifecycle event as words; unknown numbers stay numbers."""
    if not 0 <= event < len(_EVENTS):
        return str(event), str(detail)
    kind, details = _EVENTS[event]
    return kind, _word(details, detail)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)

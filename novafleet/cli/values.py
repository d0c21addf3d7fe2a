"""What the words of options mean: times, sizes, shares, choices and pairs, the same in every command."""

from __future__ import annotations

import re
from collections.abc import Sequence

from novafleet.errors import ConfigError

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def seconds_of(text: str, option: str) -> float:
    """``50ms``, ``90m``, ``7d``; empty and 0 are 0. Raises ConfigError NF-CFG-005, also for a bare number: who
    writes ``--ttl 7`` does not mean seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", "0s" if text in ("", "0") else text)
    if found is None:
        raise _refused(f"{option} takes a time with its unit, as in 30s, 12h or 7d", text)
    return float(found[1]) * SECONDS[found[2]]


def bytes_of(text: str, option: str) -> int:
    """``50MiB``, ``50M``, ``50MiB/s`` or plain bytes; empty is 0. Raises ConfigError NF-CFG-005."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?(?:/s)?", text or "0", re.IGNORECASE)
    if found is None:
        raise _refused(f"{option} takes bytes, as in 50MiB", text)
    return int(float(found[1]) * BYTES[found[2].upper()])


def share_of(text: str, option: str) -> float:
    """``5%``, ``100%`` or a fraction; empty is 0. Raises ConfigError NF-CFG-005."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text or "0")
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share <= 1:
        raise _refused(f"{option} takes a share, as in 5% or 100%", text)
    return share


def word_of(text: str, words: Sequence[str], option: str) -> str:
    """One of the words. Raises ConfigError NF-CFG-005."""
    if text not in words:
        raise _refused(f"{option} takes {', '.join(filter(None, words))}", text)
    return text


def pairs_of(texts: Sequence[str] | None, option: str, form: str = "OLD=NEW") -> dict[str, str]:
    """Each ``KEY=VALUE``; neither may be empty. Raises ConfigError NF-CFG-005."""
    pairs = [(text, *text.partition("=")) for text in texts or ()]
    for text, key, _, value in pairs:
        if not (key and value):
            raise _refused(f"{option} takes {form}", text)
    return {key: value for _, key, _, value in pairs}


def _refused(takes: str, text: str) -> ConfigError:
    return ConfigError(f"{takes}, not {text!r}", code="NF-CFG-005")

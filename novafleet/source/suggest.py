"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like ``word``; "" when none is near."""
    words = {item.lower(): item for item in known}
    found = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return words[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str], what: str = "names") -> tuple[str, ...]:
    """Hints for an unknown word: the nearest known one, else all there are (at most 20)."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return (f"did you mean {near!r}?",)
    if not names:
        return ()
    more = ", …" if len(names) > 20 else ""
    return (f"known {what}: {', '.join(names[:20])}{more}",)

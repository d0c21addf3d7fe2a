"""Host ranges: ``kvm[01:20]``, ``db-[a:c]``, ``rack[1:9:2]-node[1:4]``.

The syntax is Ansible's (both ends included, a leading zero sets the width); what Ansible takes
silently for an empty range is an error here.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterable, Sequence
from math import prod

from novafleet.errors import ConfigError, Location

LIMIT = 65_536
"""More hosts than this from one range is a typing error."""

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[0-9]+")


def is_range(text: str) -> bool:
    """Does it hold a bracket, closed or not?"""
    return "[" in text or "]" in text


def expand(text: str, where: str | Location = "") -> tuple[str, ...]:
    """All names of a range, the rightmost bracket running fastest; a plain name is itself.

    Raises ConfigError NF-INV-005.
    """
    if not is_range(text):
        return (text,)
    pieces = _BRACKETS.split(text)
    literals, bounds = pieces[::2], pieces[1::2]
    if any(is_range(literal) for literal in literals):
        raise _error(text, "a bracket is not closed", where)
    runs = [_run(text, inner, where) for inner in bounds]
    count = prod(len(run) for run in runs)
    if count > LIMIT:
        raise _error(text, f"it stands for {count} names, at most {LIMIT} are allowed", where)
    return tuple(
        literals[0] + "".join(value + literal for value, literal in zip(values, literals[1:], strict=True))
        for values in itertools.product(*([*run] for run in runs))
    )


def _run(text: str, inner: str, where: str | Location) -> Sequence[str]:
    bounds = inner.split(":")
    if len(bounds) not in (2, 3):
        raise _error(text, f"[{inner}] is not [first:last] or [first:last:step]", where)
    first, last = bounds[0] or "0", bounds[1]
    step = bounds[2] if len(bounds) == 3 else "1"
    if not (step.isascii() and step.isdigit() and int(step) > 0):
        raise _error(text, f"the step {step!r} is not a number above 0", where)
    if _is_letter(first) and _is_letter(last):
        return _letters(text, first, last, int(step), where)
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise _error(text, f"[{inner}] needs two numbers or two single letters", where)
    return _numbers(text, first, last, int(step), where)


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text in string.ascii_letters


def _letters(text: str, first: str, last: str, step: int, where: str | Location) -> Sequence[str]:
    start, end = string.ascii_letters.index(first), string.ascii_letters.index(last)
    if start > end:
        raise _error(text, f"{first} comes after {last}", where)
    return string.ascii_letters[start : end + 1 : step]


class _Padded(Sequence[str]):
    """Numbers as text, made only when asked for: a range of a billion costs nothing to refuse."""

    def __init__(self, numbers: range, width: int) -> None:
        self._numbers, self._width = numbers, width

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return str(self._numbers[index]).zfill(self._width)


def _numbers(text: str, first: str, last: str, step: int, where: str | Location) -> Sequence[str]:
    padded = first.startswith("0") and len(first) > 1
    if padded and len(first) != len(last):
        raise _error(text, f"{first} and {last} have different widths", where)
    if max(len(first), len(last)) > 18:
        raise _error(text, "the numbers have more than 18 digits", where)
    if int(first) > int(last):
        raise _error(text, f"{first} is greater than {last}", where)
    return _Padded(range(int(first), int(last) + 1, step), len(first) if padded else 0)


def _error(text: str, why: str, where: str | Location) -> ConfigError:
    return ConfigError(
        f"{text!r} is not a range: {why}",
        code="NF-INV-005",
        where=where,
        hints=("ranges look like kvm[01:20], db-[a:c] or node[1:9:2]",),
    )


def fold(names: Iterable[str]) -> str:
    """Names as short text, ``kvm[01:20],web``; the inverse of splitting at commas and expanding each part.

    Folds over the last number of each name. Order and repetitions are not kept.
    """
    plain: list[str] = []
    series: dict[tuple[str, str], set[str]] = {}
    for name in sorted(set(names)):
        match = _last_number(name)
        if match is None:
            plain.append(name)
        else:
            head, digits, tail = match
            series.setdefault((head, tail), set()).add(digits)
    folded = [text for (head, tail), digits in series.items() for text in _fold_series(head, digits, tail)]
    return ",".join(sorted([*plain, *folded], key=_natural))


def _last_number(name: str) -> tuple[str, str, str] | None:
    found = list(_NUMBER.finditer(name))
    if not found or len(found[-1].group()) > 18:
        return None
    last = found[-1]
    return name[: last.start()], last.group(), name[last.end() :]


def _fold_series(head: str, digits: set[str], tail: str) -> list[str]:
    padded = {len(text) for text in digits if text.startswith("0") and len(text) > 1}
    by_width: dict[int, list[int]] = {}
    for text in digits:
        by_width.setdefault(len(text) if len(text) in padded else 0, []).append(int(text))
    folded = []
    for width, numbers in by_width.items():
        for first, last in _runs(sorted(numbers)):
            start, end = str(first).zfill(width), str(last).zfill(width)
            folded.append(f"{head}{start}{tail}" if first == last else f"{head}[{start}:{end}]{tail}")
    return folded


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _natural(text: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"([0-9]{1,18})", text.replace("[", "")))

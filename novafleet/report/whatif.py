"""Outlooks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings

if TYPE_CHECKING:
    from novafleet.app.whatif import Answer
    from novafleet.placement.whatif import Outlook

GIB = 1024**3
WORDS = {"host-down": "started again", "drain": "moved", "add": "moved there"}


def show(answer: Answer, form: str) -> None:
    """A few lines and who would be without a host, or the document."""
    if form != "table":
        console.document(document(answer), form)
        return
    found = answer.outlook
    for each in found.homeless:
        hints = [each.fix] if found.event == "drain" else []
        what = f"would {'stay' if found.event == 'drain' else 'be down'}: {each.why}"
        findings.show_finding({"code": each.code, "where": each.guest, "what": what, "cause": "", "hints": hints})
    for move in found.moves:
        why = " (room)" if move.why == "room" else ""
        console.out().print(console.text(f"{move.guest} -> {move.destination}{why}"), soft_wrap=True)
    for text in _lines(answer, found):
        console.out().print(console.text(text, "bold"), soft_wrap=True)
    for text in (*answer.notes, *(f"nothing is known of {name}: --refresh asks it" for name in answer.missing)):
        console.err().print(console.text(text, "yellow"), soft_wrap=True)


def _lines(answer: Answer, found: Outlook) -> list[str]:
    before, after = found.memory_before, found.memory_after
    room = sum(move.why == "room" for move in found.moves)
    makes = f" ({room} others moved to make room)" if room else ""
    lines = [
        f"{len(found.moves) - room} {WORDS[found.event]}{makes}, "
        f"{len(found.homeless)} without a host; {found.proof.text}",
        f"memory left: {before[1] / GIB:.1f} of {before[0] / GIB:.1f} GiB -> "
        f"{after[1] / GIB:.1f} of {after[0] / GIB:.1f} GiB",
        f"fullest host: {found.before.host} {found.before.peak:.0%} -> {found.after.host} {found.after.peak:.0%}",
        f"then: {found.unspared}" if found.unspared else "then any one host could fail and every VM would have room",
    ]
    if found.broken:
        lines.append(f"with one they must not be with: {', '.join(found.broken)}")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(answer.taken_at))
    return [*lines, f"as seen {when} ({answer.hosts} hosts, {answer.guests} VMs)"]


def document(answer: Answer) -> Mapping[str, Any]:
    """The stable form (docs/reference/json.md)."""
    found = answer.outlook
    return {
        **encode(found),
        "memory_before": {"all": found.memory_before[0], "left": found.memory_before[1]},
        "memory_after": {"all": found.memory_after[0], "left": found.memory_after[1]},
        "taken_at": answer.taken_at,
        "age_seconds": answer.seconds,
        "hosts": answer.hosts,
        "vms": answer.guests,
        "missing": list(answer.missing),
        "notes": list(answer.notes),
    }

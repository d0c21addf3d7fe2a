"""What became of migrations that had been cut off: what both hosts showed, which rule that is, what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from novafleet.model.encode import encode
from novafleet.report import console, findings

if TYPE_CHECKING:
    from novafleet.app.recovery import Recovered, Recovery
    from novafleet.capability.migration.recover import Seen

MARKS = {"ask": ("?", "red"), "alarm": ("✗", "bold red"), "wait": ("…", "yellow"), "leave": ("…", "yellow")}


def show(result: Recovery, form: str) -> None:
    """A paragraph a migration, or ``{jobs: […], unreachable: {…}, explain: …}``."""
    if form != "table":
        console.document(document(result), form)
        return
    for job in result.jobs:
        _print(job, explain=result.explain)
    if not result.jobs:
        console.out().print(console.text("no migration is unfinished"))
    for host, why in result.unseen.items():
        console.err().print(console.text(f"{host} was not asked: {why}", "yellow"), soft_wrap=True)


def document(result: Recovery) -> Mapping[str, Any]:
    """The stable form: docs/concepts/migration-recovery.md."""
    return {
        "jobs": [_row(job) for job in result.jobs],
        "unreachable": dict(result.unseen),
        "explain": result.explain,
    }


def _row(job: Recovered) -> Mapping[str, Any]:
    names = {"job": job.job, "vm": job.domain, "source": job.source, "destination": job.destination}
    facts, decision = encode(job.facts), encode(job.decision)
    return {**names, "facts": facts, **decision, "done": job.done, "error": job.error}


def _print(job: Recovered, *, explain: bool) -> None:
    out, decision = console.out(), job.decision
    mark, style = MARKS.get(decision.action.value, ("✓", "green") if job.done else ("→", "cyan"))
    line = console.text(f"{mark} {job.domain}", style) + console.text(
        f"  {job.source} -> {job.destination} ({job.job})"
    )
    out.print(line, soft_wrap=True)
    facts = job.facts
    out.print(console.text(f"    noted: {facts.phase.value}, {facts.mode.value}", "dim"))
    for host, seen in ((job.source, facts.source), (job.destination, facts.destination)):
        out.print(console.text(f"    {host}: {words(seen)}", "dim"), soft_wrap=True)
    tense = "would be" if explain or not job.done else "is"
    out.print(console.text(f"    {decision.rule}: {decision.why}"), soft_wrap=True)
    out.print(console.text(f"    {tense}: {decision.action.value}"), soft_wrap=True)
    if decision.fix:
        out.print(console.text(f"    fix: {decision.fix}", "cyan"), soft_wrap=True)
    if job.error:
        findings.show_finding(job.error)


def words(seen: Seen) -> str:
    """One host's facts for people."""
    if not seen.reachable:
        return "does not answer"
    if not seen.state:
        return "has no such domain"
    other = ", another VM of that name" if seen.foreign else ""
    return f"{seen.state} ({seen.reason}){', migrating' if seen.job else ''}{other}"

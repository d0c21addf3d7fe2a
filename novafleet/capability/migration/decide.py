"""From what was seen to the dossier of a migration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from novafleet.capability.migration.build import Case, lay_out, leases
from novafleet.capability.migration.check import check
from novafleet.capability.migration.filters import missing
from novafleet.capability.migration.findings import blocker, warning
from novafleet.capability.migration.gates import WORD
from novafleet.capability.migration.observed import Observed
from novafleet.capability.migration.predict import UNMEASURED, predict
from novafleet.errors import MigrationError, Retry
from novafleet.model.migration import Dossier, Finding, Mode, Move, Path, Severity, Verdict, Wanted

PASSES = frozenset(("NF-MIG-303", "NF-MIG-344"))
"""Blockers that go away by themselves: jobs end, and links are less busy later."""


def decide(observed: Observed, wanted: Wanted) -> Dossier:
    """Findings, a verdict for each mode, and the move as it would be made, its ladder empty when no mode that was asked
    for is possible: ``refuse`` says so. Raises MigrationError NF-MIG-300 for a definition that cannot be read."""
    case = lay_out(observed, wanted)
    path = Path(observed.path) if observed.path else wanted.path
    findings = check(case)
    verdicts = predict(case, path, findings)
    return Dossier(
        move=_move(case, path, verdicts),
        findings=(*findings, *_foretold(wanted, findings, verdicts)),
        verdicts=verdicts,
        paths=observed.paths,
        link_rate=observed.link_rate,
        dirty_rate=observed.dirty_rate,
        protected=bool(observed.source.lock_manager and observed.destination.lock_manager),
        gates=observed.gates,
    )


def _move(case: Case, path: Path, verdicts: Iterable[Verdict]) -> Move:
    observed, domain = case.observed, case.observed.domain
    possible = tuple(each.mode for each in verdicts if each.possible)
    asked = case.wanted.mode
    gates = () if WORD in case.wanted.consent else tuple(each.gate for each in observed.gates if each.met)
    return Move(
        job=observed.job,
        vm=observed.vm,
        domain=domain.name,
        uuid=domain.uuid,
        environment=observed.environment,
        source=case.source.host,
        destination=case.destination.host,
        running=observed.running,
        ladder=possible if asked is Mode.AUTO else tuple(mode for mode in possible if mode is asked),
        path=path,
        xml=domain.xml,
        disks=case.disks,
        files=case.files,
        snapshots=tuple(each.xml for each in observed.snapshots),
        checkpoints=tuple(each.xml for each in observed.checkpoints),
        leases=leases(case),
        autostart=domain.autostart,
        wanted=case.wanted,
        filters=missing(case),
        gates=gates,
        address=observed.address,
    )


def _foretold(wanted: Wanted, findings: tuple[Finding, ...], verdicts: Iterable[Verdict]) -> Iterator[Finding]:
    """What only the figures say, as findings of the modes they are about."""
    said = {UNMEASURED, "", *(each.what for each in findings)}
    for verdict in verdicts:
        if verdict.why not in said:
            find = warning if verdict.possible else blocker
            fix = (
                "--bandwidth 0, a longer --deadline, or another --mode"
                if wanted.deadline
                else "use --mode postcopy or warm"
            )
            yield find("NF-MIG-344", f"{verdict.mode}: {verdict.why}", fix, (verdict.mode,))


def refuse(dossier: Dossier) -> None:
    """Raise MigrationError with the code of the first blocker when no mode that was asked for is possible; the fixes of
    all are its hints."""
    if dossier.move.ladder:
        return
    asked = dossier.move.wanted.mode
    found = [each for each in dossier.findings if each.severity is Severity.BLOCKER and _bars(each, asked)]
    first, others = found[0], found[1:]
    decisive = [each for each in found if not each.modes] or found
    raise MigrationError(
        first.what,
        code=first.code,
        where=f"{dossier.move.source}/{dossier.move.domain}",
        cause="; ".join(each.what for each in others),
        hints=tuple(dict.fromkeys(each.fix for each in found if each.fix)),
        retry=Retry.LATER if all(each.code in PASSES for each in decisive) else Retry.AFTER_FIX,
    )


def _bars(finding: Finding, asked: Mode) -> bool:
    return not finding.modes or asked is Mode.AUTO or asked in finding.modes

"""Which migrations have not ended: the journal and the domains, the newest word counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from novafleet.app.context import Reached
from novafleet.app.migratejobs import NOTE, Job, jobs_of, look, open_jobs
from novafleet.app.recovery import Recovered, Recovery
from novafleet.app.wiring import Places, World, open_journal
from novafleet.capability.migration.recover import Action, Decision, Facts, Seen, decide_recovery
from novafleet.errors import ExitCode
from novafleet.hypervisor.fake import FakeHypervisor
from novafleet.model.encode import encode
from novafleet.model.facts import Domain, FleetFacts, HostFacts
from novafleet.model.fleet import Host
from novafleet.model.migration import Mode, Phase
from novafleet.model.run import Record, Run, RunState
from novafleet.plan import moving
from novafleet.plan.moving import Moving
from novafleet.report import recover as report
from tests.unit.migration.dossiers import UUID, dossier, xml

MOVE = dossier().move
NODE = "kvm1/lab-db/copy"


def record(phase: Phase, at: float, **payload: Any) -> Record:
    return Record("r1", NODE, 1, NOTE, 0, at, {"phase": phase.value, "job": MOVE.job, "mode": "live", **payload})


RECORDS = (
    record(Phase.PREPARING, 1.0, move=encode(MOVE)),
    Record("r1", NODE, 1, "intent", 0, 1.5),
    record(Phase.COPYING, 2.0),
)


def noted(phase: Phase, at: float, job: str = MOVE.job) -> Domain:
    note = moving.text(Moving(job, phase, Mode.LIVE, "kvm1", "kvm2", "r1", True, at))
    return Domain("lab-db", UUID, "running", xml(head=f"<metadata>{note}</metadata>"))


async def opened(tmp_path: Path, *domains: Domain, records: tuple[Record, ...] = RECORDS) -> tuple[Job, ...]:
    places = Places(tmp_path, tmp_path / "known_hosts")
    async with open_journal(places) as journal:
        await journal.begin(Run("r1", "", "migrate", RunState.RUNNING, 0.0))
        await journal.append(records)
    facts = FleetFacts({"kvm1": HostFacts("kvm1", 0.0, domains={each.name: each for each in domains})})
    return await open_jobs(cast(World, SimpleNamespace(places=places)), facts)


def test_the_last_note_of_a_run_counts_and_its_move_comes_back_whole() -> None:
    [job] = jobs_of(RECORDS)
    assert job.move == MOVE
    assert (job.id, job.moving.phase, job.moving.at) == (MOVE.job, Phase.COPYING, 2.0)


async def test_a_domain_that_knows_more_than_the_journal_is_believed(tmp_path: Path) -> None:
    [job] = await opened(tmp_path, noted(Phase.SWITCHED, 3.0))
    assert (job.moving.phase, job.move) == (Phase.SWITCHED, MOVE)


async def test_an_older_word_of_a_domain_is_not(tmp_path: Path) -> None:
    [job] = await opened(tmp_path, noted(Phase.PREPARING, 0.5))
    assert job.moving.phase is Phase.COPYING


async def test_what_ended_is_not_open(tmp_path: Path) -> None:
    assert await opened(tmp_path, noted(Phase.COMMITTED, 9.0)) == ()


async def test_what_was_ended_elsewhere_does_not_open_again_when_the_vm_is_moved_once_more(tmp_path: Path) -> None:
    """The domain remembers its last migration only; no other begins before the one before it was settled."""
    [other] = await opened(tmp_path, noted(Phase.COPYING, 3.0, "11111111"))
    assert other.id == "11111111"


async def test_without_a_journal_the_domain_alone_tells(tmp_path: Path) -> None:
    [job] = await opened(tmp_path, noted(Phase.SWITCHING, 3.0), records=())
    assert (job.domain, job.uuid, job.move) == ("lab-db", UUID, None)


async def test_hosts_are_looked_at_and_one_that_is_not_reached_is_waited_for() -> None:
    fake = FakeHypervisor("kvm1")
    await fake.define_domain(xml(devices=""))
    await fake.start_domain("lab-db")
    job = Job("lab-db", UUID, Moving(MOVE.job, Phase.SWITCHING, Mode.LIVE, "kvm1", "kvm2"), MOVE)
    reached = {"kvm1": Reached(Host("kvm1", ""), cast(Any, None), fake)}
    facts = await look(job, reached)
    assert (facts.source, facts.destination) == (Seen(True, "running", "booted"), Seen(reachable=False))
    assert decide_recovery(facts).action is Action.WAIT
    reached["kvm2"] = Reached(Host("kvm2", ""), cast(Any, None), FakeHypervisor("kvm2"))
    assert decide_recovery(await look(job, reached)).rule == "runs-here"
    other = Job("lab-db", "another", job.moving, MOVE)
    assert (await look(other, reached)).source.foreign


def recovered(action: Action, *, done: bool = False) -> Recovered:
    seen = Seen(state="paused", reason="migration", job=True)
    facts = Facts(Phase.SWITCHING, Mode.LIVE, True, seen, Seen(reachable=False))
    return Recovered("0a1b2c3d", "lab-db", "kvm1", "kvm2", facts, Decision("rule", action, "why", "fix"), done=done)


def test_the_exit_status_says_whether_somebody_is_needed(capsys: Any) -> None:
    expected = {
        Action.ROLL_BACK: ExitCode.OK,
        Action.ASK: ExitCode.FAILED,
        Action.ALARM: ExitCode.FAILED,
        Action.WAIT: ExitCode.PARTIAL,
        Action.LEAVE: ExitCode.PARTIAL,
    }
    for action, status in expected.items():
        recovery = Recovery((recovered(action, done=action is Action.ROLL_BACK),), {})
        assert recovery.exit_code is status
        report.show(recovery, "table")
    assert Recovery((), {"kvm3": "no route"}).exit_code is ExitCode.PARTIAL
    told = capsys.readouterr().out
    assert "kvm1: paused (migration), migrating" in told
    assert "kvm2: does not answer" in told
    assert "fix: fix" in told

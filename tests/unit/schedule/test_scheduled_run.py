"""A scheduled run: what is done in which order, what becomes of it, what is kept and told. Hosts are left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from novafleet.app import schedule as use_case
from novafleet.app.scheduledrun import exit_code, run, settle
from novafleet.app.wiring import Places
from novafleet.errors import BackupError, ConfigError, ExitCode, LockHeldError, StoreError, UnreachableError
from novafleet.model.policy import Window
from novafleet.model.schedule import Duty, Job, RunState, Schedule, ScheduledRun, VmOutcome
from novafleet.source import cron
from novafleet.store.schedules import Schedules

NIGHT = datetime(2026, 11, 21, 1, 5, tzinfo=UTC).timestamp()
DAY = 86400.0
ENVIRONMENT = """\
environment: dev
backup:
  repository: /backup
  key_file: /key
  schedule: "0 1 * * *"
  keep: {daily: 7}
  verify: 5%
  drill: weekly
vms:
  db: {host: kvm1}
  web: {host: kvm1}
"""


@dataclass
class Clock:
    at: float = NIGHT
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Work:
    """``scheduledrun.Duties`` that only says what it was asked."""

    outcomes: tuple[VmOutcome, ...] = (VmOutcome("kvm1/dev-db", "s1"), VmOutcome("kvm1/dev-web", "s2"))
    fails: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event | None = None

    async def back_up(self, schedule: Schedule, job: Job, claimed: Collection[str]) -> tuple[VmOutcome, ...]:
        self.claimed = set(claimed)
        self.began.set()
        if self.goes_on is not None:
            await self.goes_on.wait()
        self._do("backup " + ",".join(member.pattern for member in job.members))
        return self.outcomes

    async def forget(self, job: Job, claimed: Collection[str]) -> Duty:
        return self._do("forget")

    async def prune(self, job: Job) -> Duty:
        return self._do("prune")

    async def verify(self, job: Job) -> Duty:
        return self._do(f"verify {job.policy.verify:g}")

    async def drill(self, schedule: Schedule, job: Job, vms: Collection[VmOutcome]) -> Duty:
        return self._do("drill")

    def _do(self, what: str) -> Duty:
        self.asked.append(what)
        kind = what.split()[0]
        if kind in self.fails:
            raise self.fails[kind]
        return Duty(kind, "done")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cron, "zone", lambda: UTC)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "hosts.yml").write_text("hosts: {kvm1: {}}\n")
    (tmp_path / "env.yml").write_text(ENVIRONMENT)
    made = Places(tmp_path / "state", tmp_path / "known_hosts")
    install(made, tmp_path)
    return made


def install(places: Places, folder: Path, **changes: object) -> None:
    schedule = Schedule(
        "dev",
        (str(folder / "hosts.yml"),),
        "0 1 * * *",
        "systemd",
        NIGHT - 3 * DAY,
        str(folder / "env.yml"),
        "dev",
        ("dev/db", "dev/web"),
    )
    Schedules.of(places.state).put(replace(schedule, **changes))  # type: ignore[arg-type]


def kept(places: Places) -> list[ScheduledRun]:
    return list(Schedules.of(places.state).runs("dev"))


async def test_all_of_it(places: Places) -> None:
    work = Work()
    ended = await run("dev", work, places, Clock())
    assert work.asked == ["backup dev/db,dev/web", "forget", "prune", "verify 0.05", "drill"]
    assert (ended.state, ended.exit_code) == (RunState.DONE, ExitCode.OK)
    assert kept(places) == [ended]
    file = next((places.state / "schedules/dev/runs").glob("*.json"))
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["vms"][0]["snapshot"] == "s1"


async def test_a_drill_is_due_once_a_week(places: Places) -> None:
    clock, drills = Clock(), []
    for _ in range(9):
        work = Work()
        await run("dev", work, places, clock)
        drills.append("drill" in work.asked)
        clock.at += DAY
    assert drills == [True, True, False, False, False, False, False, False, True], "Saturday, then each Sunday"


async def test_garbage_is_collected_once_a_day(places: Places) -> None:
    collected = []
    for hour in range(0, 48, 6):
        work = Work()
        await run("dev", work, places, Clock(NIGHT + hour * 3600))
        collected.append("prune" in work.asked)
    assert collected == [True, False, False, False, True, False, False, False]


async def test_a_failed_drill_is_tried_again(places: Places) -> None:
    first = await run("dev", Work(fails={"drill": BackupError("it does not boot")}), places, Clock())
    assert (first.state, first.exit_code) == (RunState.FAILED, ExitCode.FAILED)
    second = Work()
    await run("dev", second, places, Clock(NIGHT + 60))
    assert "drill" in second.asked


async def test_missed_runs_are_counted(places: Places) -> None:
    first = await run("dev", Work(), places, Clock())
    assert [datetime.fromtimestamp(at, UTC).isoformat() for at in first.missed] == [
        "2026-11-19T01:00:00+00:00",
        "2026-11-20T01:00:00+00:00",
    ]
    by_hand = await run("dev", Work(), places, Clock(NIGHT + 3600))
    assert by_hand.missed == ()
    assert (await run("dev", Work(), places, Clock(NIGHT + DAY))).missed == ()


async def test_a_clock_that_was_years_ahead_is_forgotten(places: Places) -> None:
    await run("dev", Work(), places, Clock(NIGHT + 4000 * DAY))
    work = Work()
    assert len((await run("dev", work, places, Clock())).missed) == 2
    assert {"prune", "drill"} <= set(work.asked)
    Schedules.of(places.state).record(ScheduledRun("dev", "20261122T010000Z-dead", NIGHT + DAY))
    died = await settle("dev", places, Clock(NIGHT + DAY + 60))
    assert died is not None
    assert died.state is RunState.DIED


@pytest.mark.parametrize(
    ("expression", "window", "most"),
    [
        ("0 1 * * *", None, 600),
        ("*/20 * * * *", None, 300),
        ("0 0 29 2 *", None, 600),
        ("0 1 * * *", Window(60, 300), 600),
        ("55 4 * * *", Window(60, 300), 75),
        ("55 23 * * *", Window(22 * 60, 0), 75),
    ],
)
def test_a_start_is_never_put_off_beyond_its_window(expression: str, window: Window | None, most: int) -> None:
    schedule = Schedule("dev", ("/i",), expression, "systemd", NIGHT, window=window)
    assert use_case._delay(schedule) == most


async def test_outside_the_window_nothing_is_done(places: Places, tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text(ENVIRONMENT.replace("  verify", '  window: "01:00-05:00"\n  verify'))
    work = Work()
    late = await run("dev", work, places, Clock(NIGHT + 8 * 3600))
    assert (late.state, late.exit_code, work.asked) == (RunState.SKIPPED, ExitCode.OK, [])
    assert len(late.missed) == 3, "this night's too"


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ((None, None), ExitCode.OK),
        ((), ExitCode.OK),
        (("NF-BAK-002", None), ExitCode.FAILED),
        (("NF-SSH-101", None), ExitCode.PARTIAL),
        (("NF-SSH-101", "NF-SSH-103"), ExitCode.UNREACHABLE),
        (("NF-SSH-101", "NF-BAK-002"), ExitCode.FAILED),
    ],
)
def test_exit_statuses(outcomes: tuple[str | None, ...], status: ExitCode) -> None:
    vms = [VmOutcome(f"kvm1/{n}", error={"code": code} if code else None) for n, code in enumerate(outcomes)]
    assert exit_code(vms, ()) is status
    assert exit_code(vms, [Duty("forget", "", {"code": "NF-STORE-001"})]) is ExitCode.FAILED


async def test_nothing_is_forgotten_when_no_backup_could_be_made(places: Places) -> None:
    work = Work(fails={"backup": StoreError("no route to the store")})
    ended = await run("dev", work, places, Clock())
    assert work.asked == ["backup dev/db,dev/web"]
    assert (ended.state, ended.exit_code) == (RunState.FAILED, ExitCode.FAILED)
    assert ended.errors[0]["what"] == "no route to the store"
    unreachable = Work(fails={"backup": UnreachableError("no route to kvm1")})
    assert (await run("dev", unreachable, places, Clock(NIGHT + 60))).exit_code is ExitCode.UNREACHABLE


async def test_a_broken_file_is_a_result_too(places: Places, tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text("environment: dev\nbackup: {shedule: daily}\n")
    ended = await run("dev", Work(), places, Clock())
    assert ended.exit_code is ExitCode.USAGE
    assert {error["code"] for error in ended.errors} >= {"NF-CFG-020"}


async def test_a_file_that_does_not_ask_any_more(places: Places, tmp_path: Path) -> None:
    (tmp_path / "env.yml").write_text("environment: dev\n")
    ended = await run("dev", Work(), places, Clock())
    assert [error["code"] for error in ended.errors] == ["NF-SCHED-006"]


async def test_one_run_at_a_time(places: Places) -> None:
    work = Work(goes_on=asyncio.Event())
    first = asyncio.create_task(run("dev", work, places, Clock()))
    await work.began.wait()
    with pytest.raises(LockHeldError) as raised:
        await run("dev", Work(), places, Clock())
    assert raised.value.exit_code is ExitCode.LOCK_HELD
    assert "schedule dev is running already" in raised.value.what
    assert await settle("dev", places, Clock()) is None, "it is alive"
    assert work.goes_on is not None
    work.goes_on.set()
    assert (await first).state is RunState.DONE


async def test_an_interrupted_run_is_recorded(places: Places) -> None:
    work = Work(goes_on=asyncio.Event())
    task = asyncio.create_task(run("dev", work, places, Clock()))
    await work.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(each.state, each.exit_code) for each in kept(places)] == [(RunState.FAILED, ExitCode.INTERRUPTED)]


async def test_a_killed_run_is_noticed(places: Places) -> None:
    Schedules.of(places.state).record(ScheduledRun("dev", "20261121T000000Z-0000", NIGHT - 3600))
    died = await settle("dev", places, Clock())
    assert died is not None
    assert (died.state, died.exit_code) == (RunState.DIED, ExitCode.FAILED)
    assert died.errors[0]["code"] == "NF-SCHED-005"
    assert await settle("dev", places, Clock()) is None
    Schedules.of(places.state).record(ScheduledRun("dev", "20261121T000001Z-0000", NIGHT - 3000))
    await run("dev", Work(), places, Clock())
    assert [each.state for each in kept(places)] == [RunState.DONE, RunState.DIED, RunState.DIED]


async def test_an_unknown_name(places: Places) -> None:
    for name in ("nobody", "../dev", ".", ""):
        with pytest.raises(ConfigError) as raised:
            await run(name, Work(), places, Clock())
        assert raised.value.code == "NF-SCHED-001"


async def test_what_others_decide_about_is_not_taken_with_the_host(places: Places, tmp_path: Path) -> None:
    policy = "vars: {novafleet_backup: {repository: /b, key_file: /k, schedule: daily}}"
    (tmp_path / "hosts.yml").write_text(f"hosts: {{kvm1: {{}}}}\n{policy}\n")
    install(places, tmp_path, name="hosts-all", file="", environment="", claims=())
    work = Work()
    ended = await run("hosts-all", work, places, Clock())
    assert ended.state is RunState.DONE, ended.errors
    assert work.asked == ["backup kvm1/*"]
    assert work.claimed == {"dev/db", "dev/web"}


def test_the_list(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_case, "_states", lambda schedules: {"dev": "active"})
    listed = use_case.ls(places, NIGHT)
    assert [(each.schedule.name, each.timer, each.last) for each in listed] == [("dev", "active", None)]
    assert datetime.fromtimestamp(listed[0].next, UTC).isoformat() == "2026-11-22T01:00:00+00:00"
    assert len(listed[0].overdue) == 2, "the one of five minutes ago is not yet late"
    assert len(use_case.ls(places, NIGHT + 1800)[0].overdue) == 3


def test_a_damaged_memory_is_named(places: Places) -> None:
    (places.state / "schedules/dev/schedule.json").write_text("{")
    with pytest.raises(Exception, match="cannot be used") as raised:
        use_case.ls(places, NIGHT)
    assert getattr(raised.value, "code", "") == "NF-SCHED-007"

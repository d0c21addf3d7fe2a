"""The parts of a scheduled run, on a real repository in a directory; hosts are left out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from novafleet.app import duties
from novafleet.app.backedup import DiskBackup, VmBackup
from novafleet.app.drill import Drilled
from novafleet.app.drillplan import DrillRequest
from novafleet.app.duties import ByPolicy, _assigned, _lacking, outcome, rules
from novafleet.app.guard import refuse_unprotected
from novafleet.app.plan import Planned
from novafleet.app.repository import key_source, open_repository, opened_store
from novafleet.app.vmselect import Chosen, Selection
from novafleet.errors import BackupError, GuardError, RepositoryError, UnreachableError
from novafleet.model.backup import Consistency, DiskCopy, Snapshot
from novafleet.model.facts import Domain, FleetFacts
from novafleet.model.fleet import Host
from novafleet.model.plan import Plan
from novafleet.model.policy import Keep, Policy
from novafleet.model.schedule import Job, Member, Schedule, VmOutcome
from novafleet.report.progress import RunProgress
from novafleet.repository import Repository
from tests.unit.playbook.fleet import environment
from tests.unit.schedule.test_guard import lost

NOW = 1_795_222_800.0
DAY = 86400.0


@dataclass
class Clock:
    at: float = NOW

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
async def policy(tmp_path: Path) -> Policy:
    """The policy of a repository in a directory."""
    (tmp_path / "key").write_bytes(os.urandom(32))
    policy = Policy(str(tmp_path / "repository"), str(tmp_path / "key"), verify=1.0)
    async with opened_store(policy.repository) as store:
        await Repository.create(store, key_source(tmp_path / "key"), at=NOW, cell=256 << 10)
    return policy


@asynccontextmanager
async def opened(policy: Policy) -> AsyncIterator[Repository]:
    async with open_repository(policy.repository, key_source(Path(policy.key_file))) as repository:
        yield repository


async def stored(policy: Policy, vm: str, at: float, *, host: str = "kvm1", env: str = "dev") -> Snapshot:
    """A snapshot of a small disk."""
    async with opened(policy) as repository, repository.backup(Clock(at)) as backup:
        disk = await backup.disk(1 << 20)
        await disk.data(0, os.urandom(65536))
        root, added = await disk.finish(1 << 20)
        copy = DiskCopy("root", "vda", 1 << 20, root, bytes_stored=added)
        domain = f"{env}-{vm}" if env else vm
        made = Snapshot("", vm, domain, f"uuid-{domain}", host, at, Consistency.CRASH, {"root": copy}, environment=env)
        return await backup.commit(made)


def work(at: float = NOW) -> ByPolicy:
    return ByPolicy(RunProgress, Clock(at))


async def held(policy: Policy) -> list[tuple[str, float]]:
    async with opened(policy) as repository:
        return sorted((each.vm, NOW - each.at) for each in await repository.snapshots())


async def test_forgotten_by_each_vms_own_rule(policy: Policy) -> None:
    for age in (0.0, DAY, 2 * DAY):
        await stored(policy, "db", NOW - age)
        await stored(policy, "web", NOW - age)
    job = Job("dev", policy, (
        Member("dev/db", replace(policy, keep=Keep(last=1))), Member("dev/web", replace(policy, keep=Keep(daily=2))),
    ))  # fmt: skip
    done = await work().forget(job, ())
    assert done.text == "3 of 6 snapshots"
    assert await held(policy) == [("db", 0.0), ("web", 0.0), ("web", DAY)]


async def test_a_hosts_rule_leaves_other_schedules_vms_alone(policy: Policy) -> None:
    for age in (0.0, DAY):
        await stored(policy, "db", NOW - age)
        await stored(policy, "appliance", NOW - age, env="")
        await stored(policy, "elsewhere", NOW - age, env="", host="kvm2")
    job = Job("hosts-kvm1", policy, (Member("kvm1/*", replace(policy, keep=Keep(last=1))),))
    await work().forget(job, ("dev/db",))
    assert await held(policy) == [
        ("appliance", 0.0), ("db", 0.0), ("db", DAY), ("elsewhere", 0.0), ("elsewhere", DAY),
    ]  # fmt: skip


def test_what_others_decide_about_comes_first() -> None:
    job = Job("hosts-kvm1", Policy(), (Member("kvm1/*", Policy(keep=Keep(last=1))),))
    assert [(rule.keep, rule.vms) for rule in rules(job, {"dev/web", "dev/db"})] == [
        (Keep(), ("dev/db", "dev/web")),
        (Keep(last=1), ("kvm1/*",)),
    ]
    assert [rule.vms for rule in rules(job, ())] == [("kvm1/*",)]
    own = Job("dev", Policy(), (Member("dev/db", Policy(keep=Keep(last=1))),))
    assert [rule.vms for rule in rules(own, {"dev/db", "dev/build"})] == [("dev/build",), ("dev/db",)]


def flip(repository: Path) -> None:
    """One bit of a pack."""
    pack = next(each for each in repository.rglob("*") if each.is_file() and "packs" in each.parts)
    content = bytearray(pack.read_bytes())
    content[100] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(bytes(content))


async def test_verified(policy: Policy) -> None:
    await stored(policy, "db", NOW)
    job = Job("dev", policy, ())
    assert (await work().verify(job)).text.endswith("clean")
    flip(Path(policy.repository))
    with pytest.raises(RepositoryError) as raised:
        await work().verify(job)
    assert raised.value.code == "NF-REPO-010"
    assert "repo check" in raised.value.hints[0]


async def test_pruned(policy: Policy) -> None:
    await stored(policy, "db", NOW)
    assert "freed" in (await work().prune(Job("dev", policy, ()))).text


FILE = """\
environment: dev
backup: {{repository: "{repository}", key_file: "{key_file}", require_backup_newer_than: 24h}}
vms:
  db: {{host: kvm1, disks: {{root: {{size: 1GiB}}}}}}
"""


async def test_the_guard_asks_the_repository(policy: Policy, tmp_path: Path) -> None:
    made = environment(tmp_path, FILE.format(repository=policy.repository, key_file=policy.key_file))
    planned = Planned(made, FleetFacts({}), Plan("dev", "down", (lost("volume", "db.root"),)))
    with pytest.raises(GuardError, match="without a backup younger than 24 h"):
        await refuse_unprotected(planned, NOW)
    await stored(policy, "db", NOW - 3600)
    await refuse_unprotected(planned, NOW)
    with pytest.raises(GuardError, match="25 h old"):
        await refuse_unprotected(planned, NOW + DAY)
    os.rename(policy.repository, tmp_path / "moved")  # noqa: PTH104 - pathlib is not for async functions
    with pytest.raises(GuardError, match="the repository cannot be asked") as raised:
        await refuse_unprotected(planned, NOW)
    assert raised.value.code == "NF-GUARD-005"
    await refuse_unprotected(replace(planned, plan=Plan("dev", "down", ())), NOW)


def chosen(host: str, domain: str, vm: str, env: str = "") -> Chosen:
    return Chosen(Host(host, host), Domain(domain, "u", "running", "<domain/>"), vm, env)


def test_who_is_meant() -> None:
    there = [chosen("kvm1", "dev-db", "db", "dev"), chosen("kvm1", "old", "old"), chosen("kvm2", "x", "x")]
    own = Job("dev", Policy(), (Member("dev/db", Policy()), Member("dev/web", Policy())))
    assert [label for label, _ in _assigned(own, there, {"dev/db"})] == ["kvm1/dev-db"]
    host = Job("hosts-kvm1", Policy(), (Member("kvm1/*", Policy()),))
    assert [label for label, _ in _assigned(host, there, {"dev/db"})] == ["kvm1/old"]
    assert [label for label, _ in _assigned(host, there, ())] == ["kvm1/dev-db", "kvm1/old"]


def test_who_is_lacking() -> None:
    own = Job("dev", Policy(), (Member("dev/db", Policy()), Member("dev/web", Policy())))
    gone = {each.vm: each.error for each in _lacking(own, Selection((), {}), {"dev/db"})}
    assert gone.keys() == {"dev/web"}
    assert gone["dev/web"] is not None
    assert gone["dev/web"]["code"] == "NF-VM-006"
    unseen = Selection((), {"kvm1": UnreachableError("no route")})
    perhaps = list(_lacking(own, unseen, {"dev/db"}))
    assert perhaps[0].error is not None
    assert perhaps[0].error["code"] == "NF-SSH-100"
    host = Job("hosts-kvm1", Policy(), (Member("kvm1/*", Policy()), Member("kvm2/*", Policy())))
    assert [each.vm for each in _lacking(host, unseen, ())] == ["kvm1/*"]


def test_an_outcome() -> None:
    disks = (DiskBackup("root", "vda", "full", "", 9, 5, 3), DiskBackup("data", "vdb", "incremental", "", 9, 2, 1))
    done = outcome(VmBackup("db", "dev-db", "kvm1", "done", "dev", "s1", disks=disks))
    assert (done.vm, done.snapshot, done.bytes_read, done.bytes_stored) == ("kvm1/dev-db", "s1", 7, 4)
    assert done.modes == {"root": "full", "data": "incremental"}
    assert done.error is None
    cancelled = outcome(VmBackup("db", "dev-db", "kvm1", "cancelled"))
    assert cancelled.error is not None
    assert "cancelled" in str(cancelled.error["what"])


async def test_drills(monkeypatch: pytest.MonkeyPatch, policy: Policy) -> None:
    """Which VMs are booted, and what becomes of one that does not come up; booting is ``backup drill``'s own test."""
    asked: list[str] = []

    async def run_drill(request: DrillRequest, watch: object) -> Drilled:
        asked.append(request.vm)
        if request.vm.endswith("full"):
            raise BackupError("no host has room", code="NF-BAK-050")
        if request.vm.endswith("stack.dev-host"):
            raise BackupError("it has network_mode: host", code="NF-BAK-051")
        error = {"code": "NF-GATE-001", "what": "no login"} if request.vm.endswith("web") else None
        return Drilled(request.vm, "s", "kvm3", error is None, 42.0, error=error)

    monkeypatch.setattr(duties, "run_drill", run_drill)
    schedule = Schedule("dev", ("/i",), "0 1 * * *", "cron", NOW, "/env.yml", "dev")
    db, web, full = (VmOutcome(f"kvm1/dev-{name}", "s") for name in ("db", "web", "full"))
    lacking = VmOutcome("kvm1/dev-gone", error={"code": "NF-VM-006"})
    job = Job("dev", policy, ())
    done = await work().drill(schedule, job, (db, lacking))
    assert (done.text, asked) == ("1 came up, the slowest in 42 s", ["kvm1/dev-db"])
    with pytest.raises(BackupError, match="2 of 3 VMs and stacks did not come up") as raised:
        await work().drill(schedule, job, (web, full, db))
    assert (raised.value.code, raised.value.cause) == ("NF-GATE-001", "NF-GATE-001: no login")
    assert raised.value.hints == ("novafleet backup drill kvm1/dev-web",)
    assert asked[1:] == ["kvm1/dev-web", "kvm1/dev-full", "kvm1/dev-db"], "one that fails does not keep the others"
    with pytest.raises(BackupError, match="there is no backup"):
        await work().drill(schedule, job, (lacking,))
    stack, uncopied = (VmOutcome(f"kvm1/stack.dev-{name}", "s", kind="stack") for name in ("edge", "host"))
    both = await work().drill(schedule, job, (stack, uncopied))
    assert both.text == "1 came up, the slowest in 42 s; there can be no copy of kvm1/stack.dev-host"
    assert (await work().drill(schedule, job, (uncopied,))).text == "there can be no copy of kvm1/stack.dev-host"

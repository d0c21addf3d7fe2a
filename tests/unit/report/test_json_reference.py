"""docs/reference/json.md shows the fields that reports print, no more and no less."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from novafleet.app.exec import HostOutcome, HostResult
from novafleet.app.maintenance import Maintenance
from novafleet.app.repo import Rotated
from novafleet.app.runs import RunHistory, history
from novafleet.app.stored import Stored
from novafleet.app.trust import Offer, Offers, Standing
from novafleet.app.validate import Validated
from novafleet.errors import Location
from novafleet.inventory import Why
from novafleet.inventory.explain import Origin
from novafleet.model.fleet import Host
from novafleet.report import (
    backup,
    browse,
    doctor,
    drain,
    findings,
    inventory,
    job,
    migrate,
    migrateundo,
    plan,
    repo,
    restore,
    retention,
    run,
    runs,
    schedule,
    snapshot,
    stackdossier,
    status,
    trust,
    validate,
    vm,
    whatif,
)
from novafleet.report import exec as ran
from tests.unit.report import backups, drains, migrations, repositories, restores, samples, schedules, snapshots

PAGE = (Path(__file__).parents[3] / "docs/reference/json.md").read_text()
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n\n```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
FREE = frozenset({"payload", "request", "summary", "outcome", "unreachable", "labels", "modes", "facts", "files"})
FREE |= {"room"}
"""Mappings whose keys are data; the summary of a plan is not, but its keys are the same in every plan."""
DRIFTED = samples.STATUS[2:]
HISTORY = RunHistory(samples.RUN, history(samples.RECORDS))
OFFERS = Offers((Offer("kvm1", Standing.NEW),), Path("known_hosts"))
ANSWER = HostResult("kvm1", HostOutcome.OK, 0, "up", "", 0.1)
ROTATED = Rotated(repositories.SLOT, "new.key", (repositories.SLOT,))
WHY = Why("kvm3", "user", "ops", (Origin("ops", Location("lab.yml", 10), True),))
PRINTED: dict[str, Callable[[str], None]] = {
    "A failure of any command": lambda form: findings.show([samples.GATE], form),
    "validate": lambda form: validate.show(Validated("devlab", "f", 1, 1, 1, 1, ("kvm1",)), form),
    "plan": lambda form: plan.show(samples.PLAN, form),
    "up, down, resume": lambda form: run.show(samples.FAILED, form),
    "status": lambda form: status.show("devlab", DRIFTED, form),
    "host ls": lambda form: inventory.print_hosts((Host("kvm1", "a"),), form),
    "host why": lambda form: inventory.print_why(WHY, form),
    "host trust": lambda form: trust.show(OFFERS, form),
    "host exec": lambda form: ran.show((ANSWER,), form),
    "host doctor": lambda form: doctor.show(samples.FINDINGS, form),
    "vm ls": lambda form: vm.show(samples.VMS, form),
    "vm show": lambda form: vm.details(samples.DETAILS, form),
    "vm start, stop, restart": lambda form: vm.switched(samples.STOPPED, form),
    "runs ls": lambda form: runs.show_list((samples.RUN,), form),
    "runs show": lambda form: runs.show_one(HISTORY, form),
    "runs log": lambda form: runs.show_log(samples.RECORDS, form),
    "backup run": lambda form: backup.show_run(backups.RUN, form),
    "backup ls": lambda form: backup.show_list(Stored((backups.SNAPSHOT,)), form),
    "backup show": lambda form: backup.show_snapshot(backups.SNAPSHOT, backups.PROOFS, form),
    "backup diff": lambda form: backup.show_difference(backups.DIFFERENCE, form),
    "backup verify": lambda form: backup.show_verified((backups.VERIFIED,), form),
    "schedule install": lambda form: schedule.show_installed(schedules.INSTALLED, form),
    "schedule ls": lambda form: schedule.show_list(schedules.LISTED[:1], form),
    "schedule run": lambda form: schedule.show_run(schedules.RUN, form),
    "repo init": lambda form: repo.show_initialized(repositories.INITIALIZED, form),
    "repo info": lambda form: repo.show_info(repositories.INFO, form),
    "repo check": lambda form: repo.show_checked(repositories.CHECKED, form),
    "repo scrub": lambda form: repo.show_scrub(repositories.SCRUB, form),
    "repo stats": lambda form: repo.show_stats(repositories.STATS, form),
    "repo repair": lambda form: repo.show_repaired(repositories.REPAIRED, form),
    "repo copy": lambda form: repo.show_copied(repositories.COPIED, form),
    "repo key ls": lambda form: repo.show_keys((repositories.SLOT,), form),
    "repo key add": lambda form: repo.show_slot("added", repositories.SLOT, "new.key", form),
    "repo key rotate": lambda form: repo.show_rotated(ROTATED, form),
    "repo key rm": lambda form: repo.show_slot("removed", repositories.SLOT, "", form),
    "backup forget": lambda form: retention.show_forgotten(repositories.FORGOTTEN, form),
    "backup forget --trash": lambda form: retention.show_trash(repositories.TRASH, form),
    "backup forget --undo": lambda form: retention.show_back((backups.SNAPSHOT,), form),
    "backup prune": lambda form: retention.show_pruned(repositories.PRUNED, form),
    "backup hold": lambda form: retention.show_holds(repositories.HOLDS, form),
    "backup release": lambda form: retention.show_released((backups.SNAPSHOT.id,), form),
    "restore": lambda form: restore.show_vm(restores.RESTORED, form),
    "restore --to-file": lambda form: restore.show_file(restores.FILE, form),
    "backup drill": lambda form: restore.show_drill(restores.DRILLED, form),
    "backup browse": lambda form: browse.show_parts("01kah2", (restores.PART,), form),
    "backup browse PATH": lambda form: browse.show_listing((restores.FSTAB,), form),
    "backup get": lambda form: browse.show_fetched(restores.FETCHED, form),
    "snapshot ls, tree, show": lambda form: snapshot.show(snapshots.LISTING, form),
    "snapshot create": lambda form: snapshot.done(snapshots.CREATED, form),
    "snapshot revert": lambda form: snapshot.done(snapshots.REVERTED, form),
    "snapshot rm, prune": lambda form: snapshot.done(snapshots.REMOVED, form),
    "snapshot export": lambda form: snapshot.done(snapshots.EXPORTED, form),
    "snapshot import": lambda form: snapshot.imported(snapshots.IMPORTED, form),
    "migrate": lambda form: migrate.done(migrations.ONE, form),
    "migrate stack --plan": lambda form: stackdossier.show(migrations.STACK, form),
    "migrate ls, prune": lambda form: migrateundo.show(migrations.KEPT, form),
    "host drain, undrain": lambda form: drain.drained(drains.DRAINED, form),
    "rebalance": lambda form: drain.balanced(drains.BALANCED, form),
    "host maintenance": lambda form: drain.maintenance(Maintenance("kvm2", True, "since"), form),
    "whatif": lambda form: whatif.show(drains.ANSWER, form),
    "job ls": lambda form: job.show_list((drains.JOB,), form),
}


def shape(value: Any, path: str = "") -> set[str]:
    """The paths of all fields: ``vms[].name``. Only the first element of a list that has fields is looked at."""
    if isinstance(value, dict):
        fields = {f"{path}.{key}" for key in value}
        return fields.union(*(shape(each, f"{path}.{key}") for key, each in value.items() if key not in FREE))
    if isinstance(value, list):
        return set().union(*(shape(each, f"{path}[]") for each in value))
    return set()


def test_every_heading_is_compared() -> None:
    assert set(EXAMPLES) == set(PRINTED)


@pytest.mark.parametrize("heading", PRINTED)
def test_fields(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTED[heading]("json")
    printed = json.loads(capsys.readouterr().out)
    documented = json.loads(EXAMPLES[heading])
    assert {field for field in shape(printed) if ".error." not in field} == shape(documented)


@pytest.mark.parametrize("heading", PRINTED)
def test_yaml_says_the_same(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTED[heading]("json")
    as_json = json.loads(capsys.readouterr().out)
    PRINTED[heading]("yaml")
    assert yaml.safe_load(capsys.readouterr().out) == as_json

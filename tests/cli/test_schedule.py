"""``schedule`` as a user meets it, without any host: a crontab of its own test, real timers nowhere."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_usage import novafleet
from tests.unit.schedule.test_timer import PROGRAM

ENVIRONMENT = """\
environment: dev
backup:
  repository: backups
  key_file: fleet.key
  schedule: daily
  window: "01:00-05:00"
vms:
  db: {host: kvm1, memory: 128MiB}
  build: {host: kvm1, memory: 128MiB, backup: {schedule: "0 4 * * 6"}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("hosts:\n  kvm1: {address: 127.0.0.1, port: 1}\n")
    (tmp_path / "dev.yml").write_text(ENVIRONMENT)
    program = tmp_path / "bin/crontab"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(stat.S_IRWXU)
    return tmp_path


def schedule(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{project}/bin:/usr/local/bin:/usr/bin:/bin"
    return novafleet("schedule", *words, cwd=project, PATH=path, CRONTAB=str(project / "crontab"))


def test_from_the_cradle_to_the_grave(project: Path) -> None:
    made = schedule(project, "install", "-f", "dev.yml", "--cron", "-o", "json")
    assert made.returncode == 0, made.stderr
    assert [(each["name"], each["expression"]) for each in json.loads(made.stdout)["schedules"]] == [
        ("dev", "0 1 * * *"),
        ("dev-build", "0 4 * * 6"),
    ]
    table = (project / "crontab").read_text()
    assert f"env XDG_STATE_HOME={project}/state" in table
    assert "-P -m novafleet schedule run dev-build ||" in table
    listed = json.loads(schedule(project, "ls", "-o", "json").stdout)["schedules"]
    assert [(each["name"], each["state"], each["last"]) for each in listed] == [
        ("dev", "active", None),
        ("dev-build", "active", None),
    ]
    (project / "dev.yml").write_text(ENVIRONMENT.replace(', backup: {schedule: "0 4 * * 6"}', ""))
    again = schedule(project, "install", "-f", "dev.yml", "--cron")
    assert "dev-build: removed, nothing asks for it any more" in again.stdout
    assert "dev-build" not in (project / "crontab").read_text()
    assert schedule(project, "rm", "dev").returncode == 0
    assert (project / "crontab").read_text() == ""
    assert json.loads(schedule(project, "ls", "-o", "json").stdout) == {"schedules": []}


def test_the_inventorys_own_policy(project: Path) -> None:
    policy = "vars:\n  novafleet_backup: {repository: /backup, key_file: /key, schedule: weekly}\n"
    with (project / "inventory/hosts.yml").open("a") as file:
        file.write(policy)
    made = schedule(project, "install", "--cron")
    assert made.returncode == 0, made.stderr
    assert "hosts-all: cron, 0 0 * * 0 (Sun *-*-* 0:0:00)" in made.stdout
    assert "cron does not make up for runs missed" in made.stderr


def test_the_last_schedule_goes_too(project: Path) -> None:
    schedule(project, "install", "-f", "dev.yml", "--cron")
    (project / "dev.yml").write_text(ENVIRONMENT.replace("  schedule: daily\n", ""))
    schedule(project, "install", "-f", "dev.yml", "--cron")
    assert "schedule run dev-build" in (project / "crontab").read_text()
    (project / "dev.yml").write_text(ENVIRONMENT.partition("backup:")[0] + "vms:\n  db: {host: kvm1}\n")
    made = schedule(project, "install", "-f", "dev.yml", "--cron", "-o", "json")
    assert (json.loads(made.stdout)["removed"], made.returncode) == (["dev-build"], 0)
    assert (project / "crontab").read_text() == ""
    assert schedule(project, "install", "-f", "dev.yml", "--cron").returncode == 2


def test_what_could_not_be_started_is_not_there(project: Path) -> None:
    (project / "bin/crontab").write_text("#!/bin/sh\necho 'you may not use crontab' >&2\nexit 1\n")
    made = schedule(project, "install", "-f", "dev.yml", "--cron")
    assert "error[NF-SCHED-004]" in made.stderr
    assert json.loads(schedule(project, "ls", "-o", "json").stdout) == {"schedules": []}


def test_the_name_of_another_schedule_is_not_taken(project: Path) -> None:
    schedule(project, "install", "-f", "dev.yml", "--cron")
    other = ENVIRONMENT.replace("environment: dev\n", "environment: dev-build\n").partition("  build:")[0]
    (project / "other.yml").write_text(other)
    refused = schedule(project, "install", "-f", "other.yml", "--cron")
    assert refused.returncode == 2
    assert "error[NF-SCHED-008]" in refused.stderr
    policy = "vars:\n  novafleet_backup: {repository: /backup, key_file: /key, schedule: weekly}\n"
    for site in ("one", "two"):
        (project / site).write_text(f"hosts:\n  {site}: {{address: 127.0.0.1}}\n" + policy)
    schedule(project, "install", "-i", "one", "--cron")
    refused = schedule(project, "install", "-i", "two", "--cron")
    assert "it is of one" in refused.stderr
    assert schedule(project, "install", "-i", "one", "-i", "two", "--cron").returncode == 0


def test_nothing_to_install(project: Path) -> None:
    shown = schedule(project, "install", "--cron")
    assert shown.returncode == 2
    assert "error[NF-SCHED-002]" in shown.stderr


def test_a_wrong_policy(project: Path) -> None:
    (project / "dev.yml").write_text(ENVIRONMENT.replace("daily", "dayly"))
    shown = schedule(project, "install", "-f", "dev.yml", "--cron")
    assert shown.returncode == 2
    assert "dev.yml:5:13" in shown.stderr
    assert "did you mean '@daily'?" in shown.stderr
    assert not (project / "crontab").exists()


def test_a_wrong_policy_of_the_inventory_is_found_by_validate(project: Path) -> None:
    with (project / "inventory/hosts.yml").open("a") as file:
        file.write("vars:\n  novafleet_backup: {shedule: daily}\n")
    shown = novafleet("validate", "dev.yml", cwd=project)
    assert shown.returncode == 2
    assert "hosts.yml:4:3" in shown.stderr
    assert "did you mean 'schedule'?" in shown.stderr


@pytest.mark.parametrize("verb", ["run", "rm", "settle"])
def test_an_unknown_schedule(project: Path, verb: str) -> None:
    shown = schedule(project, verb, "nobody")
    assert shown.returncode == 2
    assert "error[NF-SCHED-001]" in shown.stderr


def test_a_run_that_cannot_reach_its_repository_is_kept(project: Path) -> None:
    schedule(project, "install", "-f", "dev.yml", "--cron")
    (project / "dev.yml").write_text(ENVIRONMENT.replace('  window: "01:00-05:00"\n', ""))
    ended = schedule(project, "run", "dev")
    assert ended.returncode in (1, 4), ended.stderr
    assert ended.stdout.startswith("dev: FAILED")
    assert "Traceback" not in ended.stderr
    listed = json.loads(schedule(project, "ls", "-o", "json").stdout)["schedules"]
    assert listed[0]["last"]["state"] == "failed"
    file = next((project / "state/novafleet/schedules/dev/runs").glob("*.json"))
    assert file.stat().st_mode & 0o777 == 0o600

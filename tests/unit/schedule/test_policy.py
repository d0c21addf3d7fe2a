"""Policies: what they come to, where each value came from, and which jobs they make."""

from __future__ import annotations

from pathlib import Path

import pytest

from novafleet.errors import ConfigError, ConfigErrors, Location
from novafleet.inventory import load_fleet
from novafleet.model.policy import Keep, Policy, Window
from novafleet.playbook.jobs import jobs_of, jobs_of_inventory
from novafleet.playbook.policy import check_inventory, expression, policy_of
from tests.unit.playbook.fleet import FLEET, environment

FILE = """\
environment: dev
backup:
  repository: backups
  key_file: fleet.key
  schedule: daily
  keep: {daily: 7, within: 2d}
  verify: 2.5%
  require_backup_newer_than: 24h
vms:
  db:
    host: kvm1
    disks: {root: {size: 1GiB}, scratch: {size: 1GiB}}
    backup:
      exclude: [scratch]
      keep: {last: 3}
  web:
    host: kvm1
    count: 2
  cache: {host: kvm2, backup: false}
  build:
    host: kvm2
    backup: {schedule: "0 4 * * 6", passphrase: "env:BUILD"}
"""


def test_a_vm_over_its_environment(tmp_path: Path) -> None:
    made = environment(tmp_path, FILE)
    policy = policy_of(FLEET.hosts["kvm1"], made.vms["db"])
    assert policy is not None
    assert policy.repository == str(tmp_path / "backups")
    assert policy.key_file == str(tmp_path / "fleet.key")
    assert (policy.keep, policy.exclude, policy.verify, policy.guard) == (Keep(last=3), ("scratch",), 0.025, 86400.0)
    lines = {key: where.line for key, where in policy.origins.items()}
    assert lines == {
        "repository": 3, "key_file": 4, "schedule": 5, "verify": 7, "guard": 8, "exclude": 14, "keep": 15,
    }  # fmt: skip
    assert policy_of(FLEET.hosts["kvm2"], made.vms["cache"]) is None
    assert made.vms["web-2"].backup == made.backup


def test_another_key_replaces_the_key(tmp_path: Path) -> None:
    build = environment(tmp_path, FILE).vms["build"].backup
    assert build is not None
    assert (build.key_file, build.passphrase) == ("", "env:BUILD")


def test_jobs_of_an_environment(tmp_path: Path) -> None:
    jobs = {job.name: job for job in jobs_of(environment(tmp_path, FILE), FLEET)}
    assert jobs.keys() == {"dev", "dev-build"}
    assert [member.pattern for member in jobs["dev"].members] == ["dev/db", "dev/web-1", "dev/web-2"]
    assert [member.policy.exclude for member in jobs["dev"].members] == [("scratch",), (), ()]


def test_stacks_go_with_the_environments_policy(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "compose.yaml").write_text("services: {web: {image: x}}\n")
    stacks = "stacks: {edge: {host: kvm1, compose: edge}}\n"
    jobs = {job.name: job for job in jobs_of(environment(tmp_path, FILE + stacks), FLEET)}
    assert [member.pattern for member in jobs["dev"].members][-1] == "dev/stack.edge"
    alone = FILE[: FILE.index("vms:")] + stacks
    [job] = jobs_of(environment(tmp_path, alone), FLEET)
    assert (job.name, [member.pattern for member in job.members]) == ("dev", ["dev/stack.edge"])


@pytest.mark.parametrize(
    ("schedule", "window", "cron"),
    [
        ("@daily", None, "0 0 * * *"),
        ("@daily", Window(90, 300), "30 1 * * *"),
        ("@weekly", Window(1380, 60), "0 23 * * 0"),
        ("@hourly", Window(1380, 61), "0 0,1,23 * * *"),
        ("@monthly", Window(0, 60), "0 0 1 * *"),
        ("5 4 * * *", Window(0, 300), "5 4 * * *"),
    ],
)
def test_words_mean_the_windows_beginning(schedule: str, window: Window | None, cron: str) -> None:
    assert expression(Policy(schedule=schedule, window=window)) == cron


def test_a_window_over_midnight() -> None:
    window = Window(1380, 60)
    assert [minute for minute in (0, 59, 60, 720, 1379, 1380, 1439) if window.holds(minute)] == [0, 59, 1380, 1439]
    assert str(window) == "23:00-01:00"


INVENTORY = """\
hosts: {kvm1: {}, kvm2: {}, kvm3: {}, kvm4: {}}
groups:
  kvm:
    hosts: [kvm1, kvm2]
    vars:
      novafleet_backup: &policy
        {repository: s3://bucket/fleet, key_file: fleet.key, schedule: hourly}
  other:
    hosts: [kvm3]
    vars:
      novafleet_backup:
        repository: s3://bucket/other
        key_file: other.key
        schedule: weekly
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "hosts.yml"
    path.write_text(text)
    return path


def test_jobs_of_an_inventory(tmp_path: Path) -> None:
    path = written(tmp_path, INVENTORY)
    fleet = load_fleet([path])
    check_inventory(fleet)
    jobs = {job.name: [member.pattern for member in job.members] for job in jobs_of_inventory(fleet)}
    assert jobs == {"hosts-kvm": ["kvm1/*", "kvm2/*"], "hosts-other": ["kvm3/*"]}
    policy = policy_of(fleet.hosts["kvm1"])
    assert policy is not None
    assert policy.origins["repository"] == Location(str(path), 6, 7)
    assert policy_of(fleet.hosts["kvm4"]) is None


def test_a_host_of_a_larger_group_is_a_job_of_its_own(tmp_path: Path) -> None:
    text = "hosts:\n  kvm1: {vars: {novafleet_backup: {repository: /b, key_file: k, schedule: daily}}}\n  kvm2: {}\n"
    jobs = jobs_of_inventory(load_fleet([written(tmp_path, text)]))
    assert [job.name for job in jobs] == ["hosts-kvm1"]


@pytest.mark.parametrize(
    ("written_policy", "code"),
    [
        ("{schedule: daily}", "NF-ENV-050"),
        ("{shedule: daily}", "NF-CFG-020"),
        ("{keep: {daily: many}}", "NF-CFG-021"),
        ("[daily]", "NF-CFG-021"),
        ("daily", "NF-CFG-021"),
    ],
)
def test_a_wrong_inventory_is_told_once_with_its_place(tmp_path: Path, written_policy: str, code: str) -> None:
    text = f"hosts: {{kvm1: {{}}, kvm2: {{}}}}\nvars:\n  novafleet_backup: {written_policy}\n"
    fleet = load_fleet([written(tmp_path, text)])
    with pytest.raises(ConfigError) as raised:
        check_inventory(fleet)
    error = raised.value
    errors = error.errors if isinstance(error, ConfigErrors) else (error,)
    assert {each.code for each in errors} == {code}
    assert {str(each.where) for each in errors} == {f"{tmp_path}/hosts.yml:3:3"}
    assert len({str(each) for each in errors}) == len(errors)


def test_false_in_the_inventory_is_none(tmp_path: Path) -> None:
    fleet = load_fleet([written(tmp_path, "hosts: {kvm1: {vars: {novafleet_backup: false}}}\n")])
    assert policy_of(fleet.hosts["kvm1"]) is None

"""What is said of migrations that ended."""

from __future__ import annotations

import json

import pytest

from novafleet.errors import ExitCode
from novafleet.report import migrate
from tests.unit.report.migrations import BOTH, ONE

CONTRACT = {
    "vm": "db",
    "source": "kvm1",
    "destination": "kvm2",
    "mode": "live",
    "path": "tunnel",
    "total_ms": 7120.4,
    "downtime_ms": 84.2,
    "verified": True,
    "undo_until": 1795363605.7,
}


def test_one_vm_is_its_outcome_itself(capsys: pytest.CaptureFixture[str]) -> None:
    migrate.done(ONE, "json")
    printed = json.loads(capsys.readouterr().out)
    assert {key: printed[key] for key in CONTRACT} == CONTRACT
    assert ONE.exit_code is ExitCode.OK


def test_several_are_a_list_and_half_of_them_is_partial(capsys: pytest.CaptureFixture[str]) -> None:
    migrate.done(BOTH, "json")
    told = capsys.readouterr()
    assert [vm["state"] for vm in json.loads(told.out)["vms"]] == ["done", "rolled-back"]
    assert "NF-MIG-103" in told.err
    assert BOTH.exit_code is ExitCode.PARTIAL


def test_a_person_reads_every_measurement_and_what_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    migrate.done(BOTH, "table")
    told = capsys.readouterr()
    assert (
        "devlab-db  kvm1 -> kvm2  live by tunnel, 7.1 s, still for 61 ms (libvirt), 64 ms (events), 84 ms" in told.out
    )
    assert "gates met: tcp:5432 after 0.3 s" in told.out
    assert "postcopy did not work: not possible here" in told.err
    assert "devlab-web  kvm1 -> kvm2" in told.out
    assert "--path relay" in told.err
